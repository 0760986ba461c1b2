import asyncio
import threading

import pytest
from model_servers import lm_of, written

from dspex_core import ChatAdapter, JSONAdapter, Predict, TwoStepAdapter, configure, using
from dspex_core.errors import ConfigurationError
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import LMConfig, current_runtime

ASK = Predict("text -> who")


@pytest.fixture
def first(start_model):
    return lm_of(start_model(lambda _: written(who="first")))


@pytest.fixture
def second(start_model):
    return lm_of(start_model(lambda _: written(who="second")))


async def who():
    return (await ASK(text="?")).who


async def test_using_holds_in_its_block_and_wins_over_the_default(first, second):
    configure(lm=first)
    assert await who() == "first"
    with using(lm=second):
        assert await who() == "second"
        with using(lm=first):
            assert await who() == "first"
        assert await who() == "second"
    assert await who() == "first"


async def test_using_ends_with_its_block_even_after_an_error(first):
    with pytest.raises(RuntimeError), using(lm=first):
        raise RuntimeError
    with pytest.raises(ConfigurationError, match="no LM is set"):
        await who()


async def test_each_task_has_what_was_in_force_when_it_started(first, second):
    async def asking(lm):
        with using(lm=lm):
            await asyncio.sleep(0)
            return await who()

    with using(lm=first):
        started = asyncio.create_task(who())
    with using(lm=second):
        assert await asyncio.gather(started, asking(first), asking(second), who()) == [
            "first", "first", "second", "second",
        ]  # fmt: skip


async def test_a_thread_started_by_asyncio_has_it_too_and_a_bare_thread_has_the_default(first, second):
    configure(lm=first)
    found = []
    with using(lm=second):
        assert (await asyncio.to_thread(ASK.run, text="?")).who == "second"
        thread = threading.Thread(target=lambda: found.append(ASK.run(text="?").who))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert found == ["first"]


async def test_the_last_configure_counts(first, second):
    configure(lm=first)
    configure(lm=second)
    assert await who() == "second"


def test_a_whole_runtime_may_be_put_in_force(first):
    runtime = InProcessRuntime(first)
    with using(runtime=runtime):
        assert current_runtime() is runtime
        assert runtime.lm is first


def test_using_takes_one_of_lm_and_runtime(first):
    with pytest.raises(ConfigurationError, match="one of the two"), using(lm=first, runtime=InProcessRuntime(first)):
        pass


def test_using_without_anything_says_what_it_takes():
    with pytest.raises(ConfigurationError, match="give it lm=, retriever=, adapter=, approve= or runtime="), using():
        pass


async def test_another_retriever_leaves_the_runtimes_other_parts_in_force(first, second):
    class Nothing:
        async def search(self, query, k):
            return []

    program = ASK.with_state(ASK.get_state().with_lm(LMConfig(model="openai/elsewhere")))
    with using(runtime=InProcessRuntime(first, lm_for=lambda _: second)), using(retriever=Nothing()):
        assert await who() == "first"
        assert (await program(text="?")).who == "second"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"lm": "openai/gpt-4o-mini"},
            r"using\(lm=…\): '.*' is no LM; write LM\('openai/gpt-4o-mini'\)",
        ),
        ({"adapter": JSONAdapter}, r"using\(adapter=…\): JSONAdapter is no adapter; give one that is made"),
        ({"adapter": "json"}, "'json' is no adapter"),
        ({"retriever": "my_app:index"}, r"using\(retriever=…\): 'my_app:index' is no retriever"),
    ],
)
def test_what_cannot_be_put_in_force_is_refused_at_once(given, told):
    with pytest.raises(ConfigurationError, match=told), using(**given):
        pytest.fail("the block was entered")


def test_configure_refuses_what_is_no_lm():
    with pytest.raises(ConfigurationError, match=r"configure\(lm=…\): 'openai/x' is no LM"):
        configure(lm="openai/x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChatAdapter(fallback=[JSONAdapter]),
        lambda: ChatAdapter(fallback=JSONAdapter()),
        lambda: TwoStepAdapter("openai/gpt-4o-mini"),
        lambda: ASK.set_adapter("json"),
    ],
)
def test_an_adapter_made_of_something_else_is_refused(make):
    with pytest.raises(ConfigurationError, match=r"is no adapter|give adapters in a list|is no LM"):
        make()

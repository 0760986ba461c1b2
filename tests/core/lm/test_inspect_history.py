import io
import threading

import pytest
from aiohttp import web
from model_servers import lm_of, written

from dspex_core import Predict, inspect_history, using
from dspex_core.errors import InputError, LMError
from dspex_core.lm import _history as history
from dspex_core.lm._inspect import print_calls
from dspex_core.seam import ImagePart, LMRequest, LMResponse, Message, TextPart, ToolUse
from dspex_core.usage import Usage


@pytest.fixture(autouse=True)
def nothing_asked_yet():
    history.recent_calls.clear()


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(answer=f"to {len(messages)}"))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(inspect, n=1, file=None):
    file = io.StringIO() if file is None else file
    inspect(n, file=file)
    return file.getvalue()


def call(request, response):
    return history.LMCall(0.0, 0.5, "openai/m", request, response)


async def test_the_last_call_is_shown_with_its_messages_its_answer_and_what_it_took(model):
    lm = lm_of(model)
    with using(lm=lm):
        await Predict("question -> answer")(question="What is 2 + 2?")
    text = shown(inspect_history)
    assert text.startswith("[20")
    assert "] openai/fake-learner · " in text
    assert " ms · 10 tokens in, 2 out · " in text
    assert "\nSystem message:\nYour input fields are:" in text
    assert "\nUser message:\n[[ ## question ## ]]\nWhat is 2 + 2?" in text
    assert "\nAnswer:\n[[ ## answer ## ]]\nto 2" in text
    assert "\x1b" not in text


async def test_calls_of_every_scope_and_lm_are_among_those_of_the_process_oldest_first(model):
    first, second = lm_of(model), lm_of(model, model="openai/other", cache=False)
    for number, lm in enumerate([first, second, second]):
        with using(lm=lm):
            await Predict("question -> answer")(question=f"question {number}")
    text = shown(inspect_history, 2)
    assert "question 0" not in text
    assert text.index("question 1") < text.index("question 2")
    assert "question 0" in shown(inspect_history, 99)
    assert "question 0" in shown(first.inspect_history, 99)
    assert "question 1" not in shown(first.inspect_history, 99)
    assert [entry.model for entry in second.history] == ["openai/other", "openai/other"]


async def test_an_answer_from_the_cache_is_said_to_be_one(model):
    with using(lm=lm_of(model)):
        for _ in range(2):
            await Predict("question -> answer")(question="again")
    assert "from the cache, for free" in shown(inspect_history)


async def test_a_call_that_failed_is_shown_with_why_and_without_the_key(start_model):
    refusing = start_model(lambda _: web.json_response({"error": {"message": "no such key"}}, status=401))
    lm = lm_of(refusing, api_key="sk-very-secret")
    with using(lm=lm), pytest.raises(LMError):
        await Predict("question -> answer")(question="anyone?")
    text = shown(lm.inspect_history)
    assert "Failed:\nLMAuthenticationError: " in text
    assert "very-secret" not in text
    assert "very-secret" not in repr(lm.history)


async def test_a_streamed_call_is_among_them_once(provider):
    with using(lm=lm_of(provider)):
        async for _ in Predict("text -> team").stream(text="one piece after the other"):
            pass
    assert shown(inspect_history, 9).count("User message:") == 1


def test_calls_made_in_threads_are_all_kept(model):
    program = Predict("question -> answer")

    def ask(number):
        with using(lm=lm_of(model)):
            program.run(question=f"thread {number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = shown(inspect_history, 99)
    assert all(f"thread {number}\n" in text for number in range(8))


def test_no_more_calls_are_kept_than_were_promised():
    for number in range(history.CALLS_KEPT + 5):
        request = LMRequest(messages=(Message(role="user", content=f"<{number}>"),))
        history.recent_calls.append(call(request, LMResponse(text="x")))
    text = shown(inspect_history, 10**6)
    assert "<4>" not in text
    assert "<5>" in text
    assert f"<{history.CALLS_KEPT + 4}>" in text


def test_images_are_named_and_tool_calls_written_out():
    parts = (TextPart(text="What is on "), ImagePart(url="data:image/png;base64," + "A" * 500), TextPart(text="?"))
    request = LMRequest(messages=(Message(role="user", content=parts),), rollout_id=3)
    response = LMResponse(text="", tool_calls=(ToolUse(name="look", args={"at": "☂"}),), usage=Usage(cost_usd=None))
    file = io.StringIO()
    print_calls([call(request, response)], 1, file=file)
    text = file.getvalue()
    assert "What is on <image data:image/png;base64,AAAA" in text
    assert "(522 characters)>?" in text
    assert 'Answer:\nlook({"at": "☂"})' in text
    assert "price unknown · rollout 3" in text


async def test_a_terminal_gets_colours_and_no_markup_of_a_prompt_is_taken_for_one(model):
    with using(lm=lm_of(model)):
        await Predict("question -> answer")(question="[bold]not bold[/bold]")
    text = shown(inspect_history, file=Terminal())
    assert "\x1b[" in text
    assert "[bold]not bold[/bold]" in text


def test_nothing_to_show_is_said_and_asking_for_nothing_is_an_error():
    assert shown(inspect_history) == "no model has been asked yet\n"
    with pytest.raises(InputError, match=r"inspect_history\(0\): ask for 1 call or more"):
        inspect_history(0)

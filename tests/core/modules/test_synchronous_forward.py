import asyncio
import threading

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Evaluate, Example, Module, Predict, Prediction, using
from dspex_core.errors import ProgramError
from dspex_core.seam import recorded_trace, rolled_out


class Shouting(Module):
    def __init__(self):
        self.ask = Predict("text -> said")

    def forward(self, text, louder=0):
        said = self.ask.run(text=text).said
        return Prediction(said=said + "!" if louder else said, thread=threading.current_thread())


class Outer(Module):
    def __init__(self):
        self.inner = Shouting()

    def forward(self, text):
        return self.inner.run(text=text, louder=1)


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(said=asked(messages)["text"].upper()))


async def test_a_plain_forward_runs_beside_the_loop_and_is_counted_traced_and_sampled_like_any(model):
    program = Shouting()
    with using(lm=lm_of(model)), recorded_trace() as steps, rolled_out(3):
        prediction = await program(text="a")
    assert prediction.said == "A"
    assert prediction.thread is not threading.current_thread()
    assert prediction.usage.lm_calls == 1
    assert steps == [(program.ask, {"text": "a"}, {"said": "A"})]
    assert model.bodies[0]["temperature"] == 1.0
    assert program.input_names() == {"text": True, "louder": False}


async def test_the_loop_goes_on_while_a_forward_blocks():
    released = threading.Event()

    class Blocking(Module):
        def forward(self):
            assert released.wait(10)
            return Prediction(done=True)

    blocked = [asyncio.create_task(Blocking()()) for _ in range(40)]
    await asyncio.sleep(0)
    released.set()
    assert all(prediction.done for prediction in await asyncio.gather(*blocked))


def test_a_plain_forward_within_another_runs_from_a_script(model):
    with using(lm=lm_of(model)):
        assert Outer().run(text="a").said == "A!"


async def test_parts_run_on_the_loop_that_waits_so_that_they_share_its_connections_and_limits(model):
    loops = []

    class Telling(Module):
        async def forward(self):
            loops.append(asyncio.get_running_loop())
            return Prediction()

    class Plain(Module):
        def forward(self):
            return Telling().run()

    await Plain()()
    assert loops == [asyncio.get_running_loop()]


async def test_many_rows_of_plain_modules_within_plain_modules_hold_up_none(model):
    rows = [Example(text=f"t{number}", said=f"T{number}!").with_inputs("text") for number in range(60)]
    with using(lm=lm_of(model, concurrency=4)):
        result = await Evaluate(rows, "exact_match", concurrency=60)(Outer())
    assert (result.score, result.usage.lm_calls) == (100.0, 60)


async def test_a_cancelled_program_makes_no_further_call():
    waiting, cancelled, ended = asyncio.Event(), asyncio.Event(), threading.Event()
    begun = []

    class Endless(Module):
        async def forward(self):
            begun.append(self)
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    class Stubborn(Module):
        def forward(self):
            try:
                Endless().run()
            except asyncio.CancelledError:
                try:
                    Endless().run()
                finally:
                    ended.set()

    running = asyncio.create_task(Stubborn()())
    await waiting.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await cancelled.wait()
    assert await asyncio.to_thread(ended.wait, 10)
    assert len(begun) == 1


def test_what_goes_on_after_its_loop_has_ended_is_told_that_it_was_cancelled():
    released, outcome = threading.Event(), []

    class Late(Module):
        def forward(self):
            assert released.wait(10)
            try:
                Predict("a -> b").run(a="x")
            except BaseException as error:
                outcome.append(type(error))
                raise
            finally:
                done.set()

    done = threading.Event()

    async def give_up():
        task = asyncio.create_task(Late()())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(give_up())
    released.set()
    assert done.wait(10)
    assert outcome == [asyncio.CancelledError]


async def test_parts_called_without_run_are_an_error_that_says_so(model):
    class Unawaited(Module):
        def forward(self, text):
            call = Predict("text -> said")(text=text)
            try:
                return Prediction(said=call.said)
            finally:
                call.close()

    with using(lm=lm_of(model)), pytest.raises(ProgramError, match=r"Unawaited\.forward is a plain `def`.*\.run\("):
        await Unawaited()(text="x")


async def test_a_plain_forward_may_hand_back_what_a_part_is_to_give(model):
    class Handing(Module):
        def forward(self, text):
            return Predict("text -> said")(text=text)

    with using(lm=lm_of(model)):
        prediction = await Handing()(text="a")
    assert (prediction.said, prediction.usage.lm_calls) == ("A", 1)


async def test_errors_of_a_plain_forward_arrive_as_they_were_raised():
    class Failing(Module):
        def forward(self, kind):
            raise kind("no")

    with pytest.raises(KeyError):
        await Failing()(kind=KeyError)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await Failing()(kind=StopIteration)

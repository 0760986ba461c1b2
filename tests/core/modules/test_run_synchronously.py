import asyncio
import threading

import pytest
from model_servers import asked, lm_of, written

from dspex_core import Module, Predict, Prediction, configure, using
from dspex_core.errors import ProgramError

ECHO = "text -> team"


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(team=asked(messages)["text"].upper()))


def test_run_gives_from_synchronous_code_what_await_gives(model):
    with using(lm=lm_of(model)):
        prediction = Predict(ECHO).run(text="a")
    assert prediction.team == "A"
    assert prediction.usage.lm_calls == 1


async def test_run_works_while_a_loop_is_running_as_in_a_notebook(model):
    with using(lm=lm_of(model)):
        assert Predict(ECHO).run(text="a").team == "A"
        assert (await Predict(ECHO)(text="b")).team == "B"


def test_run_sees_the_default_lm_from_any_thread(model):
    configure(lm=lm_of(model))
    answers = []
    threads = [
        threading.Thread(target=lambda text=text: answers.append(Predict(ECHO).run(text=text).team)) for text in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["A", "B", "C"]


def test_an_error_arrives_as_it_was_raised(model):
    with using(lm=lm_of(model)), pytest.raises(ProgramError, match="input 'text' is missing"):
        Predict(ECHO).run()


def test_run_works_inside_a_program_that_is_run(model):
    class Outer(Module):
        def __init__(self):
            self.ask = Predict(ECHO)

        async def forward(self, text):
            return await asyncio.to_thread(lambda: self.ask.run(text=text))

    with using(lm=lm_of(model)):
        prediction = asyncio.run(Outer()(text="a"))
    assert prediction.team == "A"
    assert prediction.usage.lm_calls == 1


def test_a_key_press_stops_the_program(monkeypatch):
    started, stopped = threading.Event(), threading.Event()

    class Endless(Module):
        async def forward(self):
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            return Prediction()

    def pressed(_self):
        assert started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", pressed)
    with pytest.raises(KeyboardInterrupt):
        Endless().run()
    assert stopped.wait(10)

"""A program written with DSPy runs and is compiled here, each of its calls through our models."""

import json
import os
import subprocess
import sys
import threading

import dspy
import pytest
from model_servers import asked, lm_of, written
from real_parts import USER_CODE

from dspex_core import Evaluate, Module, events, using
from dspex_core.errors import (
    ConfigurationError,
    DatasetError,
    EvaluationError,
    LMError,
    ProgramError,
)
from dspex_core.lm import LM
from dspex_core.modules import DSPyProgram, build_program
from dspex_core.optimizers import GEPA, BootstrapFewShot, BootstrapFinetune, LabeledFewShot, MIPROv2
from dspex_core.programs import ImportedProgram
from dspex_core.references import reference_to
from dspex_core.testing import conformance_rows

TRAIN, DEV = conformance_rows(24), conformance_rows(16, start=24)
OPTIMIZERS = [
    BootstrapFewShot(metric="exact_match"),
    MIPROv2(metric="exact_match", auto=None, num_candidates=3, num_trials=3, minibatch=False),
    GEPA(metric="exact_match", max_metric_calls=80),
]


@pytest.fixture(autouse=True)
def users_code(monkeypatch):
    monkeypatch.syspath_prepend(USER_CODE)


@pytest.fixture
def app():
    import dspy_app

    return dspy_app


@pytest.fixture
def echo(start_model):
    """A model that answers every question with what it was asked."""

    def answer(messages):
        inputs = asked(messages)
        if "summary" in inputs:
            return written(topic="bug")
        return written(summary=f"in short: {inputs['text']}")

    return start_model(answer)


@pytest.mark.parametrize("kind", ["Router", "AsyncRouter"])
async def test_its_calls_go_through_the_model_in_force(app, echo, kind):
    program = DSPyProgram(getattr(app, kind)())
    with using(lm=lm_of(echo)):
        prediction = await program(text="it crashes")
        again = await program(text="it crashes")
    assert (prediction.topic, prediction.usage.lm_calls, prediction.usage.prompt_tokens) == ("bug", 2, 20)
    assert (again.topic, again.usage.lm_calls, again.usage.cached_calls) == ("bug", 0, 2)
    assert asked(echo.conversations[1]) == {"text": "it crashes", "summary": "in short: it crashes"}


def test_it_runs_from_synchronous_code(app, echo):
    with using(lm=lm_of(echo)):
        assert DSPyProgram(app.router).run(text="it crashes").topic == "bug"


@pytest.mark.slow
async def test_rows_run_side_by_side(app, start_provider):
    slow = start_provider(latency_ms=400)
    with using(lm=lm_of(slow, concurrency=64)):
        result = await Evaluate(conformance_rows(64), "exact_match", concurrency=64)(DSPyProgram(app.router))
    assert (len(result.rows), result.errors) == (64, [])
    assert slow.stats().max_in_flight > 32


async def test_calls_from_threads_that_dspy_starts_are_counted_too(app, echo):
    class Both(dspy.Module):
        def __init__(self):
            super().__init__()
            self.summary = dspy.Predict("text -> summary")

        def forward(self, text):
            pairs = [(self.summary, {"text": text}), (self.summary, {"text": text + "!"})]
            first, second = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
            return dspy.Prediction(summary=first.summary + second.summary, thread=threading.get_ident())

    with using(lm=lm_of(echo)):
        prediction = await DSPyProgram(Both())(text="a")
    assert prediction.summary == "in short: ain short: a!"
    assert prediction.usage.lm_calls == 2
    assert prediction.thread != threading.get_ident()


async def test_samples_that_it_draws_itself_are_samples(start_model):
    answers = iter(["red", "blue", "green", "white"])
    model = start_model(lambda messages: written(color=next(answers)))
    program = DSPyProgram(
        dspy.BestOfN(module=dspy.Predict("text -> color"), N=3, reward_fn=lambda _, __: 0.0, threshold=1.0)
    )
    with using(lm=lm_of(model)):
        await program(text="sky")
        assert [body["temperature"] for body in model.bodies] == [1.0, 1.0, 1.0]
        several = await DSPyProgram(dspy.Predict("text -> color", n=1, max_tokens=7, top_p=0.5))(text="sky")
    assert several.color == "white"
    assert (model.bodies[-1]["max_tokens"], model.bodies[-1]["top_p"]) == (7, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda found: found.name)
async def test_a_compile_finds_what_that_of_the_same_program_of_ours_finds(app, provider, optimizer):
    with using(lm=lm_of(provider, cache=False)):
        theirs = await optimizer.compile(app.router, trainset=TRAIN, valset=DEV)
        calls = provider.stats().requests
        ours = await optimizer.compile(app.OurRouter(), trainset=TRAIN, valset=DEV)
    assert theirs.score >= ours.score > ours.baseline_score == theirs.baseline_score
    assert theirs.usage.lm_calls == calls
    assert list(theirs.program.get_state().predictors) == ["summary", "topic"]


@pytest.mark.slow
async def test_what_was_found_comes_back_as_dspys_program_and_as_its_file(app, provider, tmp_path):
    with using(lm=lm_of(provider)):
        best = await BootstrapFewShot(metric="exact_match").compile(app.router, trainset=TRAIN, valset=DEV)
        expected = [(await best.program(**row.inputs())).topic for row in DEV[:4]]
    best.program.save(tmp_path / "triage.json", format="dspy")
    module = best.program.to_dspy()
    assert isinstance(module, app.Router)
    assert [len(predictor.demos) for predictor in module.predictors()] == [
        len(predictor.demos) for predictor in best.program.get_state().predictors.values()
    ]
    # What the first predictor said stands in no row: such a demo was seen in a run.
    assert any("summary" in demo for demo in module.topic.demos)
    assert app.router.topic.demos == []
    script = """
import json, sys, dspy
import dspy_app
assert "dspex_core.lm" not in sys.modules
given = json.load(sys.stdin)
router = dspy_app.Router()
router.load(given["file"])
lm = dspy.LM("openai/fake-learner", api_base=given["api_base"], api_key="x", cache=False, temperature=0.0)
with dspy.context(lm=lm):
    print(json.dumps([router(text=text).topic for text in given["texts"]]))
"""
    given = {
        "file": str(tmp_path / "triage.json"), "api_base": provider.base_url, "texts": [row.text for row in DEV[:4]],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(given), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(USER_CODE), "DSPY_CACHEDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


async def test_it_is_saved_and_loaded_as_a_program_of_ours(app, provider, tmp_path):
    with using(lm=lm_of(provider)):
        best = await LabeledFewShot(metric="exact_match", k=2).compile(app.router, trainset=TRAIN)
    program = build_program(ImportedProgram(code=reference_to("dspy_app:router", what="program")), trust={"dspy_app"})
    program = program.with_state(best.program.get_state())
    program.save(tmp_path / "ours.json")
    program.save(tmp_path / "theirs.json", format="dspy")
    assert Module.load(tmp_path / "ours.json").get_state() == best.program.get_state()
    assert (
        DSPyProgram(app.Router).load_state(tmp_path / "theirs.json", format="dspy").get_state() == program.get_state()
    )


async def test_an_lm_that_a_part_holds_is_asked_through_ours(app, echo, start_model, provider):
    judge = start_model(lambda messages: written(topic="account"))
    router = app.Router()
    router.topic.lm = dspy.LM(
        "openai/judge", api_base=judge.base_url, api_key="of-no-use", temperature=0.5, max_tokens=9
    )
    program = DSPyProgram(router)
    with using(lm=lm_of(echo)):
        prediction = await program(text="it crashes")
    assert prediction.topic == "account"
    assert prediction.usage.models == ("openai/fake-learner", "openai/judge")
    assert (judge.bodies[0]["temperature"], judge.bodies[0]["max_tokens"]) == (0.5, 9)
    assert "of-no-use" not in program.get_state().model_dump_json()
    assert program.to_dspy().topic.lm.kwargs["api_key"] == "of-no-use"
    moved = DSPyProgram(router)
    moved.set_lm(LM("openai/other", api_base=provider.base_url))
    assert [predictor.lm.model for predictor in moved.to_dspy().predictors()] == ["openai/other"] * 2


async def test_an_outage_is_no_answer_whatever_the_program_makes_of_it(start_server):
    class Careless(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspy.Predict("text -> topic")

        def forward(self, text):
            try:
                return self.ask(text=text)
            except Exception:  # noqa: BLE001 - as a careless author would
                return dspy.Prediction(topic="bug")

    from aiohttp import web

    down = start_server(lambda body: web.json_response({"error": {"message": "out of order"}}, status=500))
    with using(lm=lm_of(down, deadline_seconds=0.5)):
        with pytest.raises(LMError):
            await DSPyProgram(Careless())(text="x")
        with pytest.raises(LMError):
            await BootstrapFewShot(metric="exact_match").compile(Careless(), trainset=TRAIN, valset=DEV)


async def test_a_program_that_raises_is_told_of_in_one_error(app, echo):
    class Broken(app.Router):
        def forward(self, text):
            raise ZeroDivisionError("a bug in the user's program")

    with using(lm=lm_of(echo)), pytest.raises(EvaluationError, match="row 0: ZeroDivisionError: a bug in the user's"):
        await BootstrapFewShot(metric="exact_match").compile(Broken(), trainset=TRAIN, valset=DEV)


async def test_what_returns_no_prediction_is_refused(app, echo):
    class Wordy(app.Router):
        def forward(self, text):
            return text

    with using(lm=lm_of(echo)), pytest.raises(ProgramError, match=r"Wordy\.forward returned a str, not a dspy\.Pred"):
        await DSPyProgram(Wordy())(text="x")


async def test_a_program_without_predictors_is_refused():
    class Nothing(dspy.Module):
        def forward(self, text):
            return dspy.Prediction(topic="bug")

    with pytest.raises(ConfigurationError, match="no predictor"):
        await BootstrapFewShot(metric="exact_match").compile(Nothing(), trainset=TRAIN, valset=DEV)


def test_what_cannot_be_taken_says_why():
    class Asking(dspy.Module):
        def __init__(self, signature):
            super().__init__()
            self.ask = dspy.Predict(signature)

    with pytest.raises(ProgramError, match=r"cannot be made without arguments.*give an instance"):
        DSPyProgram(Asking)
    with pytest.raises(ProgramError, match=r"takes a dspy\.Module, not 3"):
        DSPyProgram(3)
    with pytest.raises(ProgramError, match="cannot be imported by a worker"):
        DSPyProgram(Asking("a -> b")).reference()
    warm = dspy.Predict("a -> b")
    warm.lm = dspy.LM("openai/judge")
    with pytest.raises(ProgramError, match=r"leaves its temperature to the provider.*leave it out"):
        DSPyProgram(warm)


async def test_an_adapter_of_ours_is_refused_since_dspys_writes_the_prompts(app, echo):
    from dspex_core import JSONAdapter

    with (
        using(lm=lm_of(echo), adapter=JSONAdapter()),
        pytest.raises(ConfigurationError, match=r"dspy.configure\(adapter"),
    ):
        await LabeledFewShot(metric="exact_match").compile(app.router, trainset=TRAIN, valset=DEV)


@pytest.mark.slow
async def test_fine_tuning_trains_on_the_prompts_that_dspy_writes(app, provider):
    optimizer = BootstrapFinetune(metric="exact_match", poll_seconds=0.05)
    with using(lm=lm_of(provider)):
        best = await optimizer.compile(app.router, trainset=TRAIN, valset=DEV)
    assert best.score > best.baseline_score
    assert all(predictor.lm.model.startswith("openai/ft:") for predictor in best.program.to_dspy().predictors())
    stands_for = best.program.named_predictors()["topic"]
    values = {"text": "x", "summary": "y", "topic": "bug"}
    lesson = stands_for.adapter.lesson(stands_for.signature, "Do it.", [values], values)
    expected = dspy.ChatAdapter().format_finetune_data(
        app.Topic.with_instructions("Do it."), [values], {"text": "x", "summary": "y"}, {"topic": "bug"}
    )
    assert [message.model_dump() for message in lesson] == expected["messages"]


async def test_rows_may_be_dspys_too(app, echo):
    rows = [dspy.Example(text=row.text, topic=row.topic).with_inputs("text") for row in DEV[:3]]

    def metric(example, prediction, trace=None):
        return prediction.topic == "bug" and example.inputs() == {"text": example.text}

    with using(lm=lm_of(echo)):
        best = await LabeledFewShot(metric=metric, k=1).compile(app.router, trainset=rows, valset=rows)
        assert (await LabeledFewShot(metric=metric, k=1).plan(app.router, trainset=rows, valset=rows)).lm_calls
        with pytest.raises(DatasetError, match=r"which fields of .* are inputs"):
            await LabeledFewShot(metric=metric).compile(app.router, trainset=[dspy.Example(text="x")])
    assert best.score == 100.0


async def test_its_calls_are_told_of(app, echo):
    with using(lm=lm_of(echo)), events.subscribe() as stream:
        await DSPyProgram(app.router)(text="it crashes")
        stream.close()
        seen = [event.type async for event in stream]
    assert seen.count("lm_start") == seen.count("lm_end") == 2

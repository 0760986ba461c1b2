import asyncio
import json
import threading

import pytest
from model_servers import asked, lm_of, values_in, written

from dspex_core import BestOfN, ChainOfThought, Module, MultiChainComparison, Predict, Prediction, Refine, events, using
from dspex_core.errors import AdapterParseError, InputError, LMError, MetricError, ProgramError, TrustError
from dspex_core.seam import recorded_trace, rolled_out


def numbered(start_model):
    """A model whose every fresh sample is another number: 1, 2, 3 …"""
    count = 0

    def answer(_):
        nonlocal count
        count += 1
        return written(number=count)

    return start_model(answer)


async def test_best_of_n_keeps_the_best_of_its_samples(start_model):
    model = numbered(start_model)
    best = BestOfN(Predict("text -> number: int"), 4, lambda _, prediction: -abs(prediction.number - 3), threshold=0.5)
    with using(lm=lm_of(model)):
        prediction = await best(text="x")
        again = await best(text="x")
    assert prediction.number == again.number == 3
    assert prediction.usage.lm_calls == 4
    assert [body["temperature"] for body in model.bodies] == [0.0, 1.0, 1.0, 1.0]


async def test_best_of_n_stops_at_a_reward_that_is_good_enough(start_model):
    model = numbered(start_model)
    best = BestOfN(Predict("text -> number: int"), 9, lambda _, prediction: prediction.number / 10, threshold=0.2)
    with using(lm=lm_of(model)):
        assert (await best(text="x")).number == 2
    assert len(model.bodies) == 2


async def test_a_try_that_cannot_be_read_is_only_a_lost_try(start_model):
    answers = iter(["?", "?", written(number=7)])
    best = BestOfN(Predict("text -> number: int"), 2, lambda _, prediction: 1.0, threshold=1.0)
    with using(lm=lm_of(start_model(lambda _: next(answers)))):
        assert (await best(text="x")).number == 7


async def test_best_of_n_without_a_readable_answer_says_what_the_last_one_was(start_model):
    best = BestOfN(Predict("text -> number: int"), 2, lambda _, prediction: 1.0, threshold=1.0)
    with using(lm=lm_of(start_model(lambda _: "no number here"))), pytest.raises(AdapterParseError, match="no number"):
        await best(text="x")


async def test_an_outage_in_best_of_n_is_an_error_and_no_lost_try(start_provider):
    best = BestOfN(Predict("text -> answer"), 3, lambda _, prediction: 1.0, threshold=1.0)
    with using(lm=lm_of(start_provider(api_key="another"))), pytest.raises(LMError):
        await best(text="x")


@pytest.mark.parametrize("kind", [BestOfN, Refine])
def test_at_least_one_try_is_needed(kind):
    with pytest.raises(InputError, match=f"{kind.__name__}: N=0"):
        kind(Predict("a -> b"), 0, lambda _, prediction: 1.0, threshold=1.0)


@pytest.mark.parametrize("kind", [BestOfN, Refine])
async def test_one_lost_try_more_than_allowed_is_an_error(start_model, kind):
    model = start_model(lambda _: "no number here")
    best = kind(Predict("text -> number: int"), N=5, reward_fn=lambda *_: 1.0, threshold=1.0, fail_count=1)
    with using(lm=lm_of(model)), pytest.raises(AdapterParseError, match="no number"):
        await best(text="x")
    assert len(model.bodies) == 4  # two tries, each with its correction


async def test_a_module_of_a_users_that_fails_is_a_lost_try_and_a_wrong_call_is_not(start_model):
    tries = []

    class Flaky(Module):
        async def forward(self, text):
            tries.append(text)
            if len(tries) < 3:
                raise ValueError("not today")
            return Prediction(said=text)

    best = BestOfN(Flaky(), N=3, reward_fn=lambda *_: 1.0, threshold=1.0)
    assert (await best(text="x")).said == "x"
    with using(lm=lm_of(start_model(lambda _: ""))), pytest.raises(ProgramError, match="there is no input 'txt'"):
        await BestOfN(Predict("text -> said"), 3, lambda *_: 1.0, threshold=1.0)(txt="x")


async def test_a_reward_function_may_block_or_be_async(start_model):
    loops = set()

    async def judged(inputs, prediction):
        await asyncio.sleep(0)
        return float(inputs["text"] == "x")

    def blocking(inputs, prediction):
        loops.add(threading.current_thread())
        return 1.0

    with using(lm=lm_of(numbered(start_model))):
        for reward in (judged, blocking):
            assert (await BestOfN(Predict("text -> number: int"), 3, reward, threshold=1.0)(text="x")).number == 1
    assert threading.current_thread() not in loops


@pytest.mark.parametrize("kind", [BestOfN, Refine])
async def test_the_trace_has_the_steps_of_the_try_that_was_kept_and_no_others(start_model, kind):
    model = advising(start_model, {"self": "Say a higher number."})
    best = kind(Predict("text -> number: int"), 3, lambda _, prediction: prediction.number / 10, threshold=9.0)
    with using(lm=lm_of(model)), recorded_trace() as steps:
        prediction = await best(text="x")
    assert steps == [(best.module, {"text": "x"}, {"number": prediction.number})]


def advising(start_model, advice):
    """A model that counts up, and gives this advice when it is asked for any."""
    count = 0

    def answer(messages):
        nonlocal count
        if "advice" in values_in(messages[0]["content"]):
            return written(discussion="too low", advice=json.dumps(advice))
        count += 1
        return written(number=count)

    return start_model(answer)


async def test_refine_gives_the_advice_to_the_predictors_as_a_hint_in_the_next_try(start_model):
    model = advising(start_model, {"self": "Say a higher number."})
    program = Refine(Predict("text -> number: int"), 3, lambda _, found: found.number / 10, threshold=0.2)
    with using(lm=lm_of(model)):
        prediction = await program(text="x")
    first, advised, second = model.conversations
    assert prediction.number == 2
    assert prediction.usage.lm_calls == 3
    assert "Say a higher number." not in str(first)
    assert "hint from an earlier try at this very task: Say a higher number." in second[0]["content"]
    known = asked(advised)
    assert json.loads(known["inputs"]) == {"text": "x"}
    assert json.loads(known["steps"]) == [{"predictor": "self", "inputs": {"text": "x"}, "outputs": {"number": 1}}]
    assert (known["reward"], known["wanted_reward"], json.loads(known["predictors"])) == ("0.1", "0.2", ["self"])
    assert "found.number / 10" in known["reward_function"]
    assert "hint" not in program.get_state().predictors["module"].instructions


async def test_advice_for_nobody_or_that_cannot_be_read_leaves_the_next_try_as_it_was(start_model):
    model = advising(start_model, {"self": "N/A", "stranger": "Be quiet."})
    with using(lm=lm_of(model)):
        assert (await Refine(Predict("text -> number: int"), 2, lambda *_: 0.0, threshold=1.0)(text="x")).number == 1
    assert "hint" not in str(model.conversations[2])

    def silent(messages):
        return "?" if "advice" in values_in(messages[0]["content"]) else written(number=7)

    with using(lm=lm_of(start_model(silent))):
        assert (await Refine(Predict("text -> number: int"), 2, lambda *_: 0.0, threshold=1.0)(text="x")).number == 7


def test_refine_shows_the_adviser_the_code_of_a_users_own_module(start_model):
    class Careful(Module):
        def __init__(self):
            self.ask = Predict("text -> number: int")

        async def forward(self, text):
            return await self.ask(text=text)  # with all due care

    model = advising(start_model, {"ask": "Count further."})
    with using(lm=lm_of(model)):
        assert Refine(Careful(), 2, lambda _, found: found.number / 10, threshold=0.2).run(text="x").number == 2
    _, advised, second = model.conversations
    assert "with all due care" in advised[-1]["content"]
    assert "Count further." in second[0]["content"]


def long_enough(inputs, prediction):
    return float(len(prediction.said))


@pytest.mark.parametrize("kind", [BestOfN, Refine])
def test_a_program_with_an_importable_reward_is_saved_and_loaded(kind, tmp_path):
    program = kind(ChainOfThought("text -> said"), 3, long_enough, 2.0, fail_count=1)
    program.save(tmp_path / "p.json")
    loaded = Module.load(tmp_path / "p.json")
    assert type(loaded) is kind
    assert (loaded.N, loaded.threshold, loaded.fail_count, loaded.reward_fn) == (3, 2.0, 1, long_enough)
    assert loaded.get_state() == program.get_state()
    with pytest.raises(TrustError, match="reward function"):
        Module.load(tmp_path / "p.json", trust=["another"])


def test_a_reward_that_nobody_else_can_import_is_named():
    with pytest.raises(ProgramError, match=r"the reward function .*<lambda>' cannot be imported"):
        BestOfN(Predict("a -> b"), 2, lambda *_: 1.0, threshold=1.0).reference()
    with pytest.raises(InputError, match="reward function is a float"):
        BestOfN(Predict("a -> b"), 2, 1.0, threshold=1.0)


COMPLETIONS = [{"reasoning": "it rains", "answer": "wet"}, Prediction(rationale="it shines", answer="dry")]


async def test_attempts_are_compared_at_a_temperature_of_their_own(start_model):
    model = start_model(lambda _: written(rationale="clouds", answer="wet"))
    compare = MultiChainComparison("question -> answer", M=2)
    with using(lm=lm_of(model)):
        prediction = await compare(completions=COMPLETIONS, question="how is the street?")
        await Predict("question -> rationale, answer")(question="another")
    assert (prediction.rationale, prediction.answer) == ("clouds", "wet")
    assert [body["temperature"] for body in model.bodies] == [0.7, 0.0]
    question = model.conversations[0][-1]["content"]
    assert "[[ ## reasoning_attempt_1 ## ]]\nreasoning: it rains\nanswer: wet" in question
    assert "[[ ## reasoning_attempt_2 ## ]]\nreasoning: it shines\nanswer: dry" in question
    assert list(compare.named_predictors()) == ["predict"]


async def test_a_comparison_is_streamed_at_its_temperature_too(start_provider):
    provider = start_provider()
    compare = MultiChainComparison("question -> answer", M=2, temperature=0.3)
    with using(lm=lm_of(provider)), events.subscribe(types={"lm_start"}) as stream:
        pieces = [piece async for piece in compare.stream(completions=COMPLETIONS, question="x")]
    assert pieces[-1].answer == "".join(piece.text for piece in pieces[:-1] if piece.field == "answer")
    assert [event.temperature async for event in stream] == [0.3]


async def test_completions_that_cannot_be_compared_are_refused_before_any_call():
    compare = MultiChainComparison("question -> answer", M=2)
    with pytest.raises(InputError, match=r"M=2\) was given 1 completions"):
        await compare(completions=COMPLETIONS[:1], question="x")
    with pytest.raises(InputError, match="completion 2 has no 'answer'; it has said"):
        await compare(completions=[COMPLETIONS[0], {"said": "x"}], question="x")
    with pytest.raises(ProgramError, match="needs the field name 'rationale'"):
        MultiChainComparison("question -> rationale, answer")


def test_a_comparison_is_saved_and_loaded_without_code_of_a_users(tmp_path):
    compare = MultiChainComparison("question -> answer", M=4, temperature=0.5)
    compare.save(tmp_path / "p.json")
    loaded = Module.load(tmp_path / "p.json", trust=())
    assert (loaded.M, loaded.temperature, loaded.get_state()) == (4, 0.5, compare.get_state())


async def test_within_a_sample_the_first_try_is_part_of_that_sample(start_model):
    model = start_model(lambda _: written(answer="x"))
    best = BestOfN(Predict("question -> answer"), 2, lambda inputs, found: 0.0, threshold=1.0)
    with using(lm=lm_of(model)):
        for rollout in (0, 1):
            with rolled_out(rollout):
                await best(question="?")
    assert [body["temperature"] for body in model.bodies] == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", [BestOfN, Refine])
@pytest.mark.parametrize(
    ("reward", "told"),
    [
        (lambda _, found: "good", "returned 'good'; it must return a number"),
        (lambda _, found: None, "returned None; it must return a number"),
        (lambda _, found: found.label, "reward function <lambda> failed: AttributeError: this Prediction has no field"),
    ],
)
async def test_a_reward_function_that_gives_no_number_is_named(start_model, kind, reward, told):
    with using(lm=lm_of(numbered(start_model))), pytest.raises(MetricError, match=told):
        await kind(Predict("text -> number: int"), 2, reward, threshold=1.0)(text="x")


@pytest.mark.parametrize(
    "make", [lambda: BestOfN("text -> number", 2, lambda _, found: 1.0, threshold=1.0), lambda: Predict("a -> b") | 3]
)
def test_only_modules_are_parts_of_modules(make):
    with pytest.raises(ProgramError, match=r"is made of modules, and .* is none"):
        make()

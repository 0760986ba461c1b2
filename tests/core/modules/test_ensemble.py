import asyncio

import pytest
from model_servers import lm_of, written

from dspex_core import BestOfN, ChainOfThought, Module, Pipeline, Predict, Prediction, majority, using
from dspex_core.errors import AdapterParseError, ConfigurationError, InputError, LMError, ProgramError, TrustError
from dspex_core.modules import EnsembledProgram, is_deterministic
from dspex_core.optimizers import CompileResult, Ensemble
from dspex_core.usage import Usage


def told(messages):
    """Says the word that its instruction ends with."""
    return written(team=messages[0]["content"].split("say ")[1].split()[0])


def saying(*words):
    return [Predict(Predict("text -> team").signature.with_instructions(f"say {word} please")) for word in words]


def last(predictions):
    return predictions[-1]


def test_the_majority_is_the_first_prediction_of_the_value_that_most_gave():
    votes = [Prediction(why=n, team=team) for n, team in enumerate(["Bug", "billing", "the bug.", "", ""])]
    assert majority(votes).why == 0
    assert majority(votes[:2]).team == "Bug"
    assert majority(votes[3:]).team == ""
    assert majority([Prediction(a=1, b=2), Prediction(a=3, b=4), Prediction(a=3, b=5)], field="a").b == 4


@pytest.mark.parametrize(
    ("votes", "field", "said"),
    [([], None, "no predictions"), ([Prediction(a=1), Prediction(b=1)], "b", "prediction 1 has no output 'b'")],
)
def test_what_cannot_be_voted_on_says_why(votes, field, said):
    with pytest.raises(InputError, match=said):
        majority(votes, field=field)


async def test_programs_vote(start_model):
    model = start_model(told)
    result = await Ensemble().compile(saying("bug", "billing", "bug"))
    assert (result.score, result.candidates) == (None, ())
    with using(lm=lm_of(model, cache=False)):
        prediction = await result.program(text="x")
    assert (prediction.team, prediction.usage.lm_calls, len(model.bodies)) == ("bug", 3, 3)


async def test_a_reduce_function_of_ones_own_sees_all_predictions_in_order(start_model):
    async def joined(predictions):
        return Prediction(team="+".join(prediction.team for prediction in predictions))

    result = await Ensemble(reduce_fn=joined).compile(saying("c", "a", "b"))
    with using(lm=lm_of(start_model(told))):
        assert (await result.program(text="x")).team == "c+a+b"


async def test_programs_run_side_by_side(start_model):
    everyone = asyncio.Barrier(3)

    async def waiting(messages):
        await everyone.wait()
        return told(messages)

    with using(lm=lm_of(start_model(waiting))):
        assert (await EnsembledProgram(saying("a", "b", "B"))(text="x")).team == "b"


async def test_size_draws_programs_by_the_inputs_and_by_the_sample_unless_deterministic(start_model):
    model = start_model(told)
    words = [f"w{n}" for n in range(12)]

    async def drawn(text, *, deterministic=False, tries=1):
        ensemble = EnsembledProgram(
            saying(*words), size=2, reduce_fn=lambda found: Prediction(team=" ".join(p.team for p in found)),
            deterministic=deterministic,
        )  # fmt: skip
        seen = []
        sampled = BestOfN(ensemble, tries, lambda _, found: seen.append(found.team) or 0.0, threshold=1.0)
        with using(lm=lm_of(model)):
            await sampled(text=text)
        return seen

    assert await drawn("x") == await drawn("x")
    assert len({*await drawn("x"), *await drawn("y"), *await drawn("z")}) > 1
    assert len(set(await drawn("x", tries=4))) > 1
    assert len(set(await drawn("x", deterministic=True, tries=4))) == 1
    assert all(len(team.split()) == 2 for team in await drawn("x", deterministic=True))


async def test_a_program_whose_answer_cannot_be_read_has_no_vote(start_model):
    def answer(messages):
        return "?" if "say bug" in messages[0]["content"] else told(messages)

    with using(lm=lm_of(start_model(answer))):
        assert (await EnsembledProgram(saying("bug", "bug", "ok"))(text="x")).team == "ok"
        with pytest.raises(AdapterParseError):
            await EnsembledProgram(saying("bug", "bug"))(text="x")


async def test_an_outage_is_an_error_and_no_lost_vote(start_provider):
    with using(lm=lm_of(start_provider(api_key="another"))), pytest.raises(LMError):
        await EnsembledProgram([Predict("text -> team"), Predict("text -> team")])(text="x")


async def test_an_ensemble_is_saved_with_every_programs_state_and_loaded_again(start_model, tmp_path):
    student = Predict("text -> team")
    states = [program.get_state() for program in saying("bug", "billing", "billing")]
    result = await Ensemble(size=3).compile([student.with_state(state) for state in states])
    assert list(result.program.get_state().predictors) == ["programs[0]", "programs[1]", "programs[2]"]
    result.program.save(tmp_path / "ensemble.json")
    loaded = Module.load(tmp_path / "ensemble.json", trust=[])
    assert loaded.get_state() == result.program.get_state()
    assert isinstance(loaded, EnsembledProgram)
    assert is_deterministic(loaded.reference())
    with using(lm=lm_of(start_model(told))):
        assert (await loaded(text="x")).team == "billing"


async def test_an_importable_reduce_function_is_saved_and_needs_trust(start_model, tmp_path):
    ensemble = EnsembledProgram(saying("a", "a", "b"), reduce_fn=last)
    assert not is_deterministic(ensemble.reference())
    ensemble.save(tmp_path / "ensemble.json")
    with pytest.raises(TrustError, match="reduce function"):
        Module.load(tmp_path / "ensemble.json", trust=["other"])
    with using(lm=lm_of(start_model(told))):
        assert (await Module.load(tmp_path / "ensemble.json")(text="x")).team == "b"


def test_one_that_cannot_be_imported_elsewhere_cannot_be_saved(tmp_path):
    ensemble = EnsembledProgram(saying("a"), reduce_fn=lambda predictions: predictions[0])
    with pytest.raises(ProgramError, match="reduce function"):
        ensemble.save(tmp_path / "ensemble.json")


async def test_results_of_other_optimizers_and_pipelines_take_part(start_model):
    found = CompileResult(saying("bug")[0], score=None, baseline_score=None, candidates=(), usage=Usage())
    result = await Ensemble().compile([found, *saying("bug", "a")])
    spec = Pipeline([result.program]).to_spec()
    assert [len(part["parts"]) for part in spec] == [3]
    assert Pipeline.from_spec(spec).reference() == Pipeline([result.program]).reference()
    pipeline = Predict("text -> summary") | result.program
    with using(lm=lm_of(start_model(lambda m: told(m) if "summary" not in m[0]["content"] else written(summary="s")))):
        assert (await pipeline(text="x")).team == "bug"


def test_names_of_inputs_and_outputs_are_those_of_the_programs():
    ensemble = EnsembledProgram([Predict("text -> team"), ChainOfThought("text -> team")])
    assert (ensemble.input_names(), ensemble.output_names()) == ({"text": True}, {"team"})


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: EnsembledProgram([]), InputError, "at least one program"),
        (lambda: EnsembledProgram(saying("a"), size=2), InputError, "1 programs cannot draw size=2"),
        (lambda: EnsembledProgram(saying("a"), reduce_fn=3), InputError, "reduce function is a int"),
        (lambda: Ensemble(size=0), ConfigurationError, "'size'"),
        (lambda: Ensemble(sizes=1), ConfigurationError, "'sizes'"),
    ],
)
def test_what_makes_no_ensemble_is_refused(make, kind, said):
    with pytest.raises(kind, match=said):
        make()

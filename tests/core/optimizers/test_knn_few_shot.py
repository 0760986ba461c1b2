import json

import pytest
from model_servers import asked, lm_of, written

from dspex_core import KNN, ChainOfThought, Example, Module, Predict, using
from dspex_core.errors import ConfigurationError, DatasetError, ProgramError, TrustError, UnknownNameError
from dspex_core.modules import KNNFewShotProgram, is_deterministic
from dspex_core.optimizers import KNNFewShot
from dspex_core.retrieval import BM25Index
from dspex_core.seam import recorded_trace
from dspex_core.testing import conformance_program, conformance_rows

TRAIN = [
    Example(text=f"{n} {word}", team=word).with_inputs("text") for n, word in enumerate(["bug", "pay", "bug", "ship"])
]


def words(texts):
    """A vector that tells the teams' words apart, and a little which row it is."""
    return [[float(word in text) for word in ("bug", "pay", "ship")] + [0.01 * len(text)] for text in texts]


nearest = KNN(2, TRAIN, words)
passages = BM25Index(["bug one", "pay two"])


def right(example, prediction, trace=None):
    return prediction.team == example.team


def demos_of(messages):
    pairs = zip(messages[1:-1:2], messages[2:-1:2], strict=True)
    return [(asked([question])["text"], answer["content"]) for question, answer in pairs]


def copycat(messages):
    """Gives the team of the last demo, or of the question itself where there is none."""
    demos = demos_of(messages)
    team = demos[-1][1].split("## team ## ]]")[1].split()[0] if demos else asked(messages)["text"].split()[1]
    return written(reasoning=f"as in {len(demos)} demos", team=team)


async def compiled(student=None, **options):
    return (await KNNFewShot(**{"k": 2, "trainset": TRAIN, "vectorizer": words} | options).compile(
        student or Predict("text -> team")
    )).program  # fmt: skip


async def test_the_nearest_rows_are_the_demos_of_a_call(start_model):
    model = start_model(copycat)
    program = await compiled(max_bootstrapped_demos=0)
    with using(lm=lm_of(model)):
        assert (await program(text="a bug again")).team == "bug"
        assert (await program(text="how to pay")).team in {"pay", "bug", "ship"}
    shown = [[text for text, _ in demos_of(body["messages"])] for body in model.bodies]
    assert shown[0] == ["0 bug", "2 bug"]
    assert shown[1][0] == "1 pay"
    assert program.get_state().predictors["module"].demos == ()


async def test_near_rows_are_run_to_make_demos_of_reasoning_each_without_itself(start_model):
    model = start_model(copycat)
    program = await compiled(ChainOfThought("text -> team"), metric=right)
    with using(lm=lm_of(model)):
        prediction = await program(text="a bug again")
        runs = len(model.bodies)
        await program(text="another bug")
    assert runs == 3
    assert len(model.bodies) == 4
    first = sorted([text for text, _ in demos_of(body["messages"])] for body in model.bodies[:2])
    assert first == [["0 bug"], ["2 bug"]]
    assert [("as in 1 demos" in said) for _, said in demos_of(model.bodies[2]["messages"])] == [True, True]
    assert prediction.reasoning == "as in 2 demos"
    assert prediction.usage.lm_calls == 3


async def test_runs_that_the_metric_refuses_leave_the_rows_as_they_are(start_model):
    def wrong_at_first(messages):
        return copycat(messages) if len(demos_of(messages)) > 1 else written(reasoning="no", team="unknown")

    for options in ({"metric": "exact_match"}, {"metric": right, "metric_threshold": 0.5}):
        model = start_model(wrong_at_first)
        program = await compiled(ChainOfThought("text -> team"), **options)
        with using(lm=lm_of(model, cache=False)):
            await program(text="a bug again")
        assert not any("unknown" in said for _, said in demos_of(model.bodies[-1]["messages"]))
        assert len(demos_of(model.bodies[-1]["messages"])) == 2


async def test_limits_say_how_many_demos_of_each_kind_there_are(start_model):
    model = start_model(copycat)
    program = await compiled(k=4, max_bootstrapped_demos=1, max_labeled_demos=2)
    with using(lm=lm_of(model)):
        await program(text="a bug again")
    assert len(model.bodies) == 2
    assert len(demos_of(model.bodies[-1]["messages"])) == 2


async def test_a_teacher_runs_the_near_rows(start_model):
    student = Predict("text -> team")
    state = student.get_state()
    taught = state.model_copy(
        update={"predictors": {"self": state.predictors["self"].model_copy(update={"instructions": "You teach."})}}
    )
    model = start_model(copycat)
    result = await KNNFewShot(2, TRAIN, words).compile(student, teacher=student.with_state(taught))
    with using(lm=lm_of(model)):
        await result.program(text="a bug again")
    assert ["You teach." in body["messages"][0]["content"] for body in model.bodies] == [True, True, False]


async def test_a_trace_holds_the_programs_own_step_and_no_bootstrapped_one(start_model):
    program = await compiled()
    with using(lm=lm_of(start_model(copycat))), recorded_trace() as steps:
        await program(text="a bug again")
    assert [(step[0], step[1]) for step in steps] == [(program.module, {"text": "a bug again"})]


async def test_on_the_fake_provider_near_demos_beat_none(provider):
    vocabulary = sorted({word for row in conformance_rows(40) for word in row.text.split()[2:]})
    optimizer = KNNFewShot(
        4, conformance_rows(40), lambda texts: [[float(word in text) for word in vocabulary] for text in texts],
        metric="exact_match", max_bootstrapped_demos=0,
    )  # fmt: skip
    with using(lm=lm_of(provider)):
        result = await optimizer.compile(conformance_program(), valset=conformance_rows(20, start=40))
    assert result.score > result.baseline_score + 40
    assert [candidate.label for candidate in result.candidates] == ["baseline", "nearest demos"]
    assert isinstance(result.program, KNNFewShotProgram)


async def test_a_program_that_chooses_worse_demos_does_not_win(start_model):
    student = Predict("text -> team")
    valset = [Example(text="my pay", team="pay").with_inputs("text")]
    misled = [Example(text="1 pay", team="bug").with_inputs("text")]
    optimizer = KNNFewShot(1, misled, words, metric=right, max_bootstrapped_demos=0)
    with using(lm=lm_of(start_model(copycat))):
        result = await optimizer.compile(student, valset=valset)
    assert (result.baseline_score, result.score) == (100.0, 100.0)
    assert result.program is student


async def test_with_an_importable_retriever_it_is_saved_and_loaded(start_model, tmp_path):
    optimizer = KNNFewShot(2, retriever=f"{__name__}:nearest", metric="exact_match", max_bootstrapped_demos=1)
    program = (await optimizer.compile(ChainOfThought("text -> team"))).program
    program.save(tmp_path / "knn.json")
    written_down = json.loads((tmp_path / "knn.json").read_text())["structure"]
    assert written_down["options"]["retriever"]["path"] == f"{__name__}:nearest"
    assert is_deterministic(program.reference())
    loaded = Module.load(tmp_path / "knn.json")
    assert loaded.reference() == program.reference()
    model = start_model(copycat)
    with using(lm=lm_of(model)):
        await loaded(text="a bug again")
    assert len(demos_of(model.bodies[-1]["messages"])) == 2
    with pytest.raises(TrustError, match="retriever"):
        Module.load(tmp_path / "knn.json", trust=["other"])


async def test_a_metric_of_ones_own_is_saved_by_where_it_is_imported_from(start_model, tmp_path):
    optimizer = KNNFewShot(2, retriever=f"{__name__}:nearest", metric=right)
    program = (await optimizer.compile(Predict("text -> team"), teacher=Predict("text -> team"))).program
    assert not is_deterministic(program.reference())
    program.save(tmp_path / "knn.json")
    model = start_model(copycat)
    with using(lm=lm_of(model)):
        await Module.load(tmp_path / "knn.json")(text="a bug again")
    assert len(model.bodies) == 3


async def test_a_retriever_of_this_process_cannot_be_saved(tmp_path):
    program = await compiled()
    with pytest.raises(ProgramError, match="holds a KNN, an object of this process"):
        program.save(tmp_path / "knn.json")


async def test_a_retriever_that_finds_no_examples_is_refused(start_model):
    program = (await KNNFewShot(2, retriever=passages).compile(Predict("text -> team"))).program
    with using(lm=lm_of(start_model(copycat))), pytest.raises(ProgramError, match="no examples; it takes a KNN"):
        await program(text="a bug")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"vectorizer": None}, ConfigurationError, "a trainset and a vectorizer, or a retriever"),
        ({"retriever": nearest}, ConfigurationError, "not both"),
        ({"k": 0}, ConfigurationError, "'k'"),
        ({"trainset": []}, DatasetError, "no examples"),
        ({"max_rounds": 2}, UnknownNameError, "max_rounds"),
        ({"trainset": None, "vectorizer": None, "retriever": 3}, ConfigurationError, "int is no retriever"),
        ({"metric": "exact"}, UnknownNameError, "exact"),
    ],
)
async def test_what_cannot_choose_is_refused(options, kind, said):
    with pytest.raises(kind, match=said):
        await compiled(**options)


async def test_scoring_needs_a_metric_and_rows(start_model):
    model = start_model(copycat)
    with using(lm=lm_of(model)):
        with pytest.raises(ConfigurationError, match="needs a metric"):
            await KNNFewShot(2, TRAIN, words).compile(Predict("text -> team"), valset=TRAIN)
        with pytest.raises(DatasetError, match="no rows"):
            await KNNFewShot(2, TRAIN, words, metric=right).compile(Predict("text -> team"), valset=[])
        with pytest.raises(ConfigurationError, match="same predictors"):
            await KNNFewShot(2, TRAIN, words).compile(Predict("text -> team"), teacher=ChainOfThought("text -> team"))
    assert model.bodies == []

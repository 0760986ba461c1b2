import pytest
from model_servers import asked, lm_of, written

from dspex_core import ChainOfThought, Example, using
from dspex_core.errors import ConfigurationError
from dspex_core.optimizers import BootstrapFewShotWithRandomSearch
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, conformance_program, conformance_rows

TRIAGE = "text -> team"


def rows(count, start=0):
    return [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(start, start + count)]


def demos_in(messages):
    return sum(message["role"] == "user" for message in messages) - 1


def knows_with(demos):
    """A model that knows every team once it is shown so many demos."""

    def answer(messages):
        number = asked(messages)["text"].removeprefix("text")
        return written(reasoning="why", team=f"team{number}" if demos_in(messages) >= demos else "unknown")

    return answer


async def compiled(model, *, concurrency=None, trainset, valset=None, **options):
    with using(runtime=InProcessRuntime(lm_of(model), concurrency=concurrency)):
        optimizer = BootstrapFewShotWithRandomSearch(**{"metric": "exact_match"} | options)
        return await optimizer.compile(ChainOfThought(TRIAGE), trainset=trainset, valset=valset)


def demo_counts(result):
    return [len(candidate.state.predictors["predict"].demos) for candidate in result.candidates]


async def test_sets_come_in_dspys_order_baseline_none_labeled_unshuffled_then_shuffled(start_model):
    result = await compiled(
        start_model(knows_with(2)), trainset=rows(8), valset=rows(4, start=8), num_candidate_programs=3,
        max_labeled_demos=4,
    )  # fmt: skip
    labels = [candidate.label for candidate in result.candidates]
    assert labels[:4] == ["baseline", "no demos", "labeled demos", "bootstrapped demos"]
    assert [label.partition(",")[0] for label in labels[4:]] == [
        "shuffled rows 0",
        "shuffled rows 1",
        "shuffled rows 2",
    ]
    assert demo_counts(result) == [0, 0, 4, 4, 4, 4, 4]
    assert result.score == 100.0
    assert {candidate.parent for candidate in result.candidates[1:]} == {0}


async def test_a_state_that_was_scored_is_not_scored_again(start_model):
    model = start_model(knows_with(99))
    result = await compiled(
        model, trainset=rows(3), valset=rows(4, start=3), num_candidate_programs=0,
        max_bootstrapped_demos=0, max_labeled_demos=0,
    )  # fmt: skip
    assert len(result.candidates) == 4
    assert len(model.bodies) == 4
    assert [candidate.usage.lm_calls for candidate in result.candidates] == [4, 0, 0, 0]


@pytest.mark.slow
async def test_a_seed_gives_one_result_at_any_concurrency():
    trainset, valset = conformance_rows(24), conformance_rows(12, start=24)
    optimizer = BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=4, seed=5)
    found = []
    async with FakeProvider() as provider:
        for concurrency in (1, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                found.append(await optimizer.compile(conformance_program(), trainset=trainset, valset=valset))
    assert found[0].candidates == found[1].candidates
    assert found[0].score > found[0].baseline_score


async def test_two_seeds_draw_other_sets(start_model):
    model = start_model(knows_with(1))
    first, second = [
        await compiled(model, trainset=rows(20), valset=rows(2), num_candidate_programs=4, seed=seed)
        for seed in (0, 1)
    ]  # fmt: skip
    shown = [{candidate.model_dump_json() for candidate in result.candidates[4:]} for result in (first, second)]
    assert not shown[0] & shown[1]


async def test_the_search_ends_with_the_first_set_that_scores_enough(start_model):
    model = start_model(knows_with(3))
    result = await compiled(model, trainset=rows(8), valset=rows(4, start=8), max_labeled_demos=4, stop_at_score=90)
    assert [candidate.label for candidate in result.candidates] == ["baseline", "no demos", "labeled demos"]


async def test_without_a_validation_set_the_training_rows_score(start_model):
    result = await compiled(start_model(knows_with(1)), trainset=rows(4), num_candidate_programs=1)
    assert (result.baseline_score, result.score) == (0.0, 100.0)


async def test_without_a_metric_nothing_is_called(start_model):
    model = start_model(knows_with(1))
    with pytest.raises(ConfigurationError, match="needs a metric"):
        await compiled(model, trainset=rows(4), metric=None)
    assert model.bodies == []

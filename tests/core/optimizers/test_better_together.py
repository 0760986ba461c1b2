import openai
import pytest

from dspex_core import LM, events, using
from dspex_core.errors import ConfigurationError, DatasetError, UnknownNameError
from dspex_core.optimizers import BetterTogether, BootstrapFewShot, BootstrapFinetune, LabeledFewShot, Optimizer
from dspex_core.progress import Progress
from dspex_core.seam import ProgramState
from dspex_core.testing import conformance_program, conformance_rows

TRAIN, VAL = conformance_rows(40), conformance_rows(20, start=40)
W = BootstrapFinetune(poll_seconds=0.001)


async def compiled(provider, *, trainset=TRAIN, valset=VAL, cache=True, **options):
    with using(lm=LM("openai/fake", api_base=provider.base_url, cache=cache)):
        optimizer = BetterTogether(**{"metric": "exact_match", "p": LabeledFewShot(k=3), "w": W} | options)
        return await optimizer.compile(conformance_program(), trainset=trainset, valset=valset)


def tuned(candidate):
    lm = candidate.state.predictors["self"].lm
    return lm is not None and lm.name.startswith("ft:")


def demos(candidate):
    return candidate.state.predictors["self"].demos


async def test_prompts_and_weights_are_optimized_in_turns_each_from_what_came_before(provider):
    result = await compiled(provider)
    assert [candidate.label for candidate in result.candidates] == [
        "baseline",
        "p: labeled demos",
        "p",
        "p -> w: fine-tuned",
        "p -> w",
        "p -> w -> p: labeled demos",
        "p -> w -> p",
    ]
    assert [candidate.index for candidate in result.candidates] == list(range(7))
    assert [tuned(candidate) for candidate in result.candidates] == [False, False, False, True, True, True, True]
    first, second, third = (demos(result.candidates[index]) for index in (2, 4, 6))
    assert len(first) == len(third) == 3
    assert first == second != third
    assert result.score > result.baseline_score


async def test_a_candidate_names_the_one_it_was_made_from_by_its_place_in_the_whole(provider):
    result = await compiled(provider, p=BootstrapFewShot(max_labeled_demos=0))
    by_index = {candidate.index: candidate for candidate in result.candidates}
    for candidate in result.candidates[1:]:
        assert candidate.parent is None or candidate.parent in by_index
    last = result.candidates[-1]
    assert by_index[last.parent].label == "p -> w"


async def test_what_is_told_on_the_way_is_what_is_in_the_result(provider):
    progress = Progress()
    with events.subscribe(types=events.RUNS) as stream:
        result = await compiled(provider)
        stream.close()
        async for event in stream:
            progress = progress.after(event)
    told = [(each.index, each.label, each.score, each.parent) for each in progress.candidates]
    assert told == [(each.index, each.label, each.score, each.parent) for each in result.candidates]
    assert progress.usage == result.usage


async def test_proposals_and_steps_are_told_under_the_numbers_of_the_whole(provider):
    with events.subscribe(types={"candidate_proposed", "optimization_step"}) as stream:
        result = await compiled(provider)
        stream.close()
        told = [event async for event in stream]
    proposed = [event for event in told if event.type == "candidate_proposed"]
    assert [(each.index, each.label, each.parent) for each in proposed] == [
        (each.index, each.label, each.parent) for each in result.candidates
    ]
    assert [ProgramState.model_validate(each.state) for each in proposed] == [each.state for each in result.candidates]
    steps = [event for event in told if event.type == "optimization_step"]
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert [index for step in steps for index in step.candidates] == [each.index for each in result.candidates]
    assert all(step.score == result.candidates[step.best].score for step in steps)


async def test_no_row_is_scored_twice_for_one_state(provider):
    result = await compiled(provider, cache=False, strategy="p -> p", shuffle_trainset_between_steps=False)
    first, second = result.candidates[1], result.candidates[3]
    assert first.state == second.state
    assert [candidate.usage.lm_calls for candidate in result.candidates] == [20, 20, 0, 0, 0]


async def test_each_step_sees_the_rows_in_an_order_of_its_own_unless_told_not_to(provider):
    shuffled = await compiled(provider, strategy="p -> p", p=LabeledFewShot(k=3, sample=False))
    plain = await compiled(
        provider, strategy="p -> p", p=LabeledFewShot(k=3, sample=False), shuffle_trainset_between_steps=False
    )
    assert [row["text"] for row in demos(plain.candidates[1])] == [row.text for row in TRAIN[:3]]
    assert demos(plain.candidates[1]) == demos(plain.candidates[3])
    assert demos(shuffled.candidates[1]) != demos(shuffled.candidates[3])


async def test_rows_come_back_under_the_numbers_that_a_step_knows_them_by(provider):
    class Tracing(Optimizer):
        name = "tracing"

        async def search(self, search):
            traces = await search.observe(search.student.get_state(), [4, 0, 7])
            rows = await search.labeled_demos([4, 0, 7])
            assert [trace.row for trace in traces] == [4, 0, 7]
            assert [trace.demos["self"][0]["text"] for trace in traces] == [row["text"] for row in rows]
            return search.student.get_state()

    await compiled(provider, strategy="t", t=Tracing())


@pytest.mark.slow
async def test_a_seed_gives_one_result(provider):
    first, second = [await compiled(provider, seed=3) for _ in range(2)]
    assert first.candidates == second.candidates
    assert (await compiled(provider, seed=4)).candidates != first.candidates


async def test_without_a_validation_set_the_first_rows_score(provider):
    result = await compiled(provider, valset=None, valset_ratio=0.25, strategy="p")
    assert result.score is not None
    assert {row["text"] for row in demos(result.candidates[1])} <= {row.text for row in TRAIN[10:]}


async def test_without_any_row_to_score_on_the_last_steps_program_is_the_result(provider):
    result = await compiled(provider, valset=None, valset_ratio=0)
    assert (result.score, result.candidates) == (None, ())
    state = result.program.get_state().predictors["self"]
    assert (state.lm.name[:3], len(state.demos)) == ("ft:", 3)


async def test_what_no_step_could_use_is_refused_before_anything_is_called(provider):
    with pytest.raises(DatasetError, match="fine-tuning takes 10 examples"):
        await compiled(provider, trainset=TRAIN[:5])
    with pytest.raises(ConfigurationError, match="names with '->' between them"):
        await compiled(provider, strategy="p -> ")
    with pytest.raises(UnknownNameError, match="unknown step of the strategy 'x'"):
        await compiled(provider, strategy="p -> x")
    with pytest.raises(ConfigurationError, match="'p' has a metric of its own"):
        await compiled(provider, p=LabeledFewShot(metric="f1"))
    with pytest.raises(ConfigurationError, match="optimizer 'p': give an optimizer"):
        BetterTogether(p=3)
    assert provider.stats().requests == 0


def test_optimizers_may_be_named_and_written_down():
    made = BetterTogether(p="labeled_few_shot", w={"optimizer": "bootstrap_finetune", "options": {"poll_seconds": 2}})
    assert made.optimizers == {"p": LabeledFewShot(), "w": BootstrapFinetune(poll_seconds=2)}
    assert BetterTogether.from_options(made.written_options()) == made
    assert BetterTogether(w=BootstrapFinetune(trainer="json:dumps")).imported_paths() == ("json:dumps",)


@pytest.mark.slow
async def test_a_job_is_submitted_for_every_step_that_trains_and_no_other(provider):
    await compiled(provider, strategy="w -> p -> w")
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key") as client:
        jobs = [job async for job in client.fine_tuning.jobs.list()]
    assert [job.model for job in jobs] == [jobs[1].fine_tuned_model, "fake"]

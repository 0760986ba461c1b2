import asyncio

import openai
import pytest

from dspex_core import LM, ChainOfThought, JSONAdapter, Predict, events, using
from dspex_core.errors import ConfigurationError, DatasetError, FineTuningError, ProgramError, UnknownNameError
from dspex_core.modules import Module
from dspex_core.optimizers import BootstrapFinetune, TrainedModel
from dspex_core.testing import conformance_program, conformance_rows

TRAIN, VAL = conformance_rows(40), conformance_rows(20, start=40)
QUICK = {"metric": "exact_match", "poll_seconds": 0.001}


class Relay(Module):
    """Two predictors, of which the second reads what the first says."""

    def __init__(self):
        self.gist = Predict("text -> gist")
        self.topic = Predict("text, gist -> topic: Literal['billing', 'shipping', 'account', 'bug']")

    async def forward(self, text):
        gist = await self.gist(text=text)
        return await self.topic(text=text, gist=gist.gist)


async def compiled(provider, program=None, *, trainset=TRAIN, valset=VAL, **options):
    with using(lm=LM("openai/fake", api_base=provider.base_url)):
        optimizer = BootstrapFinetune(**QUICK | options)
        return await optimizer.compile(program or conformance_program(), trainset=trainset, valset=valset)


async def jobs_at(provider):
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        return [job async for job in client.fine_tuning.jobs.list()]


async def lines_at(provider, job):
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        return (await client.files.content(job.training_file)).text.splitlines()


async def test_a_program_is_bound_to_the_model_that_learnt_from_its_successful_runs(provider):
    result = await compiled(provider)
    [job] = await jobs_at(provider)
    assert result.program.get_state().predictors["self"].lm.name == job.fine_tuned_model
    assert [candidate.label for candidate in result.candidates] == ["baseline", "fine-tuned"]
    assert result.score > result.baseline_score
    assert 10 <= len(await lines_at(provider, job)) < len(TRAIN)


async def test_without_a_metric_every_run_that_does_not_fail_is_learnt_from(provider):
    await compiled(provider, metric=None, valset=None)
    [job] = await jobs_at(provider)
    assert len(await lines_at(provider, job)) == len(TRAIN)


async def test_a_second_compile_submits_nothing_and_finds_the_same(provider):
    first = await compiled(provider)
    second = await compiled(provider)
    assert second.candidates == first.candidates
    assert second.usage.lm_calls == 0
    assert len(await jobs_at(provider)) == 1


@pytest.mark.slow
async def test_one_job_trains_a_model_for_all_predictors_or_one_for_each(provider):
    together = await compiled(provider, Relay(), metric=None, valset=None)
    assert len({p.lm for p in together.program.get_state().predictors.values()}) == 1
    [job] = await jobs_at(provider)
    assert len(await lines_at(provider, job)) == 2 * len(TRAIN)
    apart = await compiled(provider, Relay(), metric=None, valset=None, multitask=False)
    models = {name: p.lm.name for name, p in apart.program.get_state().predictors.items()}
    assert sorted(models.values()) == sorted(job.fine_tuned_model for job in (await jobs_at(provider))[:2])
    assert len(set(models.values())) == 2


async def test_each_model_that_predictors_have_gets_a_job_of_its_own(provider):
    program = Relay()
    state = program.get_state().predictors["gist"]
    program.gist.set_state(state.model_copy(update={"lm": LM("openai/small", api_base=provider.base_url).config}))
    result = await compiled(provider, program, metric=None, valset=None)
    assert {job.model for job in await jobs_at(provider)} == {"small", "fake"}
    tuned = {name: p.lm.name.split(":")[1] for name, p in result.program.get_state().predictors.items()}
    assert tuned == {"gist": "small", "topic": "fake"}


@pytest.mark.slow
async def test_demos_stay_or_go_in_the_examples_as_in_the_program(provider):
    program = conformance_program()
    demo = {"text": "my zebra broke", "topic": "bug"}
    program = program.with_state(program.get_state().with_demos({"self": (demo,)}))
    shown = await compiled(provider, program)
    plain = await compiled(provider, program, exclude_demos=True)
    later, earlier = await jobs_at(provider)
    assert all("zebra" in line for line in await lines_at(provider, earlier))
    assert not any("zebra" in line for line in await lines_at(provider, later))
    tuned = [result.candidates[1].state.predictors["self"].demos for result in (shown, plain)]
    assert tuned == [(demo,), ()]


async def test_the_adapter_given_writes_the_examples_and_asks_from_then_on(provider):
    result = await compiled(provider, adapter=JSONAdapter())
    [job] = await jobs_at(provider)
    assert all("JSON object" in line for line in await lines_at(provider, job))
    assert result.program.get_state().predictors["self"].adapter.name == "json"
    assert result.score > result.baseline_score


async def test_the_job_and_its_status_are_told(start_provider):
    provider = start_provider(fine_tuning_polls=4)
    with events.subscribe(types={"phase_started"}) as stream:
        await compiled(provider)
        stream.close()
        told = [event.detail async for event in stream if event.phase == "fine-tuning"]
    [job] = await jobs_at(provider)
    assert [detail.partition(" for ")[0].split()[:2] for detail in told[1:]] == [["job", job.id]] * 3
    assert [word for detail in told for word in ("queued", "running", "succeeded") if word in detail] == [
        "queued",
        "running",
        "succeeded",
    ]


@pytest.mark.slow
async def test_an_outage_while_the_job_runs_changes_nothing(start_provider):
    provider = start_provider(fine_tuning_polls=3)
    with events.subscribe(types={"phase_started"}) as stream:
        work = asyncio.create_task(compiled(provider))
        async for event in stream:
            if "queued" in event.detail:
                provider.change(outage="drop")
                break
        while not provider.stats().faults.get("outage"):
            await asyncio.sleep(0)
        provider.change(outage=None)
        result = await work
    assert len(await jobs_at(provider)) == 1
    undisturbed = await compiled(start_provider())
    assert [(each.label, each.score) for each in result.candidates] == [
        (each.label, each.score) for each in undisturbed.candidates
    ]


@pytest.mark.parametrize("cancel_jobs", [True, False])
async def test_a_cancelled_compile_cancels_its_job_if_asked_to(start_provider, cancel_jobs):
    provider = start_provider(fine_tuning_polls=1_000_000)
    with events.subscribe(types={"phase_started"}) as stream:
        work = asyncio.create_task(compiled(provider, cancel_jobs=cancel_jobs))
        async for event in stream:
            if "queued" in event.detail:
                break
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    [job] = await jobs_at(provider)
    assert (job.status == "cancelled") == cancel_jobs


@pytest.mark.slow
async def test_a_job_that_fails_says_why_and_the_next_compile_submits_another(provider):
    work = asyncio.create_task(compiled(provider, poll_seconds=60))
    while not (jobs := await jobs_at(provider)):
        await asyncio.sleep(0)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key") as client:
        await client.fine_tuning.jobs.cancel(jobs[0].id)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await compiled(provider)
    assert [job.status for job in await jobs_at(provider)] == ["succeeded", "cancelled"]


async def test_a_job_cancelled_by_somebody_else_ends_the_compile(start_provider):
    provider = start_provider(fine_tuning_polls=1_000_000)
    work = asyncio.create_task(compiled(provider))
    while not (jobs := await jobs_at(provider)):
        await asyncio.sleep(0)
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key") as client:
        await client.fine_tuning.jobs.cancel(jobs[0].id)
    with pytest.raises(FineTuningError, match=f"job {jobs[0].id} .* cancelled"):
        await work


async def test_a_teacher_with_too_few_successes_is_one_clear_error(provider):
    with pytest.raises(DatasetError, match="give 0 examples, and training takes 10 at least: give more rows"):
        await compiled(provider, metric_threshold=2.0)
    assert await jobs_at(provider) == []


async def test_what_cannot_work_is_refused_before_anything_is_called(provider):
    with pytest.raises(DatasetError, match="has 9 rows: fine-tuning takes 10 examples"):
        await compiled(provider, trainset=TRAIN[:9])
    with pytest.raises(ConfigurationError, match=r"takes no 'epochs'; it takes .*n_epochs"):
        await compiled(provider, train_kwargs={"epochs": 3})
    with pytest.raises(UnknownNameError, match="metrics"):
        BootstrapFinetune.from_options({"metrics": "f1"})
    assert provider.stats().requests == 0


async def test_a_trainer_of_a_users_own_trains_in_place_of_the_provider(provider):
    def train(data, *, model, job_id, rank):
        assert (model, rank) == ("fake", 4)
        return TrainedModel(model="openai/fake-of-mine", api_base=provider.base_url)

    result = await compiled(
        provider, ChainOfThought("text -> topic"), trainset=TRAIN[:4], metric=None, valset=None, trainer=train,
        train_kwargs={"rank": 4},
    )  # fmt: skip
    assert result.program.get_state().predictors["predict"].lm.model == "openai/fake-of-mine"
    assert await jobs_at(provider) == []


def test_a_trainer_that_no_worker_could_import_cannot_be_written_down():
    def train(data, *, model, job_id):
        return "x"

    with pytest.raises(ProgramError, match=r"trainer .* cannot be imported by a worker"):
        BootstrapFinetune(trainer=train).written_options()
    named = BootstrapFinetune(trainer="json:dumps")
    assert named.imported_paths() == ("json:dumps",)
    assert BootstrapFinetune.from_options(named.written_options()) == named


async def test_a_key_given_in_code_is_refused_since_nobody_else_could_call_the_model(provider):
    lm = LM("openai/fake", api_base=provider.base_url, api_key="mine")
    with using(lm=lm), pytest.raises(ConfigurationError, match="key in code"):
        await BootstrapFinetune(**QUICK).compile(conformance_program(), trainset=TRAIN)

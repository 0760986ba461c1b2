"""A fine-tuning job of a durable run is submitted once, whatever is killed while it is, or while it is waited for."""

import asyncio

import openai
import pytest
from real_parts import API_KEY, own_platform, until_parked

from dspex import Client
from dspex_core.errors import RunFailedError
from dspex_core.optimizers import BetterTogether, BootstrapFinetune, LabeledFewShot
from dspex_core.testing import conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(40), conformance_rows(12, start=40)


async def start(client, platform, run_id, optimizer=None, **options):
    return await client.compile(
        conformance_program(),
        optimizer=optimizer or BootstrapFinetune(metric="exact_match", poll_seconds=0.2),
        trainset=TRAIN,
        valset=VAL,
        lm=platform.lm(),
        id=run_id,
        **options,
    )


async def jobs_at(platform):
    async with openai.AsyncOpenAI(base_url=platform.provider.base_url, api_key=API_KEY, max_retries=3) as provider:
        return [job async for job in provider.fine_tuning.jobs.list()]


async def until_submitted(platform, *, count=1):
    while len(await jobs_at(platform)) < count:
        await asyncio.sleep(0.02)


async def until_told(run, word):
    while (progress := (await run.status()).progress) is None or word not in progress.detail:
        await asyncio.sleep(0.05)


@pytest.fixture
def patient(background, tmp_path, monkeypatch):
    """A platform whose provider's jobs take two dozen questions, with a worker that may be killed."""
    with own_platform(background, tmp_path, fine_tuning_polls=25) as platform, platform.worker() as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        yield platform, worker


async def test_a_worker_killed_as_the_job_begins_and_again_while_it_runs_submits_it_once(patient):
    platform, worker = patient
    async with await Client.connect() as client:
        run = await start(client, platform, "killed")
        await until_submitted(platform)
        for _ in range(2):
            before = worker.pid
            worker.kill()
            while worker.pid == before:
                await asyncio.sleep(0.02)
            await until_told(run, "ftjob-")
        result = await run.result()
    [job] = await jobs_at(platform)
    assert result.program.get_state().predictors["self"].lm.name == job.fine_tuned_model
    assert result.score > result.baseline_score


async def test_a_run_cancelled_while_its_job_runs_finds_it_when_resumed(patient):
    platform, _ = patient
    async with await Client.connect() as client:
        run = await start(client, platform, "resumed")
        await until_told(run, "ftjob-")
        await client._connection.temporal.get_workflow_handle("resumed").cancel()
        with pytest.raises(RunFailedError, match="cancelled"):
            await run.result()
        again = await start(client, platform, "resumed", resume=True)
        result = await again.result()
    [job] = await jobs_at(platform)
    assert (job.status, result.program.get_state().predictors["self"].lm.name) == ("succeeded", job.fine_tuned_model)


async def test_a_cancelled_run_cancels_its_job_if_asked_to_and_the_resumed_one_submits_another(patient):
    platform, _ = patient
    optimizer = BootstrapFinetune(metric="exact_match", poll_seconds=0.2, cancel_jobs=True)
    async with await Client.connect() as client:
        run = await start(client, platform, "stopped", optimizer)
        await until_told(run, "ftjob-")
        await client._connection.temporal.get_workflow_handle("stopped").cancel()
        with pytest.raises(RunFailedError, match="cancelled"):
            await run.result()
        assert [job.status for job in await jobs_at(platform)] == ["cancelled"]
        again = await start(client, platform, "stopped", optimizer, resume=True)
        await again.result()
    assert [job.status for job in await jobs_at(platform)] == ["succeeded", "cancelled"]


async def test_prompts_and_weights_are_optimized_in_turns_durably(platform, client):
    optimizer = BetterTogether(metric="exact_match", p=LabeledFewShot(k=3), w=BootstrapFinetune(poll_seconds=0.1))
    run = await start(client, platform, "in-turns", optimizer)
    result = await run.result()
    assert [candidate.label for candidate in result.candidates][-1] == "p -> w -> p"
    assert result.score > result.baseline_score


async def test_a_trainer_from_a_package_that_the_workers_trust_trains_there(platform, client):
    import shop_app

    optimizer = BootstrapFinetune(metric="exact_match", trainer=shop_app.train, train_kwargs={"rank": 4})
    run = await start(client, platform, "trained-here", optimizer)
    result = await run.result()
    assert result.candidates[1].state.predictors["self"].lm.model == "openai/fake-rank-4"


async def test_a_trainer_from_a_package_that_no_worker_trusts_is_not_imported(platform, client):
    optimizer = BootstrapFinetune(metric="exact_match", trainer="json:dumps")
    run = await start(client, platform, "untrusted", optimizer)
    assert "does not trust the package 'json'" in (await until_parked(run)).parked_reason
    await run.cancel(hard=True)


async def test_a_job_that_fails_ends_the_run_with_the_providers_reason(platform, client):
    run = await start(client, platform, "doomed", BootstrapFinetune(metric="exact_match", metric_threshold=2.0))
    with pytest.raises(RunFailedError, match="DatasetError: the teacher's successful runs, 0, give 0 examples"):
        await run.result()


async def test_the_command_line_fine_tunes(platform, tmp_path):
    rows = ["text,topic", *(f"{row.text},{row.topic}" for row in conformance_rows(60))]
    (tmp_path / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    done = platform.cli(
        "compile", "--train", tmp_path / "rows.csv", "--input", "text", "--output", "topic",
        "--lm", "openai/fake", "--api-base", platform.provider.base_url,
        "--optimizer", "bootstrap_finetune", "--set", "poll_seconds=0.1", "--set", 'train_kwargs={"n_epochs": 2}',
        "-o", tmp_path / "tuned.json", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "openai/ft:fake:" in (tmp_path / "tuned.json").read_text(encoding="utf-8")
    assert "fine-tuning" in done.stderr

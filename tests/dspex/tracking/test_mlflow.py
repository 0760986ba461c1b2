"""Durable runs shown in a real MLflow server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import aclosing
from pathlib import Path

import pytest

from dspex.tracking import log_to_mlflow
from dspex_core import LM
from dspex_core.errors import RunNotFoundError, TrackingError
from dspex_core.optimizers import BootstrapFewShot, BootstrapFewShotWithRandomSearch
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(16), conformance_rows(12, start=16)


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory):
    """The address of an MLflow server with a database of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept"))
    command = (sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *store], cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        await_answer(f"{address}/health", process, folder / "log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it has processes of its own, which it does not wait for
        process.wait(30)


def await_answer(url, process, log):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - the address is our own
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture
def mlflow(mlflow_server, monkeypatch):
    """A client of that server."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient(mlflow_server)


async def started(client, platform, run_id, optimizer=None):
    optimizer = optimizer or BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=2)
    return await client.compile(
        conformance_program(), optimizer=optimizer, trainset=TRAIN, valset=VAL, lm=platform.lm(), id=run_id
    )


def runs_of(mlflow, run_id, experiment="dspex"):
    found = mlflow.search_runs(
        [mlflow.get_experiment_by_name(experiment).experiment_id], f"tags.`dspex.run_id` = '{run_id}'"
    )
    parents = [run for run in found if "dspex.candidate" not in run.data.tags]
    children = {int(run.data.tags["dspex.candidate"]): run for run in found if run not in parents}
    assert len(parents) == 1
    assert len(children) == len(found) - 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parents[0].info.run_id}
    return parents[0], children


async def test_a_run_is_a_parent_with_a_child_for_each_candidate_and_the_program_as_artifact(
    platform, client, mlflow, mlflow_server, tmp_path
):
    run = await started(client, platform, "tracked")
    parent_id = await log_to_mlflow(run, tracking_uri=mlflow_server)
    result = await run.result()
    parent, children = runs_of(mlflow, "tracked")
    assert (parent.info.run_id, parent.info.status) == (parent_id, "FINISHED")
    assert parent.data.metrics["best_score"] == result.score
    assert parent.data.metrics["lm_calls"] <= result.usage.lm_calls
    told = [(point.step, point.value) for point in mlflow.get_metric_history(parent_id, "score")]
    assert told == [(candidate.index, candidate.score) for candidate in result.candidates]
    assert sorted(children) == [candidate.index for candidate in result.candidates]
    for candidate in result.candidates:
        child = children[candidate.index]
        assert (child.info.status, child.data.metrics["score"]) == ("FINISHED", candidate.score)
        kept = mlflow.download_artifacts(child.info.run_id, "state.json", str(tmp_path))
        assert json.loads(Path(kept).read_text()) == candidate.state.model_dump(mode="json")
    program = json.loads(Path(mlflow.download_artifacts(parent_id, "program.json", str(tmp_path))).read_text())
    assert program["state"] == result.program.get_state().model_dump(mode="json")
    assert "report.html" in {artifact.path for artifact in mlflow.list_artifacts(parent_id)}


async def test_told_again_it_goes_on_in_the_same_runs_and_doubles_nothing(platform, client, mlflow, mlflow_server):
    run = await started(client, platform, "twice", BootstrapFewShot(metric="exact_match"))
    watching = log_to_mlflow(run, tracking_uri=mlflow_server)
    first = await watching
    before = mlflow.get_metric_history(first, "score")
    assert await log_to_mlflow(run, tracking_uri=mlflow_server) == first
    runs_of(mlflow, "twice")
    assert [(p.step, p.value, p.timestamp) for p in mlflow.get_metric_history(first, "score")] == [
        (p.step, p.value, p.timestamp) for p in before
    ]


async def test_a_run_cancelled_early_leaves_its_best_so_far_in_mlflow(platform, client, mlflow, mlflow_server):
    with FakeProviderProcess(latency_ms=100) as slow_model:
        lm = LM("openai/fake", api_base=slow_model.base_url, concurrency=4)
        run = await client.compile(
            conformance_program(), optimizer=BootstrapFewShot(metric="exact_match"), trainset=TRAIN, valset=VAL, lm=lm
        )
        async with aclosing(run.events()) as events:
            async for event in events:
                if event.type == "candidate_evaluated":
                    break
        await run.cancel()
        parent_id = await log_to_mlflow(run, tracking_uri=mlflow_server)
    assert mlflow.get_run(parent_id).info.status == "KILLED"
    assert {"program.json", "report.html"} <= {artifact.path for artifact in mlflow.list_artifacts(parent_id)}


async def test_an_mlflow_that_is_not_there_is_said_and_the_run_goes_on(platform, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = await started(client, platform, "untracked", BootstrapFewShot(metric="exact_match"))
    with pytest.raises(TrackingError, match="MLflow"):
        await log_to_mlflow(run, tracking_uri="http://127.0.0.1:9")
    assert (await run.result()).score > 0


async def test_a_run_that_does_not_exist_leaves_nothing_in_mlflow(client, mlflow, mlflow_server):
    with pytest.raises(RunNotFoundError):
        await log_to_mlflow(client.get_run("no-such-run"), tracking_uri=mlflow_server, experiment="none of these")
    assert mlflow.get_experiment_by_name("none of these") is None


async def test_the_command_line_shows_a_run_in_mlflow_as_it_watches(platform, client, mlflow, mlflow_server):
    await (await started(client, platform, "in-mlflow", BootstrapFewShot(metric="exact_match"))).result()
    done = platform.cli("runs", "watch", "in-mlflow", "--mlflow", mlflow_server, MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stderr
    parent, children = runs_of(mlflow, "in-mlflow")
    assert parent.info.status == "FINISHED"
    assert children

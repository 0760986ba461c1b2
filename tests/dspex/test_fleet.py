"""Workers of several kinds and several builds, and runs that are sent to some of them."""

import asyncio
import uuid
from collections import Counter
from contextlib import contextmanager

import pytest
from real_parts import in_environment
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.service import RPCError

from dspex import Client
from dspex.worker import WorkerOptions, WorkerProcess
from dspex_core import LM
from dspex_core.errors import ConfigurationError
from dspex_core.optimizers import BootstrapFewShot, LabeledFewShot
from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TRAIN, VAL = conformance_rows(20), conformance_rows(30, start=20)


class Fleet:
    """A task queue of one's own on the shared server, and workers on it."""

    def __init__(self, platform, folder):
        self._platform = platform
        self.lm = platform.lm
        self.queue = self.deployment = f"fleet-{uuid.uuid4().hex[:8]}"
        self.variables = platform.variables | {
            "DSPEX_HOME": str(folder), "DSPEX_TASK_QUEUE": self.queue, "DSPEX_DEPLOYMENT": self.deployment,
        }  # fmt: skip

    @contextmanager
    def worker(self, **options):
        process = WorkerProcess(self._platform.server, options=WorkerOptions(**options), say=print)
        with in_environment(self.variables), self._platform.background.running(process):
            yield

    async def compile(self, client, **options):
        given = {"optimizer": LabeledFewShot(metric="exact_match", k=4), "lm": self.lm()} | options
        return await client.compile(conformance_program(), trainset=TRAIN, valset=VAL, **given)


@pytest.fixture
def fleet(platform, tmp_path, monkeypatch):
    made = Fleet(platform, tmp_path)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


async def events_of(client, workflow_id):
    return (await client._connection.temporal.get_workflow_handle(workflow_id).fetch_history()).events


async def test_workers_that_decide_and_workers_that_evaluate_share_a_run(fleet):
    with fleet.worker(role="workflow"), fleet.worker(role="eval", environment="gpu"):
        async with await Client.connect() as client:
            run = await fleet.compile(client, id=fleet.queue, environment="gpu")
            assert (await run.result()).score > 0
            events = [*await events_of(client, run.id), *await events_of(client, f"{run.id}/evaluation-1")]
    work = [
        e.activity_task_scheduled_event_attributes
        for e in events
        if e.HasField("activity_task_scheduled_event_attributes")
    ]
    assert {attributes.task_queue.name for attributes in work} == {f"{fleet.queue}-eval-gpu"}
    deciding = {e.workflow_task_completed_event_attributes.identity for e in events} - {""}
    working = {e.activity_task_started_event_attributes.identity for e in events} - {""}
    assert deciding
    assert working
    assert deciding.isdisjoint(working)


async def test_without_an_environment_workers_that_evaluate_serve_the_common_queue(fleet):
    with fleet.worker(role="workflow"), fleet.worker(role="eval", target_load=1.0):
        async with await Client.connect() as client:
            assert (await (await fleet.compile(client, id=fleet.queue)).result()).score > 0


async def test_children_and_activities_inherit_a_runs_priority_and_tenant(fleet):
    with fleet.worker():
        async with await Client.connect() as client:
            run = await fleet.compile(client, id=fleet.queue, priority=1, tenant="team-a")
            await run.result()
            started = [(await events_of(client, found))[0] for found in (run.id, f"{run.id}/evaluation-1")]
    for event in started:
        priority = event.workflow_execution_started_event_attributes.priority
        assert (priority.priority_key, priority.fairness_key) == (1, "team-a")


@pytest.mark.parametrize(
    "given", [{"priority": 0}, {"priority": 6}, {"tenant": ""}, {"tenant": "x" * 65}, {"chunk_rows": -3}]
)
async def test_an_option_that_a_run_cannot_heed_is_refused_before_anything_starts(fleet, given):
    async with await Client.connect() as client:
        with pytest.raises(ConfigurationError, match=r"priority is 1|tenant's name|chunk_rows is how many"):
            await fleet.compile(client, **given)


async def test_the_command_line_passes_on_priority_tenant_and_environment(fleet, tmp_path, platform, monkeypatch):
    monkeypatch.setattr(platform, "variables", fleet.variables)
    (tmp_path / "rows.csv").write_text("text,topic\n" + "".join(f"{r.text},{r.topic}\n" for r in TRAIN))
    done = platform.cli(
        "compile", "--train", tmp_path / "rows.csv", "--input", "text", "--output", "topic", "--lm", "openai/fake",
        "--api-base", platform.provider.base_url, "--detach", "--id", fleet.queue,
        "--priority", "2", "--tenant", "team-b", "--environment", "gpu", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    async with await Client.connect() as client:
        event = (await events_of(client, fleet.queue))[0]
    priority = event.workflow_execution_started_event_attributes.priority
    assert (priority.priority_key, priority.fairness_key) == (2, "team-b")


async def test_activities_begin_no_faster_than_a_worker_may(fleet):
    with fleet.worker(activities_per_second=4):
        async with await Client.connect() as client:
            run = await fleet.compile(client, id=fleet.queue, chunk_rows=3)
            await run.result()
            events = await events_of(client, f"{run.id}/evaluation-1")
    begun = sorted(e.event_time.ToNanoseconds() for e in events if e.HasField("activity_task_started_event_attributes"))
    assert len(begun) == 10
    assert (begun[-1] - begun[0]) / 1e9 > 1, "ten at four a second, the first of them at once"


async def test_the_server_is_told_how_much_all_workers_of_a_queue_may_begin(fleet):
    with fleet.worker(queue_activities_per_second=7):
        async with await Client.connect() as client:
            await (await fleet.compile(client, id=fleet.queue)).result()
            request = DescribeTaskQueueRequest(
                namespace=client.server.namespace,
                task_queue=TaskQueue(name=fleet.queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
                include_task_queue_status=True,
            )
            answer = await client._connection.temporal.workflow_service.describe_task_queue(request)
    assert answer.task_queue_status.rate_per_second == 7


async def test_a_run_ends_on_the_build_it_began_on_while_new_runs_take_the_new_one(fleet):
    optimizer = BootstrapFewShot(metric="exact_match")
    with FakeProviderProcess(latency_ms=10_000) as slow:
        lm = LM("openai/fake", api_base=slow.base_url, concurrency=4)
        async with await Client.connect() as client:
            with fleet.worker(build_id="a"):
                await make_current(client, fleet, "a")
                old = await fleet.compile(client, id=f"{fleet.queue}-old", optimizer=optimizer, lm=lm)
                while not slow.stats().requests:
                    await asyncio.sleep(0.05)
                with fleet.worker(build_id="b"):
                    await make_current(client, fleet, "b")
                    new = await fleet.compile(client, id=f"{fleet.queue}-new")
                    await new.result()
                    assert (await old.status()).status == "running"
                    slow.change(latency_ms=0)
                    await old.result()
            builds = {found: await build_of(client, found) for found in (
                old.id, f"{old.id}/evaluation-1", f"{old.id}/evaluation-2", new.id, f"{new.id}/evaluation-1",
            )}  # fmt: skip
    assert builds == {
        old.id: "a",
        f"{old.id}/evaluation-1": "a",
        f"{old.id}/evaluation-2": "a",
        new.id: "b",
        f"{new.id}/evaluation-1": "b",
    }


async def make_current(client, fleet, build_id):
    """What `temporal worker deployment set-current-version` does, once the server has heard of the build."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.server.namespace, deployment_name=fleet.deployment, build_id=build_id
    )
    async with asyncio.timeout(60):
        while True:
            try:
                await client._connection.temporal.workflow_service.set_worker_deployment_current_version(request)
            except RPCError:
                await asyncio.sleep(0.1)
            else:
                return


async def build_of(client, workflow_id):
    described = await client._connection.temporal.get_workflow_handle(workflow_id).describe()
    return described.raw_description.workflow_execution_info.versioning_info.deployment_version.build_id


async def test_two_workers_share_the_chunks_of_one_evaluation(fleet, platform):
    async with await Client.connect() as client:
        with fleet.worker(), fleet.worker(), FakeProviderProcess(latency_ms=100) as slow:
            lm = LM("openai/fake", api_base=slow.base_url, concurrency=10)
            queue = DescribeTaskQueueRequest(
                namespace=platform.server.namespace,
                task_queue=TaskQueue(name=fleet.queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            )
            service = client._connection.temporal.workflow_service
            while len((await service.describe_task_queue(queue)).pollers) < 2:
                await asyncio.sleep(0.05)
            await client.evaluate(
                conformance_program(), conformance_rows(480), metric="exact_match", lm=lm, id=f"{fleet.queue}-shared"
            )
        started = [
            event.activity_task_started_event_attributes.identity
            for event in await events_of(client, f"{fleet.queue}-shared")
            if event.HasField("activity_task_started_event_attributes")
        ]
    shares = Counter(started)
    assert len(started) == 16
    assert len(shares) == 2
    assert min(shares.values()) >= 2

import asyncio
import signal
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from temporalio.worker import Worker

from dspex.devserver import Server, connect_to
from dspex.worker._metrics import METRICS_HOST, counting, metrics_runtime
from dspex.worker._options import CONCURRENT_ACTIVITIES, WorkerOptions
from dspex.worker._plugin import DSPExPlugin
from dspex.worker._search_attributes import register_search_attributes
from dspex.worker._slots import FairSlots

GRACE_SECONDS = 20.0
"""How long a worker that was told to stop lets its activities finish."""

STICKY_SECONDS = 3.0
DEADLOCK_SECONDS = 30.0


async def run_worker(
    server: Server,
    *,
    trust: Collection[str] = (),
    trust_api_base: Collection[str] = (),
    options: WorkerOptions | None = None,
    say: Callable[[str], None],
) -> None:
    """Work on the task queue until told to stop.

    The first SIGINT or SIGTERM lets activities under way finish, for `GRACE_SECONDS` at most; a second one ends them,
    and Temporal gives them to another worker.

    Args:
        server: Where the runs are.
        trust: Packages that programs and metrics may be imported from.
        trust_api_base: Addresses that keys may be sent to; see `DSPExPlugin`.
        options: What part it takes in a fleet; by default it does everything.
        say: Told, in one line each, when work begins and ends.

    Raises:
        ServerUnavailableError: If the server does not answer.
        ConfigurationError: If an address is none, or the port of the metrics cannot be had.
    """
    options = options or WorkerOptions()
    runtime = None if options.metrics_port is None else metrics_runtime(options.metrics_port)
    plugin = DSPExPlugin(trust=trust, trust_api_base=trust_api_base, role=options.role)
    client = await connect_to(server, plugins=[plugin], runtime=runtime)
    await register_search_attributes(client)
    slots = FairSlots(plugin.turns, most=CONCURRENT_ACTIVITIES)
    worker = Worker(
        client,
        task_queue=options.task_queue(),
        tuner=options.tuner(slots),
        max_activities_per_second=options.activities_per_second,
        max_task_queue_activities_per_second=options.queue_activities_per_second,
        deployment_config=options.deployment(),
        # A workflow whose worker was killed is given to another one this much later.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_SECONDS),
        graceful_shutdown_timeout=timedelta(seconds=GRACE_SECONDS),
    )
    _bear_slow_tasks(worker)
    stop = _stop_on_signals(say)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        if runtime is not None:
            stack.enter_context(counting(runtime))
            say(f"metrics: http://{METRICS_HOST}:{options.metrics_port}/metrics")
        running = group.create_task(worker.run())
        say(f"worker ready: task queue {options.task_queue()}, server {server.address}{_part(options)}")
        counting_workers = group.create_task(slots.count_workers(client, options.task_queue()))
        await stop.wait()
        counting_workers.cancel()
        await worker.shutdown()
        await running
    say("worker stopped")


def _bear_slow_tasks(worker: Worker) -> None:
    """Let a workflow's task take longer than the SDK's two seconds, for which it has no option.

    What it takes for a deadlock is a busy machine, or a large module that a user's optimizer imports. It interrupts the
    task wherever that is, and of a workflow that was interrupted in the wrong moment that worker takes no further task
    ("Eviction processed, but 1 tasks remain").
    """
    runs_workflows: Any = getattr(worker, "_workflow_worker")  # noqa: B009 - private
    if runs_workflows is not None:
        setattr(runs_workflows, "_deadlock_timeout_seconds", DEADLOCK_SECONDS)  # noqa: B010 - private


def _part(options: WorkerOptions) -> str:
    """What is special about a worker, to be told."""
    role = "" if options.role == "all" else f", role {options.role}"
    deployment = options.deployment()
    return role if deployment is None else f"{role}, build {deployment.version.to_canonical_string()}"


def _stop_on_signals(say: Callable[[str], None]) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            for task in asyncio.all_tasks(loop):
                task.cancel()
            return
        # Set first: nothing that is said, to a parent that may be gone, can keep the worker from stopping.
        stop.set()
        say(f"stopping: activities under way have {GRACE_SECONDS:g} s to finish (once more to stop at once)")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    return stop

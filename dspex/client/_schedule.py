from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleListActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.client import Schedule as TemporalSchedule
from temporalio.service import RPCError, RPCStatusCode

from dspex.client._patience import patiently, rpc_error
from dspex.client._status import optimizer_name
from dspex.client._wanted import WantedCompile
from dspex_core.errors import ConfigurationError, RunConflictError, RunNotFoundError, ServerUnavailableError

T = TypeVar("T")

CATCH_UP = timedelta(hours=1)
"""A run that was due while the server was away is started up to this much later, and left out after that."""

SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class ScheduleSummary:
    """A line of `Client.list_schedules`; `next` is when its next run is due, if that is known."""

    id: str
    optimizer: str
    paused: bool
    next: str | None


class Schedule:
    """Compiles that are started again and again: a Temporal Schedule, made by `Client.schedule`.

        schedule = client.get_schedule("nightly")
        await schedule.pause(note="until the new data is in")

    Every method raises `RunNotFoundError` if there is no schedule of this name, and `ServerUnavailableError` if the
    server does not answer.

    Attributes:
        id: Its name.
    """

    def __init__(self, handle: ScheduleHandle) -> None:
        self._handle = handle
        self.id = handle.id

    async def trigger(self) -> None:
        """Start a run now."""
        await self._ask(self._handle.trigger)

    async def pause(self, *, note: str | None = None) -> None:
        """Start none until it is unpaused; the note says why."""
        await self._ask(partial(self._handle.pause, note=note))

    async def unpause(self, *, note: str | None = None) -> None:
        """Start runs again."""
        await self._ask(partial(self._handle.unpause, note=note))

    async def delete(self) -> None:
        """End it; its runs stay."""
        await self._ask(self._handle.delete)

    async def describe(self) -> ScheduleDescription:
        """What Temporal knows of it: when it fires, and the runs that it started."""
        return await self._ask(self._handle.describe)

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await patiently(ask)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise RunNotFoundError(
                    f"there is no schedule {self.id!r} on this server; client.list_schedules() tells of those there are"
                ) from None
            raise rpc_error(error, self.id) from None


@dataclass(frozen=True)
class Scheduled:
    """When and where a compile is started again and again."""

    id: str
    task_queue: str
    cron: str | None
    every: timedelta | None

    def __post_init__(self) -> None:
        if not self.id:
            raise ConfigurationError("a schedule needs a name: give it an id")
        if (not self.cron) == (self.every is None):
            raise ConfigurationError("say when: either cron='0 2 * * *' or every=timedelta(hours=24)")
        if self.every is not None and self.every < SHORTEST:
            raise ConfigurationError(f"a schedule starts a compile once a minute at most, not every {self.every}")

    async def create(self, temporal: Client, wanted: WantedCompile, request: Any) -> ScheduleHandle:
        """Have the server keep it.

        Raises:
            ConfigurationError: If the server cannot read the cron expression.
            RunConflictError: If there is a schedule of that name.
            ServerUnavailableError: If the server does not answer.
        """
        action = ScheduleActionStartWorkflow(
            wanted.workflow_type,
            request,
            id=self.id,
            task_queue=self.task_queue,
            static_summary=wanted.summary,
            priority=wanted.options.temporal_priority,
        )
        policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP)
        try:
            kept = TemporalSchedule(action=action, spec=self._spec(), policy=policy)
            return await temporal.create_schedule(self.id, kept)
        except ScheduleAlreadyRunningError:
            raise RunConflictError(
                f"there is a schedule {self.id!r}: choose another id, or delete it with "
                f"`await client.get_schedule({self.id!r}).delete()`"
            ) from None
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT:
                raise ConfigurationError(
                    f"the server does not take the schedule {self.id!r}: {error.message}"
                ) from None
            raise ServerUnavailableError(f"the schedule {self.id!r} was not made: {error.message}") from None

    def _spec(self) -> ScheduleSpec:
        if self.every is not None:
            return ScheduleSpec(intervals=[ScheduleIntervalSpec(every=self.every)])
        return ScheduleSpec(cron_expressions=[self.cron or ""])


async def schedules_of(temporal: Client, workflow_types: Collection[str]) -> list[ScheduleSummary]:
    """Schedules that start workflows of these types."""
    found: list[ScheduleSummary] = []
    async for listed in await temporal.list_schedules():
        kept = listed.schedule
        if kept is None or not isinstance(kept.action, ScheduleListActionStartWorkflow):
            continue
        if kept.action.workflow in workflow_types:
            upcoming = listed.info.next_action_times if listed.info else ()
            next_time = min((time.isoformat(timespec="seconds") for time in upcoming), default=None)
            name = optimizer_name(kept.action.workflow)
            found.append(ScheduleSummary(listed.id, name, paused=kept.state.paused, next=next_time))
    return found

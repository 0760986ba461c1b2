"""Events: what happens in a run, as small frozen models that anyone in the process may subscribe to.

    with events.subscribe() as stream:
        async for event in stream:
            ...

Emitting an event never changes what is computed: a subscriber that reads too slowly loses its oldest events and gets
an `EventsLost` in their place.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dspex_core.usage import Usage


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class OptimizerStarted(_Event):
    """A compile began."""

    type: Literal["optimizer_started"] = "optimizer_started"
    optimizer: str


class PhaseStarted(_Event):
    """The optimizer turned to its next task.

    Attributes:
        phase: What it does now, in a few words; one of few in a run.
        detail: More about it, for a person.
        rows: Rows this phase goes through, if that is known.
    """

    type: Literal["phase_started"] = "phase_started"
    phase: str
    detail: str = ""
    rows: int | None = None


class RowsEvaluated(_Event):
    """Some more rows of the phase are done.

    Attributes:
        rows: Rows done so far in this phase.
        score: Mean score of those rows in percent, or None where rows are not scored.
        usage: What this phase took so far.
    """

    type: Literal["rows_evaluated"] = "rows_evaluated"
    rows: int
    score: float | None = None
    usage: Usage = Usage()


class CandidateEvaluated(_Event):
    """A candidate got its score.

    Attributes:
        index: 0 for the program as it was given.
        label: How the candidate came to be.
        score: Percent on the validation set.
        failed: Rows on which the program failed.
    """

    type: Literal["candidate_evaluated"] = "candidate_evaluated"
    index: int
    label: str
    score: float
    failed: int = 0


class UsageAdded(_Event):
    """A phase ended; this is what it took in all."""

    type: Literal["usage_added"] = "usage_added"
    usage: Usage


class RunHeldUp(_Event):
    """Something keeps a durable run from going on; it is tried again until it works.

    Attributes:
        reason: What it is.
    """

    type: Literal["run_held_up"] = "run_held_up"
    reason: str


class AdapterFellBack(_Event):
    """No answer to an adapter could be read, so the next one asks.

    Attributes:
        signature: What is asked for.
        adapter: Whose answers could not be read.
        fallback: Which adapter asks now.
        reason: What was wrong with the last answer.
    """

    type: Literal["adapter_fell_back"] = "adapter_fell_back"
    signature: str
    adapter: str
    fallback: str
    reason: str


class StructuredOutputRefused(_Event):
    """A provider refused a form of structured output; from now on it is asked for the next one.

    Attributes:
        model: Provider and model.
        refused: "json_schema" or "json_object".
        fallback: "json_object", or "text": then only the prompt asks for JSON.
        reason: What the provider said.
    """

    type: Literal["structured_output_refused"] = "structured_output_refused"
    model: str
    refused: str
    fallback: str
    reason: str


class OptimizerFinished(_Event):
    """A compile ended with a result."""

    type: Literal["optimizer_finished"] = "optimizer_finished"
    score: float | None = None


class EventsLost(_Event):
    """A subscriber read too slowly; this many events were dropped before the next one."""

    type: Literal["events_lost"] = "events_lost"
    count: int


Event = Annotated[
    OptimizerStarted
    | PhaseStarted
    | RowsEvaluated
    | CandidateEvaluated
    | UsageAdded
    | RunHeldUp
    | AdapterFellBack
    | StructuredOutputRefused
    | OptimizerFinished
    | EventsLost,
    Field(discriminator="type"),
]


class Subscription:
    """One subscriber's events, in order. Iterate over it; it ends when the `subscribe` block ends."""

    def __init__(self, buffer: int) -> None:
        self._events: deque[Event] = deque(maxlen=buffer)
        self._lost = 0
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._closed = False

    def deliver(self, event: Event) -> None:
        """Add an event, from any thread."""
        if len(self._events) == self._events.maxlen:
            self._lost += 1
        self._events.append(event)
        # A loop that has ended reads nothing any more; that is no reason for the work to fail.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.set)

    def close(self) -> None:
        """End the iteration once the events that arrived are read."""
        self._closed = True
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            self._arrived.clear()
            while self._events or self._lost:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield EventsLost(count=lost)
                else:
                    yield self._events.popleft()
            if self._closed:
                return
            await self._arrived.wait()


_subscriptions: list[Subscription] = []


@contextmanager
def subscribe(*, buffer: int = 10_000) -> Generator[Subscription]:
    """Receive every event emitted in this process while the block runs.

    Args:
        buffer: Events kept for a subscriber that is behind; beyond it the oldest are dropped and counted.
    """
    subscription = Subscription(buffer)
    _subscriptions.append(subscription)
    try:
        yield subscription
    finally:
        _subscriptions.remove(subscription)
        subscription.close()


def publish(event: Event) -> None:
    """Hand an event to every subscriber."""
    for subscription in tuple(_subscriptions):
        subscription.deliver(event)

"""Events: what happens in a run, as small frozen models that anyone in the process may subscribe to.

    with events.subscribe() as stream:
        await triage(text="I was charged twice")
        print(await anext(aiter(stream)))

Events of runs tell how an optimizer gets on; events of calls tell of every module, model, tool and search, and which
was called within which. The latter are made only while somebody subscribes to them.

Emitting an event never changes what is computed: a subscriber that reads too slowly loses its oldest events and gets
an `EventsLost` in their place.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from dspex_core.errors import ConfigurationError
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
        parent: Index of the candidate that it was made from, if it was made from one.
        merged_with: Index of a second one that it was made from, if there is one.
        rows: Rows it was scored on, where that is not all of them.
    """

    type: Literal["candidate_evaluated"] = "candidate_evaluated"
    index: int
    label: str
    score: float
    failed: int = 0
    parent: int | None = None
    merged_with: int | None = None
    rows: int | None = None


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


class ParametersRefused(_Event):
    """A model takes neither a temperature nor max_tokens; from now on it is asked as a reasoning model is.

    Attributes:
        model: Provider and model.
        reason: What the provider said.
    """

    type: Literal["parameters_refused"] = "parameters_refused"
    model: str
    reason: str


class LMFellBack(_Event):
    """A model could not be reached, so the next of its fallbacks takes the call.

    Attributes:
        model: Provider and model that was asked.
        fallback: Provider and model that is asked now.
        reason: What went wrong.
    """

    type: Literal["lm_fell_back"] = "lm_fell_back"
    model: str
    fallback: str
    reason: str


class _Call(_Event):
    """Something called something.

    Attributes:
        call_id: The same in the events of one call, and in no others of this process.
        parent_id: The call within which this one was made; None if there is none that is told of.
    """

    call_id: str
    parent_id: str | None = None


class _CallEnded(_Call):
    """A call ended.

    Attributes:
        seconds: How long it took.
        error: What went wrong, as "ErrorName: message"; None if nothing did.
    """

    seconds: float
    error: str | None = None


class ModuleStart(_Call):
    """A module was called with these inputs, as JSON values."""

    type: Literal["module_start"] = "module_start"
    module: str
    inputs: dict[str, Any] = {}


class ModuleEnd(_CallEnded):
    """A module is done. `usage` is that of all calls within it."""

    type: Literal["module_end"] = "module_end"
    module: str
    outputs: dict[str, Any] = {}
    usage: Usage = Usage()


class LMStart(_Call):
    """A model is asked; the answer may come from the cache.

    Attributes:
        model: Provider and model.
        messages: The exact messages, as role and content.
        temperature: None leaves it to the LM.
        rollout_id: Which fresh sample this is; None is the ordinary answer.
    """

    type: Literal["lm_start"] = "lm_start"
    model: str
    messages: list[dict[str, Any]] = []
    temperature: float | None = None
    rollout_id: int | None = None


class LMEnd(_CallEnded):
    """A model has answered, or failed after all retries."""

    type: Literal["lm_end"] = "lm_end"
    model: str
    text: str = ""
    cached: bool = False
    usage: Usage = Usage()


class ToolCalled(_Call):
    """A tool is called with the arguments that a model wrote."""

    type: Literal["tool_called"] = "tool_called"
    tool: str
    args: dict[str, Any] = {}


class ToolFinished(_CallEnded):
    """A tool is done. `text` is what the model reads; `failed` says that it is about a failure."""

    type: Literal["tool_finished"] = "tool_finished"
    tool: str
    text: str = ""
    failed: bool = False


class RetrievalStart(_Call):
    """A search began; `retriever` is where it is imported from, or its class."""

    type: Literal["retrieval_start"] = "retrieval_start"
    retriever: str
    query: str = ""
    k: int = 0


class RetrievalEnd(_CallEnded):
    """A search is done; `passages` has the id, score and text of each one found."""

    type: Literal["retrieval_end"] = "retrieval_end"
    retriever: str
    passages: list[dict[str, Any]] = []


class BreakerChanged(_Event):
    """A model's circuit breaker opened, half opened or closed.

    Attributes:
        model: Provider and model.
        endpoint: Address that calls go to.
        state: "open": nothing is sent; "half_open": one call is, to find out; "closed": all are.
        tries_again_in_seconds: Time until an open one lets a call through.
        reason: The failure that opened it.
    """

    type: Literal["breaker_changed"] = "breaker_changed"
    model: str
    endpoint: str
    state: Literal["closed", "open", "half_open"]
    tries_again_in_seconds: float = 0.0
    reason: str = ""


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
    | ParametersRefused
    | LMFellBack
    | ModuleStart
    | ModuleEnd
    | LMStart
    | LMEnd
    | ToolCalled
    | ToolFinished
    | RetrievalStart
    | RetrievalEnd
    | BreakerChanged
    | OptimizerFinished
    | EventsLost,
    Field(discriminator="type"),
]


CALLS = frozenset(
    {
        "module_start",
        "module_end",
        "lm_start",
        "lm_end",
        "tool_called",
        "tool_finished",
        "retrieval_start",
        "retrieval_end",
    }
)
"""Types of the events that tell of single calls. There are many of them; they are made only if somebody wants some."""

RUNS = frozenset(get_args(model.model_fields["type"].annotation)[0] for model in get_args(get_args(Event)[0])) - CALLS
"""Types of all other events, of which there are few."""


class Subscription:
    """One subscriber's events, in order. Iterate over it; it ends when the `subscribe` block ends."""

    def __init__(self, buffer: int, types: Collection[str] = RUNS | CALLS) -> None:
        self.types = frozenset(types)
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
_wanting_calls: list[Subscription] = []
_muted: ContextVar[bool] = ContextVar("dspex_events_muted", default=False)


@contextmanager
def subscribe(*, buffer: int = 10_000, types: Collection[str] | None = None) -> Generator[Subscription]:
    """Receive events emitted in this process while the block runs.

    Args:
        buffer: Events kept for a subscriber that is behind; beyond it the oldest are dropped and counted.
        types: Types wanted, such as {"lm_end"}, `CALLS` or `RUNS`; None for all.

    Raises:
        ConfigurationError: If there is no such type.
    """
    if unknown := sorted(set(types or ()) - RUNS - CALLS):
        raise ConfigurationError(
            f"there are no events of type {unknown[0]!r}; there are {', '.join(sorted(RUNS | CALLS))}"
        )
    subscription = Subscription(buffer, RUNS | CALLS if types is None else types)
    _subscriptions.append(subscription)
    if subscription.types & CALLS:
        _wanting_calls.append(subscription)
    try:
        yield subscription
    finally:
        _subscriptions.remove(subscription)
        if subscription in _wanting_calls:
            _wanting_calls.remove(subscription)
        subscription.close()


def publish(event: Event) -> None:
    """Hand an event to every subscriber that wants its type."""
    for subscription in tuple(_subscriptions):
        if event.type in subscription.types:
            subscription.deliver(event)


def watched() -> bool:
    """Whether anybody is to be told of single calls; one quick look, for whoever would have to make the event."""
    return bool(_wanting_calls) and not _muted.get()


@contextmanager
def muted() -> Generator[None]:
    """Tell nobody of the calls of the block: a workflow's code runs again whenever it is replayed."""
    token = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(token)

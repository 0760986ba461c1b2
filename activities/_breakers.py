import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dspex_core.events import BreakerChanged, Event, listen
from dspex_core.redaction import redacted
from dspex_core.requests import BREAKER_CHANGED

_run: ContextVar[str | None] = ContextVar("dspex_run_at_work", default=None)


@dataclass(frozen=True)
class _Told:
    """A run that was told of an open breaker of this process."""

    run_id: str
    model: str
    endpoint: str


class BreakerNews:
    """Tells runs when a model is left alone because it keeps failing, and when it answers again: one signal each.

    Each process has breakers of its own; a run with work on several is told by each. What is tried meanwhile, half a
    dozen times a minute, is not told.
    """

    def __init__(self) -> None:
        self._working: Counter[tuple[str, str]] = Counter()
        self._told: set[_Told] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._listening = ExitStack()
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def told_to(self, run_id: str | None, model: str) -> Generator[None]:
        """Tell this run while the block, an activity of its, asks this model.

        Args:
            run_id: The run; None tells nobody.
            model: Provider and model. A model that only a part of the program asks is told of once it fails there.
        """
        client = None if run_id is None else _client()
        if run_id is None or client is None:
            yield
            return
        self._client, self._loop = client, asyncio.get_running_loop()
        if not self._working and not self._told:
            self._listening.enter_context(listen(self._take, types={"breaker_changed"}))
        self._working[run_id, model] += 1
        token = _run.set(run_id)
        try:
            yield
        finally:
            _run.reset(token)
            self._working[run_id, model] -= 1
            if not self._working[run_id, model]:
                del self._working[run_id, model]
            self._rest()

    def _take(self, event: Event) -> None:
        # A breaker is shared by all event loops of the process, and changes in any of them.
        if isinstance(event, BreakerChanged) and event.state != "half_open" and self._loop is not None:
            with suppress(RuntimeError):  # the worker's loop has ended, and its activities with it
                self._loop.call_soon_threadsafe(self._tell, event, _run.get())

    def _tell(self, event: BreakerChanged, caused_by: str | None) -> None:
        about = [run_id for run_id, model in self._working if model == event.model]
        told = {_Told(run_id, event.model, event.endpoint) for run_id in (*about, caused_by) if run_id is not None}
        if event.state == "open":
            news = told - self._told
            self._told |= news
        else:
            news = {each for each in self._told if (each.model, each.endpoint) == (event.model, event.endpoint)}
            self._told -= news
            self._rest()
        for each in news:
            task = asyncio.create_task(self._send(each.run_id, event))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _rest(self) -> None:
        """Listen no more, once no run is at work here and none waits for the word that a model answers again."""
        if not self._working and not self._told:
            self._listening.close()

    async def _send(self, run_id: str, event: BreakerChanged) -> None:
        if self._client is None:
            return
        said = event.model_copy(update={"reason": redacted(event.reason)})
        try:
            await self._client.get_workflow_handle(run_id).signal(BREAKER_CHANGED, said)
        except RPCError as error:
            # A run that has ended needs no word; a server that is away hears of it the next time.
            if error.status is not RPCStatusCode.NOT_FOUND:
                self._told.discard(_Told(run_id, event.model, event.endpoint))


def _client() -> Client | None:
    try:
        return activity.client()
    except RuntimeError:
        return None  # an activity that is tried out alone has none

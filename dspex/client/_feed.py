import asyncio
import contextlib
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from dspex.client._run import Run
from dspex_core.events import Event
from dspex_core.progress import Progress


class RunFeed:
    """One subscription to a run's events that any number of subscribers in this process share.

        async with RunFeed(client.get_run("triage-1")) as feed:
            async for event in feed.events():
                print(event.type, feed.progress.best_score)

    The log is kept once, and a subscriber is a place in it: one that is slow, or has stopped, costs nothing and misses
    nothing of the log. What comes without an offset (rows of evaluations under way, what holds a run up) is told as it
    is by the time the subscriber looks, and only the last of each kind.

    Args:
        run: What to follow. The server is asked while the `async with` block runs.

    Attributes:
        progress: Where the run stands, as far as its events tell.
        ended: Whether no more events will come.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._log: list[Event] = []
        self._passing: dict[str, tuple[int, Event]] = {}
        self._looks = 0
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self.progress = Progress()
        self.ended = False

    async def events(self, *, offset: int = 0) -> AsyncGenerator[Event]:
        """The run's events until it ends, those that came before first.

        Args:
            offset: The first event of the log wanted.

        Raises:
            RunNotFoundError: If there is no such run. As do the other errors of `Run.events`, it comes to everyone.
        """
        looked = self._looks
        while True:
            changed = self._changed
            while offset < len(self._log):
                yield self._log[offset]
                offset += 1
            for look, event in sorted(self._passing.values(), key=lambda passing: passing[0]):
                if look > looked:
                    looked = look
                    yield event
            if offset >= len(self._log) and self.ended:
                if self._failure is not None:
                    raise self._failure
                return
            if changed is self._changed:
                await changed.wait()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        try:
            async with contextlib.aclosing(self._run.events()) as found:
                async for event in found:
                    self._take(event)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the subscribers'
            self._failure = error
        finally:
            self.ended = True
            self._tell()

    def _take(self, event: Event) -> None:
        self.progress = self.progress.after(event)
        if event.offset is not None:
            self._log.append(event)
        else:
            self._looks += 1
            self._passing[event.type] = self._looks, event
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial

from dspex.client import Client, Evaluations, RunSummary
from dspex.dashboard._feeds import Feed, Feeds
from dspex.dashboard._following import RunView, follow
from dspex.dashboard._uploads import Uploads

RUNS_LISTED = 1000
_LIST_SECONDS = 1.0
_EVALUATIONS_KEPT = 16


class Board:
    """What all pages share: the client, one feed a run, and what was read of evaluations.

    Attributes:
        client: Of the server whose runs are shown.
        uploads: Data files that browsers sent.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.uploads = Uploads()
        self._feeds = Feeds()
        self._evaluations: dict[str, Evaluations] = {}

    def runs(self) -> Feed[list[RunSummary]]:
        """All compiles, and runs of programs that wait for somebody."""
        return self._feeds.get("runs", lambda: Feed(self._list_again_and_again))

    def run(self, run_id: str) -> Feed[RunView]:
        """One run."""
        return self._feeds.get(("run", run_id), lambda: Feed(partial(follow, self.client.get_run(run_id))))

    def evaluations(self, run_id: str) -> Evaluations:
        """Its evaluations."""
        found = self._evaluations.pop(run_id, None) or self.client.evaluations(run_id)
        self._evaluations[run_id] = found
        while len(self._evaluations) > _EVALUATIONS_KEPT:
            del self._evaluations[next(iter(self._evaluations))]
        return found

    async def _list_again_and_again(self, stirred: asyncio.Event) -> AsyncGenerator[list[RunSummary]]:
        while True:
            stirred.clear()
            waiting = await self.client.list_waiting(limit=RUNS_LISTED)
            yield waiting + await self.client.list_runs(limit=RUNS_LISTED)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stirred.wait(), _LIST_SECONDS)

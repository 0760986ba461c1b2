from dataclasses import dataclass, field

from dspex.client import Client, Run, RunStatus, RunSummary
from dspex.dashboard._feeds import Feed, Feeds
from dspex_core.seam import ProgramState

RUNS_LISTED = 1000
_LIST_SECONDS = 1.0
_RUN_SECONDS = 0.4
_ENDED = ("completed", "cancelled", "failed")


@dataclass(frozen=True)
class RunView:
    """A run as its page shows it.

    Attributes:
        status: Where it stands.
        states: What each candidate is, by index, as far as that is known.
    """

    status: RunStatus
    states: dict[int, ProgramState] = field(default_factory=dict[int, ProgramState])

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status.status in _ENDED


class Board:
    """What all pages share: the client, and one feed a run."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._feeds = Feeds()

    def runs(self) -> Feed[list[RunSummary]]:
        """All runs, the newest first."""

        async def fetch() -> list[RunSummary]:
            return await self.client.list_runs(limit=RUNS_LISTED)

        return self._feeds.get("runs", lambda: Feed(fetch, every_seconds=_LIST_SECONDS))

    def run(self, run_id: str) -> Feed[RunView]:
        """One run."""
        run = self.client.get_run(run_id)

        async def fetch() -> RunView:
            return await _view(run)

        def make() -> Feed[RunView]:
            return Feed(fetch, every_seconds=_RUN_SECONDS, final=lambda view: view.ended)

        return self._feeds.get(("run", run_id), make)


async def _view(run: Run) -> RunView:
    status = await run.status()
    if status.status == "completed":
        output = await run.output()
        return RunView(status, {candidate.index: candidate.state for candidate in output.candidates})
    return RunView(status)

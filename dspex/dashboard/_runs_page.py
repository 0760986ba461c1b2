from collections.abc import Sequence
from datetime import datetime

from dspex.client import RunSummary
from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, page_frame, run_address, watch, words
from dspex.dashboard._fields import Choice, notice
from dspex.dashboard._figures import dollars, moment, percent
from dspex.dashboard._pager import Pager
from dspex.dashboard._table import Column, Row, Table

_COLUMNS = (
    Column("id", "Run", kind="name"),
    Column("status", "Status"),
    Column("optimizer", "Optimizer", kind="name"),
    Column("program", "Program", kind="name"),
    Column("score", "Best score", kind="number", sortable=True),
    Column("cost", "Cost", kind="number", sortable=True),
    Column("started", "Started", sortable=True),
    Column("phase", "Phase", kind="long"),
)
_ANY = ("", "any")
_STATUSES = ("queued", "running", "paused", "parked", "completed", "cancelled", "failed")


async def runs_page(board: Board) -> None:
    """All runs, kept up to date."""
    feed = board.runs()
    with page_frame("Runs", here="/"):
        words("h1", "Runs")
        trouble = notice()
        listing = _Listing()

        def show() -> None:
            trouble.show(feed.trouble or "")
            listing.show(feed.value or [])

        await watch(feed, show)


class _Listing:
    """The runs that are wanted, in the order that is wanted."""

    def __init__(self) -> None:
        self._runs: Sequence[RunSummary] = ()
        self._sorted_by, self._descending = "started", True
        with box("div", "filters", role="group", **{"aria-label": "Which runs"}):
            options = [_ANY, *((status, status) for status in _STATUSES)]
            self._status = Choice("Status", options, self._show_others)
            self._optimizer = Choice("Optimizer", [_ANY], self._show_others)
            self._program = Choice("Program", [_ANY], self._show_others)
        empty = "No runs here. Start one with dspex compile or dspex demo."
        self._table = Table("Runs", _COLUMNS, empty=empty, on_sort=self._sort)
        self._pager = Pager("runs", self._show)

    def show(self, runs: Sequence[RunSummary]) -> None:
        """Show of these what is wanted."""
        self._runs = runs
        for choice, names in (
            (self._optimizer, {run.optimizer for run in runs}),
            (self._program, {run.program for run in runs if run.program}),
        ):
            offered = names | {choice.value} - {""}
            choice.offer([_ANY, *((name, name) for name in sorted(offered))])
        self._show()

    def _show(self) -> None:
        wanted = sorted(filter(self._is_wanted, self._runs), key=self._place)
        rows = [_row(run) for run in self._pager.of(wanted)]
        self._table.show(rows, sorted_by=self._sorted_by, descending=self._descending)

    def _show_others(self) -> None:
        self._pager.first()
        self._show()

    def _sort(self, column: str) -> None:
        self._descending = not self._descending if column == self._sorted_by else True
        self._sorted_by = column
        self._show_others()

    def _is_wanted(self, run: RunSummary) -> bool:
        asked = ((self._status, run.status), (self._optimizer, run.optimizer), (self._program, run.program))
        return all(choice.value in {"", value} for choice, value in asked)

    def _place(self, run: RunSummary) -> tuple[bool, float, str]:
        """Where a run comes in the order; what is not known comes last, whichever way."""
        value = {"score": run.score, "cost": run.cost_usd}.get(self._sorted_by)
        if self._sorted_by == "started":
            value = _seconds(run.started)
        if value is None:
            return True, 0.0, run.id
        return False, -value if self._descending else value, run.id


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _row(run: RunSummary) -> Row:
    return run.id, (
        {"text": run.id, "to": run_address(run.id)},
        {"text": run.status, "badge": run.status},
        run.optimizer.replace("_", " "),
        run.program or "",
        percent(run.score),
        "" if run.cost_usd is None else dollars(run.cost_usd),
        moment(run.started),
        run.phase or "",
    )

from dspex.client import RunSummary
from dspex.dashboard._board import Board
from dspex.dashboard._elements import page_frame, run_address, watch, words
from dspex.dashboard._figures import dollars, moment, percent
from dspex.dashboard._table import Column, Row, Table

_COLUMNS = (
    Column("id", "Run", kind="name"),
    Column("status", "Status"),
    Column("optimizer", "Optimizer"),
    Column("program", "Program"),
    Column("score", "Best score", kind="number", sortable=True),
    Column("cost", "Cost", kind="number", sortable=True),
    Column("started", "Started", sortable=True),
    Column("phase", "Phase", kind="long"),
)


async def runs_page(board: Board) -> None:
    """All runs, kept up to date."""
    feed = board.runs()
    with page_frame("Runs", here="/"):
        words("h1", "Runs")
        trouble = words("p", "", "trouble", role="alert")
        table = Table("Runs", _COLUMNS, empty="No runs yet. Start one with dspex compile or dspex demo.")

        def show() -> None:
            trouble.show(feed.trouble or "")
            table.show([_row(run) for run in feed.value or []])

        await watch(feed, show)


def _row(run: RunSummary) -> Row:
    return run.id, (
        {"text": run.id, "to": run_address(run.id)},
        {"text": run.status, "badge": run.status},
        run.optimizer,
        run.program or "",
        percent(run.score),
        "" if run.cost_usd is None else dollars(run.cost_usd),
        moment(run.started),
        run.phase or "",
    )

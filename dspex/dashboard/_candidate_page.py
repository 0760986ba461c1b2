from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from dspex.client import ScoredRows
from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, link, page_frame, run_address, section, words
from dspex.dashboard._fields import Choice, notice
from dspex.dashboard._figures import percent
from dspex.dashboard._following import RunView
from dspex.dashboard._pager import Pager
from dspex.dashboard._program_part import predictors_part, shown
from dspex.dashboard._prompts import Asked, prompts_of
from dspex.dashboard._table import Column, Row, Table
from dspex_core.errors import DSPExError
from dspex_core.evaluate import RowResult
from dspex_core.record import Example

_ROWS = (
    Column("row", "Row", kind="number"),
    Column("score", "Score", kind="number"),
    Column("input", "Input", kind="long"),
    Column("prediction", "Prediction", kind="long"),
    Column("gold", "Gold", kind="long"),
    Column("feedback", "Feedback", kind="long"),
)
_WHICH = (("all", "All rows"), ("lost", "Rows below 1"), ("failed", "Rows that failed"))
_LONGEST_CELL = 600


def candidate_address(run_id: str, index: int) -> str:
    """Where a candidate's page is."""
    return f"/candidates/{quote(run_id)}/{index}"


@dataclass(frozen=True)
class _Found:
    """A candidate whose rows are known."""

    view: RunView
    scored: ScoredRows


async def _find(board: Board, run_id: str, index: int) -> _Found | str:
    """A candidate's rows, or why they are not known."""
    feed = board.run(run_id)
    with feed.watching():
        view = await feed.known(lambda view: index in view.states)
    if view is None:
        return feed.trouble or "The run is not known yet."
    state = view.states.get(index)
    if state is None:
        return "This candidate is not known yet."
    try:
        scored = await board.evaluations(run_id).scored_rows(state)
    except DSPExError as error:
        return str(error)
    if scored is None or not scored.results:
        return "Its rows are known once its evaluation is done, and for as long as the server keeps it."
    return _Found(view, scored)


async def candidate_page(board: Board, run_id: str, index: int) -> None:
    """One candidate, down to its rows."""
    found = await _find(board, run_id, index)
    with page_frame(f"Candidate {index} of {run_id}"):
        words("h1", f"Candidate {index}")
        with box("p", "soft"):
            words("span", "of ")
            link(run_id, run_address(run_id))
        if isinstance(found, str):
            notice().show(found)
            return
        told = next((each for each in found.view.progress.candidates if each.index == index), None)
        if told is not None:
            rows = "all rows" if told.rows is None else f"{told.rows:,} rows"
            words("p", f"{told.label} · {percent(told.score)} on {rows} · {told.failed:,} failed")
        with section("Program"):
            predictors_part(found.view.states.get(0), found.scored.evaluation.program.state)
        with section("Rows"):
            rows_part = _Rows(board, run_id, index, found.scored)
        await rows_part.show()


class _Rows:
    """The rows of a candidate: a page of them at a time is read and sent."""

    def __init__(self, board: Board, run_id: str, index: int, scored: ScoredRows) -> None:
        self._board, self._run_id, self._index, self._scored = board, run_id, index, scored
        self._which = Choice("Show", _WHICH, self._show_others)
        self._table = Table("Rows", _ROWS, empty="None.")
        self._pager = Pager("rows", self.show)

    async def _show_others(self) -> None:
        self._pager.first()
        await self.show()

    async def show(self) -> None:
        """Show the rows that are wanted now."""
        results = self._pager.of([row for row in self._scored.results if _wanted(row, self._which.value)])
        evaluations = self._board.evaluations(self._run_id)
        examples = await evaluations.examples(self._scored.evaluation.dataset, [row.row for row in results])
        self._table.show([self._row(row, example) for row, example in zip(results, examples, strict=True)])

    def _row(self, result: RowResult, example: Example) -> Row:
        address = f"/rows/{quote(self._run_id)}/{self._index}/{result.row}"
        return str(result.row), (
            {"text": f"{result.row:,}", "to": address},
            _score(result),
            _fields(example.inputs()),
            _fields(result.prediction),
            _fields(example.labels()),
            _cut(result.error or result.feedback),
        )


def _wanted(row: RowResult, which: str) -> bool:
    if which == "failed":
        return row.error is not None
    return which == "all" or (row.score or 0.0) < 1.0


async def row_page(board: Board, run_id: str, index: int, row: int) -> None:
    """One row of one candidate, with the messages."""
    found = await _find(board, run_id, index)
    with page_frame(f"Row {row} of candidate {index} of {run_id}"):
        words("h1", f"Row {row}")
        with box("p", "soft"):
            words("span", "of ")
            link(f"candidate {index}", candidate_address(run_id, index))
            words("span", " of ")
            link(run_id, run_address(run_id))
        result = None if isinstance(found, str) else next((r for r in found.scored.results if r.row == row), None)
        if isinstance(found, str) or result is None:
            notice().show(found if isinstance(found, str) else "This candidate was not scored on this row.")
            return
        evaluation = found.scored.evaluation
        (example,) = await board.evaluations(run_id).examples(evaluation.dataset, [row])
        words("p", f"score {_score(result)}")
        _values("Input", example.inputs())
        with box("div", "beside"):
            _values("Prediction", result.prediction)
            _values("Gold", example.labels())
        _values("Feedback", {"feedback": result.feedback, "error": result.error})
        with section("Messages"):
            asked, why = await prompts_of(evaluation.program, example.inputs(), evaluation.lm)
            _conversations(asked, why)


def _values(heading: str, values: dict[str, object]) -> None:
    present = {name: value for name, value in values.items() if value is not None and value != ""}
    if not present:
        return
    with section(heading), box("dl", "values"):
        for name, value in present.items():
            with box("div"):
                words("dt", name)
                words("dd", shown(value))


def _conversations(asked: Sequence[Asked], why: str | None) -> None:
    for number, call in enumerate(asked, start=1):
        words("h3", f"call {number}: {call.model}")
        for role, text in call.messages:
            _message(role, text)
        if call.answer is not None:
            _message("answer", call.answer)
    if why is not None:
        words("p", why, "soft")


def _message(role: str, text: str) -> None:
    with box("div", f"message {role}"):
        words("div", role, "role")
        words("pre", text)


def _score(result: RowResult) -> str:
    return "none" if result.score is None else f"{result.score:.2f}"


def _fields(values: dict[str, object]) -> str:
    if len(values) == 1:
        return _cut(shown(next(iter(values.values()))))
    return _cut("\n".join(f"{name}: {shown(value)}" for name, value in values.items()))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"

from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

from nicegui import ui

from dspex.dashboard._board import Board
from dspex.dashboard._chart import ScoreChart
from dspex.dashboard._elements import box, link, page_frame, run_address, section, watch, words
from dspex.dashboard._fields import Choice, notice
from dspex.dashboard._figures import NOTHING, dollars, duration, percent
from dspex.dashboard._following import RunView
from dspex.dashboard._program_part import best_state, predictors_part
from dspex.dashboard._table import Column, Row, Table
from dspex_core.errors import DSPExError
from dspex_core.reports import gain_of
from dspex_core.usage import Usage

_FIGURES: tuple[tuple[str, Callable[[RunView, Usage], str]], ...] = (
    ("Status", lambda view, _: view.status.status),
    ("Optimizer", lambda view, _: view.status.optimizer.replace("_", " ")),
    ("Best score", lambda view, _: percent(view.status.score) or NOTHING),
    ("Baseline", lambda view, _: percent(view.status.baseline_score) or NOTHING),
    ("Candidates", lambda view, _: f"{len(view.progress.candidates):,}"),
    ("LM calls", lambda _, usage: f"{usage.lm_calls:,}"),
    ("Tokens in", lambda _, usage: f"{usage.prompt_tokens:,}"),
    ("Tokens out", lambda _, usage: f"{usage.completion_tokens:,}"),
    ("Cost", lambda _, usage: dollars(usage.cost_usd)),
    ("Time", lambda view, _: duration(view.status.seconds)),
)
_NONE = ("", "choose a run")


async def compare_page(board: Board, first: str, second: str) -> None:
    """Two runs side by side, kept up to date.

    Args:
        board: What pages share.
        first: Id of the one, or "" for none yet.
        second: Id of the other.
    """
    with page_frame("Compare", here="/compare"):
        words("h1", "Compare two runs")
        await _choose(board, first, second)
        if not first or not second:
            return
        feeds = [board.run(run_id) for run_id in (first, second)]
        trouble = notice()
        part = _Comparison(board, first, second)

        async def show() -> None:
            trouble.show("\n".join(feed.trouble for feed in feeds if feed.trouble))
            views = [feed.value for feed in feeds]
            if views[0] is not None and views[1] is not None:
                await part.show(views[0], views[1])

        for feed in feeds:
            await watch(feed, show)


async def _choose(board: Board, first: str, second: str) -> None:
    feed = board.runs()
    given = [name for name in (first, second) if name]
    with box("div", "filters", role="group", **{"aria-label": "Which runs"}):
        choices = [Choice(label, [_NONE, *((name, name) for name in given)]) for label in ("First run", "Second run")]
    for choice, chosen in zip(choices, (first, second), strict=True):
        choice.choose(chosen)
        choice.on_change = partial(_go, choices)

    def offer() -> None:
        names = dict.fromkeys([*(run.id for run in feed.value or []), *given])
        for choice in choices:
            choice.offer([_NONE, *((name, name) for name in names)])

    await watch(feed, offer)


def _go(choices: list[Choice]) -> None:
    ui.navigate.to(f"/compare?{urlencode({'first': choices[0].value, 'second': choices[1].value})}")


class _Comparison:
    def __init__(self, board: Board, first: str, second: str) -> None:
        self._board, self._ids = board, (first, second)
        self._states: object = None
        self._judged = False
        with box("p"):
            link(first, run_address(first))
            words("span", " beside ")
            link(second, run_address(second))
        self._verdict = words("p", "", role="status")
        columns = (
            Column("what", "", kind="name"),
            Column("a", first, kind="number"),
            Column("b", second, kind="number"),
        )
        with section("Figures", "narrow"):
            self._table = Table("Figures", columns, empty="")
        with section("Scores"):
            self._chart = ScoreChart("Score of each candidate, and the best so far, of both runs")
        with section("From the first run's best program to the second's"):
            self._programs = box("div")

    async def show(self, first: RunView, second: RunView) -> None:
        """Show both as they are now."""
        views = (first, second)
        self._table.show([_row(name, shown, views) for name, shown in _FIGURES])
        self._chart.show(
            [(name, view.began, view.progress.candidates) for name, view in zip(self._ids, views, strict=True)]
        )
        states = best_state(first), best_state(second)
        if states != self._states:
            self._states = states
            self._programs.clear()
            with self._programs:
                if states[1] is None:
                    words("p", "Not known yet.", "soft")
                else:
                    predictors_part(states[0], states[1])
        if not self._judged and all(view.status.status == "completed" for view in views):
            self._judged = True
            self._verdict.show(await self._judge())

    async def _judge(self) -> str:
        """Whether one is better, if both were scored on the same rows."""
        try:
            first, second = [await self._board.client.get_run(run_id).output() for run_id in self._ids]
        except DSPExError:
            return ""
        if (first.valset, first.scored_rows) != (second.valset, second.scored_rows) or not first.best_scores:
            return "They were scored on different rows, so their scores cannot be held against each other."
        gain = gain_of(first.best_scores, second.best_scores)
        interval = f"95 % interval {gain.low:+.2f} to {gain.high:+.2f} points"
        told = f"The second is {gain.mean:+.2f} points beside the first on the same {len(first.best_scores):,} rows"
        if gain.low > 0 or gain.high < 0:
            return f"{told}, which is more than chance ({interval})."
        return f"{told}, which may be chance ({interval})."


def _row(name: str, shown: Callable[[RunView, Usage], str], views: tuple[RunView, RunView]) -> Row:
    return name, (name, *(shown(view, view.status.usage or Usage()) for view in views))

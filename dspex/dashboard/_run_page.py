from datetime import UTC, datetime

from dspex.dashboard._approvals_part import ApprovalsPart
from dspex.dashboard._board import Board
from dspex.dashboard._candidate_page import candidate_address
from dspex.dashboard._chart import ScoreChart
from dspex.dashboard._controls import Controls
from dspex.dashboard._elements import Words, box, link, page_frame, section, set_attribute, watch, words
from dspex.dashboard._fields import notice
from dspex.dashboard._figures import NOTHING, dollars, duration, percent
from dspex.dashboard._following import RunView
from dspex.dashboard._log_part import LogPart
from dspex.dashboard._pager import Pager
from dspex.dashboard._program_part import ProgramPart
from dspex.dashboard._table import Column, Row, Table
from dspex_core.budget import Limits
from dspex_core.events import CandidateEvaluated
from dspex_core.usage import Usage

_CANDIDATES = (
    Column("index", "Candidate", kind="number"),
    Column("label", "How", kind="name"),
    Column("score", "Score", kind="number"),
    Column("rows", "Rows", kind="number"),
    Column("failed", "Failed rows", kind="number"),
    Column("parent", "Made from", kind="number"),
)
_FIGURES = ("Best score", "Baseline", "LM calls", "From the cache", "Tokens in", "Tokens out", "Cost")


async def run_page(board: Board, run_id: str) -> None:
    """One run, kept up to date."""
    feed = board.run(run_id)
    with page_frame(run_id):
        head = _Head(run_id)
        with box("div") as rest:
            controls = Controls(board, run_id)
            approvals = ApprovalsPart(board, run_id)
            with box("div") as of_compiles:
                figures = _Figures()
                with section("Scores"):
                    chart = ScoreChart("Score of each candidate, and the best so far")
                program = ProgramPart()
                candidates = _Candidates(run_id)
            log = LogPart()

        def show() -> None:
            view = feed.value
            head.show(view, feed.trouble)
            rest.set_visibility(view is not None)
            if view is not None:
                controls.show(view)
                approvals.show(view)
                of_compiles.set_visibility(view.is_compile)
                if view.is_compile:
                    figures.show(view)
                    chart.show([("", view.began, view.progress.candidates)])
                    program.show(view)
                    candidates.show(view)
                log.show(view)

        await watch(feed, show)


class _Head:
    """The name of the run, where it stands, and what keeps it."""

    def __init__(self, run_id: str) -> None:
        with box("div", "title"):
            words("h1", run_id)
            self._status = words("span", "…", "badge", role="status")
        with box("p", "soft"):
            self._about = words("span", "")
            self._web_ui = link("Temporal's Web UI", "#", rel="noreferrer")
        self._trouble = notice()

    def show(self, view: RunView | None, trouble: str | None) -> None:
        """Show it as it is now."""
        if view is None:
            self._trouble.show(trouble or "")
            for element in (self._status, self._web_ui):
                element.set_visibility(trouble is None)
            return
        status = view.status
        self._status.set_visibility(True)
        self._status.show(status.status)
        self._status.classes(replace=f"badge {status.status}")
        self._about.show(
            f"{status.optimizer.replace('_', ' ')} · {duration(status.seconds)}" + (" · " if status.web_ui else "")
        )
        self._web_ui.set_visibility(status.web_ui is not None)
        set_attribute(self._web_ui, "href", status.web_ui or "#")
        # What is to be decided is shown by itself, with the buttons for it.
        waits = None if status.approvals or not status.parked_reason else f"Waits: {status.parked_reason}"
        broken = () if view.ended else view.progress.left_alone(datetime.now(UTC))
        alone = [f"{each.model} keeps failing and is left alone for now: {each.reason}" for each in broken]
        said = [trouble, status.failure, waits, status.note, *alone]
        self._trouble.show("\n".join(text for text in said if text))


class _Figures:
    """Phase, rows and what it took so far."""

    def __init__(self) -> None:
        with section("Progress") as self._section:
            with box("div", "phase"):
                self._phase = words("strong", "")
                self._detail = words("span", "", "soft")
            self._bar = box("progress", max="1", value="0", **{"aria-label": "Rows of this phase"})
            self._rows = words("p", "", "soft numbers")
        with box("dl", "figures"):
            self._values = {name: self._figure(name) for name in _FIGURES}
        with box("div", "budget") as self._budget:
            self._used = box("progress", max="1", value="0", **{"aria-label": "Budget"})
            self._of_budget = words("p", "", "soft numbers")

    def _figure(self, name: str) -> Words:
        with box("div"):
            words("dt", name)
            return words("dd", NOTHING)

    def show(self, view: RunView) -> None:
        """Show them as they are now."""
        status, progress, usage = view.status, view.progress, view.status.usage or Usage()
        self._section.set_visibility(not view.ended)
        self._phase.show(progress.phase)
        self._detail.show("" if progress.detail == progress.phase else f" {progress.detail}")
        self._bar.set_visibility(bool(progress.rows_total))
        set_attribute(self._bar, "max", str(progress.rows_total or 1))
        set_attribute(self._bar, "value", str(progress.rows_done))
        self._rows.show(_rows_so_far(view))
        shown = {
            "Best score": percent(status.score) or NOTHING,
            "Baseline": percent(status.baseline_score) or NOTHING,
            "LM calls": f"{usage.lm_calls:,}" + (f", {usage.retries:,} retries" if usage.retries else ""),
            "From the cache": f"{usage.cached_calls:,}",
            "Tokens in": f"{usage.prompt_tokens:,}",
            "Tokens out": f"{usage.completion_tokens:,}",
            "Cost": dollars(usage.cost_usd),
        }
        for name, value in shown.items():
            self._values[name].show(value)
        parts = (status.budget or Limits()).taken(usage, seconds=status.seconds)
        self._budget.set_visibility(bool(parts))
        if parts:
            set_attribute(self._used, "value", f"{parts[0][0]:.3f}")
            self._of_budget.show(f"Budget: {' · '.join(told for _, told in parts)}")


class _Candidates:
    """Every candidate, the latest first, each leading to its rows."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._view: RunView | None = None
        with section("Candidates"):
            self._table = Table("Candidates", _CANDIDATES, empty="None has been scored yet.")
            self._pager = Pager("candidates", self._show)

    def show(self, view: RunView) -> None:
        """Show those that there are now."""
        self._view = view
        self._show()

    def _show(self) -> None:
        if self._view is not None:
            newest_first = self._view.progress.candidates[::-1]
            self._table.show([self._row(each) for each in self._pager.of(newest_first)])

    def _row(self, candidate: CandidateEvaluated) -> Row:
        made_from = [str(each) for each in (candidate.parent, candidate.merged_with) if each is not None]
        return str(candidate.index), (
            {"text": str(candidate.index), "to": candidate_address(self._run_id, candidate.index)},
            candidate.label,
            percent(candidate.score),
            "all" if candidate.rows is None else f"{candidate.rows:,}",
            f"{candidate.failed:,}" if candidate.failed else "",
            ", ".join(made_from),
        )


def _rows_so_far(view: RunView) -> str:
    progress = view.progress
    if not progress.rows_total:
        return ""
    parts = [f"{progress.rows_done:,} of {progress.rows_total:,} rows"]
    if progress.phase_score is not None:
        parts.append(f"{percent(progress.phase_score)} so far")
    if (view.seconds_left or 0.0) >= 1 and view.status.status == "running":
        parts.append(f"about {duration(view.seconds_left or 0.0)} left in this phase")
    return " · ".join(parts)

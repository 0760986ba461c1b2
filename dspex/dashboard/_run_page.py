from dspex.dashboard._board import Board, RunView
from dspex.dashboard._chart import ScoreChart
from dspex.dashboard._elements import Words, box, link, page_frame, section, set_attribute, watch, words
from dspex.dashboard._figures import NOTHING, dollars, duration, percent, tokens
from dspex.dashboard._program_part import ProgramPart
from dspex.dashboard._table import Column, Row, Table
from dspex_core.events import CandidateEvaluated
from dspex_core.progress import Progress
from dspex_core.usage import Usage

_CANDIDATES = (
    Column("index", "#", kind="number"),
    Column("label", "How it came to be", kind="name"),
    Column("score", "Score", kind="number"),
    Column("rows", "Rows", kind="number"),
    Column("failed", "Failed rows", kind="number"),
    Column("parent", "Made from", kind="number"),
)
_FIGURES = ("Best score", "Baseline", "LM calls", "Tokens", "Cost")


async def run_page(board: Board, run_id: str) -> None:
    """One run, kept up to date."""
    feed = board.run(run_id)
    with page_frame(run_id):
        head = _Head(run_id)
        figures = _Figures()
        with section("Scores"):
            chart = ScoreChart("Score of each candidate, and the best so far")
        program = ProgramPart()
        with section("Candidates"):
            table = Table("Candidates", _CANDIDATES, empty="None has been scored yet.")

        def show() -> None:
            view = feed.value
            head.show(view, feed.trouble)
            if view is None:
                return
            progress = view.status.progress or Progress()
            figures.show(view)
            chart.show(progress.candidates)
            program.show(view)
            table.show([_row(each) for each in reversed(progress.candidates)])

        await watch(feed, show)


class _Head:
    """The name of the run, where it stands, and what keeps it."""

    def __init__(self, run_id: str) -> None:
        with box("div", "title"):
            words("h1", run_id)
            self._status = words("span", "…", "badge", role="status")
        with box("p", "soft"):
            self._about = words("span", "")
            self._web_ui = link("Temporal's Web UI", "#", "out", rel="noreferrer")
        self._trouble = words("p", "", "trouble", role="alert")

    def show(self, view: RunView | None, trouble: str | None) -> None:
        """Show it as it is now."""
        if view is None:
            self._trouble.show(trouble or "")
            return
        status = view.status
        self._status.show(status.status)
        self._status.classes(replace=f"badge {status.status}")
        self._about.show(f"{status.optimizer} · {duration(status.seconds)}" + (" · " if status.web_ui else ""))
        self._web_ui.set_visibility(status.web_ui is not None)
        set_attribute(self._web_ui, "href", status.web_ui or "#")
        said = [trouble, status.failure, status.parked_reason, status.note]
        self._trouble.show(" ".join(text for text in said if text))


class _Figures:
    """Phase, rows and what it took so far."""

    def __init__(self) -> None:
        with section("Progress"):
            with box("div", "phase"):
                self._phase = words("strong", "")
                self._detail = words("span", "", "soft")
            self._bar = box("progress", max="1", value="0", **{"aria-label": "Rows of this phase"})
            self._rows = words("p", "", "soft")
        with box("dl", "figures"):
            self._values = {name: self._figure(name) for name in _FIGURES}

    def _figure(self, name: str) -> Words:
        with box("div"):
            words("dt", name)
            return words("dd", NOTHING)

    def show(self, view: RunView) -> None:
        """Show them as they are now."""
        status, progress = view.status, view.status.progress or Progress()
        usage = status.usage or Usage()
        self._phase.show(progress.phase if status.progress else status.status)
        self._detail.show(f" {progress.detail}" if progress.detail and progress.detail != progress.phase else "")
        self._bar.set_visibility(bool(progress.rows_total) and not view.ended)
        set_attribute(self._bar, "max", str(progress.rows_total or 1))
        set_attribute(self._bar, "value", str(progress.rows_done))
        score = "" if progress.phase_score is None else f", {percent(progress.phase_score)} so far"
        rows = f"{progress.rows_done:,} of {progress.rows_total:,} rows{score}" if progress.rows_total else ""
        self._rows.show("" if view.ended else rows)
        shown = {
            "Best score": percent(status.score) or NOTHING,
            "Baseline": percent(status.baseline_score) or NOTHING,
            "LM calls": f"{usage.lm_calls:,} and {usage.cached_calls:,} from the cache",
            "Tokens": tokens(usage),
            "Cost": dollars(usage.cost_usd),
        }
        for name, value in shown.items():
            self._values[name].show(value)


def _row(candidate: CandidateEvaluated) -> Row:
    made_from = [str(each) for each in (candidate.parent, candidate.merged_with) if each is not None]
    return str(candidate.index), (
        str(candidate.index),
        candidate.label,
        percent(candidate.score),
        "all" if candidate.rows is None else f"{candidate.rows:,}",
        f"{candidate.failed:,}" if candidate.failed else "",
        ", ".join(made_from),
    )

import difflib
import json
from typing import Any

from dspex.dashboard._board import RunView
from dspex.dashboard._elements import box, section, words
from dspex.dashboard._table import Column, Table
from dspex_core.progress import Progress
from dspex_core.seam import PredictorState, ProgramState


class ProgramPart:
    """The best program so far: what its instructions changed from, and its demos."""

    def __init__(self) -> None:
        self._shown: tuple[ProgramState | None, ProgramState | None] | None = None
        with section("Best program so far"):
            self._whole = box("div", "program")

    def show(self, view: RunView) -> None:
        """Show the program that is best now."""
        progress = view.status.progress or Progress()
        whole = [each for each in progress.candidates if each.rows is None]
        best = max(whole, key=lambda each: (each.score, -each.index), default=None)
        shown = view.states.get(0), None if best is None else view.states.get(best.index)
        if shown == self._shown:
            return
        self._shown = shown
        self._whole.clear()
        with self._whole:
            if shown[1] is None:
                words("p", "Not known yet." if not view.ended else "Not known.", "soft")
            else:
                for name, predictor in shown[1].predictors.items():
                    _predictor(name, shown[0].predictors.get(name) if shown[0] else None, predictor)


def _predictor(name: str, before: PredictorState | None, after: PredictorState) -> None:
    words("h3", name)
    with box("div", "diff", role="group", **{"aria-label": f"Instructions of {name}, and what changed"}):
        for sign, line in _changes(before.instructions if before else after.instructions, after.instructions):
            said = {"+": "added: ", "-": "removed: "}.get(sign, "")
            with box("div", {"+": "added", "-": "removed"}.get(sign, "same")):
                words("span", said, "hidden")
                words("span", line)
    if after.demos:
        fields = list(dict.fromkeys(field for demo in after.demos for field in demo))
        columns = [Column(str(place), field, kind="long") for place, field in enumerate(fields)]
        table = Table(f"Demos of {name}", columns, empty="")
        table.show(
            [(str(place), [shown(demo.get(field)) for field in fields]) for place, demo in enumerate(after.demos)]
        )
    else:
        words("p", "no demos", "soft")


def _changes(before: str, after: str) -> list[tuple[str, str]]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(line[0], line[2:]) for line in lines if not line.startswith("?")]


def shown(value: Any) -> str:
    """A value of a field, as text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

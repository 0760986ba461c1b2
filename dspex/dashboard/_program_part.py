import difflib
import json
from typing import Any

from dspex.dashboard._elements import box, section, words
from dspex.dashboard._following import RunView
from dspex.dashboard._table import Column, Table
from dspex_core.seam import PredictorState, ProgramState

_DEMOS_OPEN = 4
"""Most demos that are shown without being asked for."""


class ProgramPart:
    """The best program so far: what its instructions changed from, and its demos."""

    def __init__(self) -> None:
        self._shown: tuple[ProgramState | None, ProgramState | None] | None = None
        with section("Best program"):
            self._whole = box("div", "program")

    def show(self, view: RunView) -> None:
        """Show the program that is best now."""
        states = view.states.get(0), best_state(view)
        if states == self._shown:
            return
        self._shown = states
        self._whole.clear()
        with self._whole:
            if states[1] is None:
                words("p", "Not known." if view.ended else "Not known yet.", "soft")
            else:
                predictors_part(states[0], states[1])


def best_state(view: RunView) -> ProgramState | None:
    """The state of the best candidate so far; equal scores are told apart as in the search itself."""
    whole = [each for each in view.progress.candidates if each.rows is None]
    best = max(whole, key=lambda each: (each.score, each.index > 0, -each.index), default=None)
    return None if best is None else view.states.get(best.index)


def predictors_part(before: ProgramState | None, after: ProgramState) -> None:
    """What a program tells its models, and what of that changed.

    Args:
        before: The program as it was given, if that is known.
        after: The program.
    """
    for name, predictor in after.predictors.items():
        words("h3", name)
        old = before.predictors.get(name) if before else None
        _instructions(name, old or predictor, predictor)
        _demos(name, predictor)


def _instructions(name: str, before: PredictorState, after: PredictorState) -> None:
    with box("div", "diff", role="group", **{"aria-label": f"Instructions of {name}, and what changed"}):
        for sign, line in _changes(before.instructions, after.instructions):
            with box("div", {"+": "added", "-": "removed"}.get(sign, "same")):
                words("span", {"+": "added: ", "-": "removed: "}.get(sign, ""), "hidden")
                words("span", line)


def _demos(name: str, predictor: PredictorState) -> None:
    demos = predictor.demos
    if not demos:
        words("p", "no demos", "soft")
        return
    fields = list(dict.fromkeys(field for demo in demos for field in demo))
    opened = {"open": "open"} if len(demos) <= _DEMOS_OPEN else {}
    with box("details", **opened):
        words("summary", "1 demo" if len(demos) == 1 else f"{len(demos)} demos")
        columns = [Column(str(place), field, kind="long") for place, field in enumerate(fields)]
        table = Table(f"Demos of {name}", columns, empty="")
        table.show([(str(place), [shown(demo.get(field)) for field in fields]) for place, demo in enumerate(demos)])


def _changes(before: str, after: str) -> list[tuple[str, str]]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(line[0], line[2:]) for line in lines if not line.startswith("?")]


def shown(value: Any) -> str:
    """A value of a field, as text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nicegui import ui

from dspex.dashboard._elements import box, words
from dspex.dashboard._figures import duration
from dspex_core.events import CandidateEvaluated

_NAMES_SHOWN = 60
_COLOURS = ("var(--mark)", "var(--other)")
_KEYS = ("first", "second")
_UNITS = ((1.0, "seconds"), (60.0, "minutes"), (3600.0, "hours"), (86400.0, "days"))
_OF_A_UNIT = 180.0
"""So many of a unit at most; then the next one is used."""

Charted = tuple[str, datetime | None, Sequence[CandidateEvaluated]]
"""A run's name, when it began, and its candidates."""


class ScoreChart:
    """Scores of candidates over the time since their run began, and the best so far as a line.

    Where a time is not known, they stand in the order of the search.

    Colours are names of the style sheet's, which the drawing takes as they are, in light and in dark.
    """

    def __init__(self, caption: str) -> None:
        self._chart = ui.echart(_options([]), renderer="svg").classes("chart")
        self._chart.props["role"] = "img"
        self._caption = caption
        with box("p", "key soft"):
            self._names = [words("span", "", f"dot {which}") for which in _KEYS]
            words("span", "on all rows", "dot whole")
            words("span", "on some rows", "dot part")
            words("span", "best so far", "dot line")
        self._shown: list[Charted] = []

    def show(self, runs: Sequence[Charted]) -> None:
        """Show the candidates of these runs from now on, each run under its name."""
        shown: list[Charted] = [(name, began, tuple(candidates)) for name, began, candidates in runs]
        if shown == self._shown:
            return
        self._shown = shown
        told = [_told(name, candidates) for name, _, candidates in shown]
        self._chart.props["aria-label"] = f"{self._caption}: {'; '.join(told)}"
        self._chart.props["options"] = _options(shown)
        for element, (name, _, _) in zip(self._names, shown, strict=False):
            element.show(name)


def _told(name: str, candidates: Sequence[CandidateEvaluated]) -> str:
    best = max((each.score for each in candidates if each.rows is None), default=None)
    said = f"{len(candidates)} candidates" + ("" if best is None else f", the best one {best:.2f} %")
    return f"{name}: {said}" if name else said


class _Times:
    """Where candidates stand from left to right."""

    def __init__(self, runs: Sequence[Charted]) -> None:
        self._began = [began for _, began, _ in runs]
        self.known = all(began is not None and all(each.at for each in candidates) for _, began, candidates in runs)
        longest = max((self._seconds(n, each) for n, (_, _, some) in enumerate(runs) for each in some), default=0.0)
        self._unit, self.unit = next((unit for unit in _UNITS if longest <= _OF_A_UNIT * unit[0]), _UNITS[-1])

    @property
    def name(self) -> str:
        """What the axis is called."""
        return f"{self.unit} since the start" if self.known else "candidate"

    def place(self, run: int, candidate: CandidateEvaluated) -> float:
        """Where it stands."""
        return round(self._seconds(run, candidate) / self._unit, 3) if self.known else candidate.index

    def said(self, run: int, candidate: CandidateEvaluated) -> str:
        """The same in words."""
        return f" after {duration(self._seconds(run, candidate))}" if self.known else ""

    def _seconds(self, run: int, candidate: CandidateEvaluated) -> float:
        began = self._began[run]
        if began is None or candidate.at is None:
            return 0.0
        return max(0.0, (candidate.at - began).total_seconds())


def _options(runs: Sequence[Charted]) -> dict[str, Any]:
    times = _Times(runs)
    soft = {"color": "var(--soft)", "fontSize": 12}
    grid_line = {"lineStyle": {"color": "var(--line)"}}
    axis = {"axisLabel": soft, "axisLine": grid_line, "axisTick": {"show": False}, "nameTextStyle": soft}
    return {
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 16, "bottom": 28, "containLabel": True},
        # Text, never markup: a label is whatever an optimizer wrote.
        "tooltip": {"trigger": "item", "renderMode": "richText", "formatter": "{b}"},
        "xAxis": {
            **axis,
            "type": "value",
            "name": times.name,
            "nameLocation": "middle",
            "nameGap": 26,
            "minInterval": 1,
            "min": 0,
            "max": None if times.known else "dataMax",
            "splitLine": {"show": False},
        },
        "yAxis": {
            **axis,
            "type": "value",
            "scale": True,
            "splitLine": grid_line,
            "axisLabel": {**soft, "formatter": "{value} %"},
        },
        "series": [
            part
            for run, ((name, _, candidates), colour) in enumerate(zip(runs, _COLOURS, strict=False))
            for part in _series(
                name, [(times.place(run, each), times.said(run, each), each) for each in candidates], colour
            )
        ],
    }


_Placed = Sequence[tuple[float, str, CandidateEvaluated]]
"""Candidates with their places, and these in words."""


def _series(name: str, candidates: _Placed, colour: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "name": f"{name} whole",
            "symbolSize": 8,
            "itemStyle": {"color": colour},
            "data": [_point(*each) for each in candidates if each[2].rows is None],
        },
        {
            "type": "scatter",
            "name": f"{name} part",
            "symbolSize": 7,
            "itemStyle": {"color": "none", "borderColor": colour, "borderWidth": 1.5},
            "data": [_point(*each) for each in candidates if each[2].rows is not None],
        },
        {
            "type": "line",
            "name": f"{name} best so far",
            "step": "end",
            "symbol": "none",
            "silent": True,
            "lineStyle": {"color": colour, "width": 2},
            "data": _best_so_far(candidates),
        },
    ]


def _point(place: float, said: str, candidate: CandidateEvaluated) -> dict[str, Any]:
    label = candidate.label if len(candidate.label) <= _NAMES_SHOWN else f"{candidate.label[:_NAMES_SHOWN]}…"
    rows = "" if candidate.rows is None else f" on {candidate.rows} rows"
    name = f"{candidate.index}: {candidate.score:.2f} %{rows}{said}, {label}"
    return {"name": name, "value": [place, candidate.score]}


def _best_so_far(candidates: _Placed) -> list[list[float]]:
    line: list[list[float]] = []
    best = float("-inf")
    for place, _, each in candidates:
        if each.rows is None:
            best = max(best, each.score)
            line.append([place, best])
    if line and line[-1][0] < candidates[-1][0]:
        line.append([candidates[-1][0], best])
    return line

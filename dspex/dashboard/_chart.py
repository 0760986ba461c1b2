from collections.abc import Sequence
from typing import Any

from nicegui import ui

from dspex.dashboard._elements import box, words
from dspex_core.events import CandidateEvaluated

_NAMES_SHOWN = 60
_COLOURS = ("var(--mark)", "var(--other)")
_KEYS = ("first", "second")


class ScoreChart:
    """Scores of candidates in the order of the search, and the best so far as a line.

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
        self._shown: list[tuple[str, list[CandidateEvaluated]]] = []

    def show(self, runs: Sequence[tuple[str, Sequence[CandidateEvaluated]]]) -> None:
        """Show the candidates of these runs from now on, each run under its name."""
        shown = [(name, list(candidates)) for name, candidates in runs]
        if shown == self._shown:
            return
        self._shown = shown
        told = [_told(name, candidates) for name, candidates in shown]
        self._chart.props["aria-label"] = f"{self._caption}: {'; '.join(told)}"
        self._chart.props["options"] = _options(shown)
        for element, (name, _) in zip(self._names, shown, strict=False):
            element.show(name)


def _told(name: str, candidates: Sequence[CandidateEvaluated]) -> str:
    best = max((each.score for each in candidates if each.rows is None), default=None)
    said = f"{len(candidates)} candidates" + ("" if best is None else f", the best one {best:.2f} %")
    return f"{name}: {said}" if name else said


def _options(runs: Sequence[tuple[str, Sequence[CandidateEvaluated]]]) -> dict[str, Any]:
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
            "name": "candidate",
            "nameLocation": "middle",
            "nameGap": 26,
            "minInterval": 1,
            "max": "dataMax",
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
            for (name, candidates), colour in zip(runs, _COLOURS, strict=False)
            for part in _series(name, candidates, colour)
        ],
    }


def _series(name: str, candidates: Sequence[CandidateEvaluated], colour: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "name": f"{name} whole",
            "symbolSize": 8,
            "itemStyle": {"color": colour},
            "data": [_point(each) for each in candidates if each.rows is None],
        },
        {
            "type": "scatter",
            "name": f"{name} part",
            "symbolSize": 7,
            "itemStyle": {"color": "none", "borderColor": colour, "borderWidth": 1.5},
            "data": [_point(each) for each in candidates if each.rows is not None],
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


def _point(candidate: CandidateEvaluated) -> dict[str, Any]:
    label = candidate.label if len(candidate.label) <= _NAMES_SHOWN else f"{candidate.label[:_NAMES_SHOWN]}…"
    rows = "" if candidate.rows is None else f" on {candidate.rows} rows"
    name = f"{candidate.index}: {candidate.score:.2f} %{rows}, {label}"
    return {"name": name, "value": [candidate.index, candidate.score]}


def _best_so_far(candidates: Sequence[CandidateEvaluated]) -> list[list[float]]:
    line: list[list[float]] = []
    best = float("-inf")
    for each in candidates:
        if each.rows is None:
            best = max(best, each.score)
            line.append([each.index, best])
    if line and line[-1][0] < candidates[-1].index:
        line.append([candidates[-1].index, best])
    return line

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from dspex_core.events import CandidateEvaluated

_NAMES_SHOWN = 60


class ScoreChart:
    """Scores of candidates in the order of the search, and the best so far as a line.

    Colours are names of the style sheet's, which the drawing takes as they are, in light and in dark.
    """

    def __init__(self, caption: str) -> None:
        self._chart = ui.echart(_options([]), renderer="svg").classes("chart")
        self._chart.props["role"] = "img"
        self._caption = caption
        self._shown: list[CandidateEvaluated] = []

    def show(self, candidates: Sequence[CandidateEvaluated]) -> None:
        """Show these from now on."""
        if list(candidates) == self._shown:
            return
        self._shown = list(candidates)
        best = max((each.score for each in candidates if each.rows is None), default=0.0)
        self._chart.props["aria-label"] = f"{self._caption}: {len(candidates)} candidates, the best one {best:.2f} %"
        self._chart.props["options"] = _options([("", self._shown)])


def _options(runs: Sequence[tuple[str, Sequence[CandidateEvaluated]]]) -> dict[str, Any]:
    scores = [each.score for _, candidates in runs for each in candidates]
    low, high = (min(scores), max(scores)) if scores else (0.0, 100.0)
    margin = max((high - low) * 0.1, 1.0)
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
            "splitLine": {"show": False},
        },
        "yAxis": {
            **axis,
            "type": "value",
            "min": max(0.0, round(low - margin)),
            "max": min(100.0, round(high + margin)),
            "splitLine": grid_line,
            "axisLabel": {**soft, "formatter": "{value} %"},
        },
        "series": [part for name, candidates in runs for part in _series(name, candidates)],
    }


def _series(name: str, candidates: Sequence[CandidateEvaluated]) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "name": f"{name} whole",
            "symbolSize": 8,
            "itemStyle": {"color": "var(--mark)"},
            "data": [_point(each) for each in candidates if each.rows is None],
        },
        {
            "type": "scatter",
            "name": f"{name} part",
            "symbolSize": 7,
            "itemStyle": {"color": "none", "borderColor": "var(--soft)", "borderWidth": 1.5},
            "data": [_point(each) for each in candidates if each.rows is not None],
        },
        {
            "type": "line",
            "name": f"{name} best so far",
            "step": "end",
            "symbol": "none",
            "silent": True,
            "lineStyle": {"color": "var(--mark)", "width": 2},
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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

from dspex_core.reports._front import Sized, prompt_size

WIDTH, HEIGHT = 640, 260
"""Of a chart, in units of its drawing."""
LEFT, RIGHT, BOTTOM = 46, 12, 36
"""Its margins."""
_TOP = 12
_TICKS = 4


class Placed(Sized, Protocol):
    """A candidate, as far as its place in the search goes."""

    @property
    def index(self) -> int:
        """Its place in the search."""
        ...

    @property
    def label(self) -> str:
        """How it came to be."""
        ...

    @property
    def rows(self) -> int | None:
        """Rows it was scored on, where these are not all."""
        ...

    @property
    def likely_score(self) -> float:
        """Percent, by estimate where its evaluation was stopped."""
        ...


@dataclass(frozen=True)
class Point:
    """A mark in a chart, and what it says when pointed at."""

    x: float
    y: float
    title: str
    kind: str


@dataclass(frozen=True)
class Chart:
    """A chart, in units of its drawing.

    Attributes:
        title: What it shows.
        x_name: What goes from left to right.
        points: The marks.
        line: Corners of the line.
        y_ticks: Places and texts at the left.
        x_ticks: Places and texts below.
    """

    title: str
    x_name: str
    points: list[Point]
    line: str
    y_ticks: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]


def score_chart(candidates: Sequence[Placed]) -> Chart:
    """Scores of candidates in the order of the search, with the best one so far as a line."""
    whole = [candidate for candidate in candidates if candidate.rows is None]
    scale = _Scale([float(candidate.index) for candidate in candidates], [each.likely_score for each in candidates])
    best = accumulate((candidate.score for candidate in whole), max)
    corners = [(float(candidate.index), score) for candidate, score in zip(whole, best, strict=True)]
    # A step to the right, then one up: the best so far holds until a better one is found.
    steps = [place for (_, before), after in pairwise(corners) for place in ((after[0], before), after)]
    return Chart(
        title="Score of each candidate, and the best so far",
        x_name="candidate",
        points=[scale.point(float(each.index), each, "part" if each.rows else "whole") for each in candidates],
        line=scale.line([*corners[:1], *steps]),
        y_ticks=scale.y_ticks(),
        x_ticks=scale.x_ticks(),
    )


def front_chart(candidates: Sequence[Placed], front: Sequence[Placed]) -> Chart:
    """Scores of candidates against the size of their prompts, with the front as a line."""
    scale = _Scale([float(prompt_size(each.state)) for each in candidates], [each.score for each in candidates])
    on_front = {each.index for each in front}
    return Chart(
        title="Score against what every call carries",
        x_name="characters of instructions and demos",
        points=[
            scale.point(float(prompt_size(each.state)), each, "front" if each.index in on_front else "whole")
            for each in candidates
        ],
        line=scale.line([(float(prompt_size(each.state)), each.score) for each in front]),
        y_ticks=scale.y_ticks(),
        x_ticks=scale.x_ticks(),
    )


class _Scale:
    """Where values stand in a drawing."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._x_range = _padded(min(xs), max(xs), whole=True)
        self._y_range = _padded(min(ys), max(ys), whole=False)

    def point(self, x: float, candidate: Placed, kind: str) -> Point:
        """A candidate's mark."""
        title = f"{candidate.index}: {candidate.likely_score:.2f} %, {candidate.label}"
        return Point(self._x(x), self._y(candidate.likely_score), title, kind)

    def line(self, corners: Sequence[tuple[float, float]]) -> str:
        """Corners, as a drawing takes them."""
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in corners)

    def y_ticks(self) -> list[tuple[float, str]]:
        """Scores at the left."""
        low, high = self._y_range
        return [(self._y(value), f"{value:.0f} %") for value in _steps(low, high)]

    def x_ticks(self) -> list[tuple[float, str]]:
        """Values below."""
        low, high = self._x_range
        return [(self._x(value), f"{value:,.0f}") for value in _steps(low, high)]

    def _x(self, value: float) -> float:
        low, high = self._x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self._y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - BOTTOM)


def _padded(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    margin = 0.0 if whole and high > low else (high - low) * 0.08 or 1.0
    return low - margin, high + margin


def _steps(low: float, high: float) -> list[float]:
    return [low + (high - low) * step / _TICKS for step in range(_TICKS + 1)]

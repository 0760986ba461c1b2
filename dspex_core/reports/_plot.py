from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dspex_core.errors import EvaluationError
from dspex_core.programs import write_whole
from dspex_core.reports._charts import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Chart, Placed, front_chart, score_chart
from dspex_core.reports._front import pareto_front

_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'
"""What a file needs, and a page does not."""

_STYLE = """
.dspex-plot { max-width: 640px; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.dspex-plot text { fill: currentColor; opacity: .75; font-size: 12px; }
.dspex-plot .grid { stroke: currentColor; opacity: .18; }
.dspex-plot .best { fill: none; stroke: #3b82f6; stroke-width: 2; }
.dspex-plot .whole { fill: #3b82f6; } .dspex-plot .front { fill: #16a34a; }
.dspex-plot .part { fill: none; stroke: #8b95a1; }
"""


@dataclass(frozen=True)
class Plot:
    """A chart of a compile. A notebook shows it; it is SVG, and needs no library.

        best = await LabeledFewShot(metric="exact_match").compile(program, trainset=trainset, valset=valset)
        best.plot().save("search.svg")

    Attributes:
        title: What it shows.
        svg: The drawing, complete in itself.
    """

    title: str
    svg: str

    def save(self, path: str | Path) -> None:
        """Write the drawing to a file.

        Raises:
            ProgramError: If it cannot be written.
        """
        write_whole(path, self.svg, what="plot")

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg}<figcaption>{escape(self.title)}</figcaption></figure>"

    def __repr__(self) -> str:
        return f"Plot({self.title!r}; a notebook shows it, and .save('plot.svg') keeps it)"


def plot_of(candidates: Sequence[Placed], *, prompts: bool = False) -> Plot:
    """A chart of these candidates.

    Args:
        candidates: In the order of the search.
        prompts: Show scores against the size of prompts, rather than in the order of the search.

    Raises:
        EvaluationError: If none was scored on all rows.
    """
    whole = [candidate for candidate in candidates if candidate.rows is None]
    if not whole:
        raise EvaluationError("nothing was scored on all rows, so there is nothing to plot")
    chart = front_chart(whole, pareto_front(whole)) if prompts else score_chart(candidates)
    return Plot(chart.title, svg_of(chart, style=_STYLE))


def svg_of(chart: Chart, *, style: str = "") -> str:
    """A chart as an SVG drawing; with a style of its own, or to be styled by the page that it stands in."""
    right, bottom, middle = WIDTH - RIGHT, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) // 2
    anchors = ["start", *["middle"] * (len(chart.x_ticks) - 2), "end"]
    ticks = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for y, text in chart.y_ticks
    ] + [
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="{anchor}">{escape(text)}</text>'
        for (x, text), anchor in zip(chart.x_ticks, anchors, strict=True)
    ]
    marks = [
        f'<circle class="{point.kind}" cx="{point.x:.1f}" cy="{point.y:.1f}" r="4">'
        f"<title>{escape(point.title)}</title></circle>"
        for point in chart.points
    ]
    head = (
        f'<svg{_NAMESPACE if style else ""} class="dspex-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(chart.title)}">'
    )
    return "\n".join(
        [
            head,
            *([f"<style>{style}</style>"] if style else []),
            *ticks,
            f'<polyline class="best" points="{chart.line}"/>',
            *marks,
            f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(chart.x_name)}</text>',
            "</svg>",
        ]
    )

import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from model_servers import lm_of

from dspex_core import Example, Predict, using
from dspex_core.errors import ConfigurationError, EvaluationError, ProgramError
from dspex_core.optimizers import BootstrapFewShot, Candidate, CompileResult
from dspex_core.reports import pareto_front, prompt_size
from dspex_core.seam import PredictorState, ProgramState
from dspex_core.testing import conformance_program, conformance_rows

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def state(instructions, *demos):
    return ProgramState(predictors={"self": PredictorState(instructions=instructions, demos=demos)})


def candidate(index, score, instructions, **more):
    return Candidate(
        index=index, label=more.pop("label", f"try {index}"), state=state(instructions), score=score, **more
    )


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def result_of(*candidates, best, before=(), after=()):
    program = Predict("text -> team").with_state(best)
    return CompileResult(
        program=program,
        score=candidates[-1].score,
        baseline_score=candidates[0].score,
        candidates=candidates,
        usage=candidates[0].usage,
        scored_rows=tuple(range(len(before))),
        baseline_scores=before,
        best_scores=after,
    )


def test_what_models_and_data_say_is_text_and_never_part_of_the_page():
    found = state(HOSTILE, {"text": HOSTILE, HOSTILE: "x"})
    result = result_of(
        candidate(0, 50.0, "Route it."),
        candidate(1, 100.0, HOSTILE, label=HOSTILE),
        best=found,
        before=(0.0,),
        after=(1.0,),
    )
    page = Tags(result.report(rows=[Example(text=HOSTILE)], title=HOSTILE))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "".join(page.text).count("<script>") >= 5


def test_a_page_needs_nothing_from_anywhere_else():
    page = result_of(candidate(0, 50.0, "a"), candidate(1, 60.0, "b"), best=state("b")).report()
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?://", page)


def test_changed_instructions_rows_won_and_lost_and_the_verdict_are_told():
    result = result_of(
        candidate(0, 50.0, "Route it.\nBe brief."),
        candidate(1, 75.0, "Route it well.\nBe brief.", parent=0),
        best=state("Route it well.\nBe brief.", {"text": "a demo"}),
        before=(0.0, 0.0, 1.0, 1.0),
        after=(1.0, 1.0, 0.0, 1.0),
    )
    page = " ".join("".join(Tags(result.report(rows=[Example(text=f"row {i}") for i in range(4)])).text).split())
    for told in ("- Route it.+ Route it well.", "a demo", "2 rows won, 1 lost", "+25.00 points", "may be chance"):
        assert told in page
    assert page.index("Rows won") < page.index('"row 0"') < page.index("Rows lost") < page.index('"row 2"')
    assert '"row 3"' not in page


def test_the_front_holds_the_best_for_each_length_of_prompt():
    short, worse, long, longer = (
        candidate(0, 50.0, "a"),
        candidate(1, 40.0, "ab"),
        candidate(2, 70.0, "abc"),
        candidate(3, 70.0, "abcd"),
    )
    assert pareto_front([longer, worse, long, short]) == [short, long]
    result = result_of(short, worse, long, candidate(4, 99.0, "x", rows=5), best=long.state)
    assert result.pareto() == [short, long]
    assert prompt_size(state("abc", {"q": "é"})) == len('abc{"q": "é"}')


async def test_a_compile_gives_the_rows_scores_and_writes_its_page(provider, tmp_path):
    train, val = conformance_rows(24), conformance_rows(16, start=24)
    with using(lm=lm_of(provider)):
        result = await BootstrapFewShot(metric="exact_match").compile(conformance_program(), trainset=train, valset=val)
    assert len(result.baseline_scores) == len(result.best_scores) == len(result.scored_rows) == 16
    assert sum(result.best_scores) / 16 * 100 == pytest.approx(result.score, abs=0.01)
    assert result.gain.mean == pytest.approx(result.score - result.baseline_score, abs=0.01)
    page = result.report(tmp_path / "report.html", rows=val, title="Conformance")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert page.count("<circle") == 2 * len(result.candidates)


async def test_a_compile_without_a_validation_set_has_a_page_too(provider):
    with using(lm=lm_of(provider)):
        result = await BootstrapFewShot(metric="exact_match").compile(
            conformance_program(), trainset=conformance_rows(24)
        )
    assert result.gain is None
    assert "nothing can be said" in result.report()


def test_a_page_that_cannot_be_written_says_where(tmp_path):
    result = result_of(candidate(0, 50.0, "a"), best=state("a"))
    with pytest.raises(ProgramError, match="cannot write the report to"):
        result.report(tmp_path / "no such folder" / "report.html")


def plotted(*candidates, **what):
    return result_of(*candidates, best=state("the best")).plot(**what)


def test_a_plot_is_shown_by_a_notebook_and_kept_as_a_drawing_that_runs_nothing(tmp_path):
    hostile = candidate(1, 90.0, "longer " * 9, label=HOSTILE)
    plot = plotted(candidate(0, 50.0, "short"), hostile, candidate(2, 40.0, "x", rows=5))
    plot.save(tmp_path / "search.svg")
    drawing = ET.fromstring((tmp_path / "search.svg").read_text())  # noqa: S314 - our own file
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    marks = [mark for mark in drawing if mark.tag.endswith("circle")]
    assert [mark.get("class") for mark in marks] == ["whole", "whole", "part"]
    assert [mark[0].text for mark in marks][1] == f"1: 90.00 %, {HOSTILE}"
    shown = Tags(plot._repr_html_())
    assert {tag for tag, _ in shown.tags} <= {
        "figure", "svg", "style", "line", "text", "polyline", "circle", "title", "figcaption",
    }  # fmt: skip
    assert "candidate" in shown.text
    assert "matplotlib" not in sys.modules


def test_a_plot_of_prompts_marks_the_front():
    tries = [candidate(0, 50.0, "short"), candidate(1, 90.0, "longer " * 9), candidate(2, 40.0, "longer " * 20)]
    assert plotted(*tries, what="prompts").svg.count('class="front"') == 2


def test_what_cannot_be_plotted_is_said():
    with pytest.raises(ConfigurationError, match="there are 'search' and 'prompts'"):
        plotted(candidate(0, 50.0, "short"), what="other")
    with pytest.raises(EvaluationError, match="nothing to plot"):
        plotted(candidate(0, 50.0, "short", rows=5))

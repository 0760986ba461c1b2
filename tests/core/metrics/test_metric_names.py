import pytest

from dspex_core import Prediction, Score
from dspex_core.errors import ConfigurationError, MetricError, ProgramError, TrustError, UnknownNameError
from dspex_core.metrics import (
    METRICS,
    exact_match,
    is_built_in,
    judges_parts,
    metric_reference,
    resolve_metric,
    score_of,
)
from dspex_core.references import CodeReference

SOURCE = "def judge(example, prediction, trace=None):\n    return True\n\nnumber = 7\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "their_metrics"
    folder.mkdir()
    (folder / "__init__.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "their_metrics", raising=False)
    return __import__("their_metrics")


@pytest.mark.parametrize("name", ["exact_match", "f1", "contains"])
def test_a_built_in_metric_goes_by_its_name_and_back(name):
    metric = resolve_metric(name)
    assert metric is METRICS[name]
    assert metric_reference(metric) == metric_reference(name) == CodeReference(path=name)
    assert resolve_metric(CodeReference(path=name), trust=()) is metric
    assert is_built_in(metric)


def test_an_unknown_name_suggests_the_nearest():
    for use in (resolve_metric, metric_reference):
        with pytest.raises(UnknownNameError, match="unknown metric 'exactmatch': did you mean 'exact_match'"):
            use("exactmatch")


def test_a_function_of_ones_own_is_found_again_by_its_path(package):
    reference = metric_reference(package.judge)
    assert reference.path == "their_metrics:judge"
    assert resolve_metric(reference, trust=["their_metrics"]) is package.judge
    assert resolve_metric("their_metrics:judge") is package.judge
    assert not is_built_in(package.judge)


def test_a_worker_imports_no_metric_from_a_package_that_it_does_not_trust(package):
    with pytest.raises(TrustError, match="--trust their_metrics"):
        resolve_metric(metric_reference(package.judge), trust=["other"])


def test_a_path_that_leads_to_no_function_is_refused(package):
    for use in (resolve_metric, metric_reference):
        with pytest.raises(ConfigurationError, match="their_metrics:number is an int, not a function"):
            use("their_metrics:number")
        with pytest.raises(ConfigurationError, match="metric 5 is an int"):
            use(5)


def test_a_lambda_cannot_go_to_a_worker_and_the_error_says_what_to_do():
    with pytest.raises(ProgramError, match="cannot be imported by a worker: move it to a module"):
        metric_reference(lambda *_: True)


def test_a_score_is_taken_as_it_is():
    score = Score(value=0.3, feedback="so so")
    assert score_of(score, exact_match) is score


def test_a_prediction_with_a_score_stands_for_a_score_as_in_dspy():
    assert score_of(Prediction(score=0.5, feedback="so so"), exact_match) == Score(value=0.5, feedback="so so")
    assert score_of(Prediction(score=True), exact_match) == Score(value=1.0)
    for verdict in (Prediction(answer="x"), Prediction(score="high"), Prediction(score=float("nan"))):
        with pytest.raises(MetricError, match="must return a bool, a finite number or a Score"):
            score_of(verdict, exact_match)


def test_a_metric_judges_parts_if_it_takes_five_arguments():
    assert judges_parts(lambda gold, pred, trace, pred_name, pred_trace: 1.0)
    assert judges_parts(lambda gold, pred, trace=None, pred_name=None, pred_trace=None: 1.0)
    assert not judges_parts(lambda gold, pred, trace=None: 1.0)
    assert not judges_parts(lambda *arguments: 1.0)
    assert not any(judges_parts(metric) for metric in METRICS.values())


def test_a_score_is_a_value_and_words_for_it():
    assert Score(0.5, "too long") == Score(value=0.5, feedback="too long")
    assert Score.model_validate_json(Score(0.5, "too long").model_dump_json()) == Score(0.5, "too long")
    assert Score(1.0).feedback == ""


@pytest.mark.parametrize(
    ("given", "complaint"),
    [(("much",), r"Score\(value=…\): .*, not 'much'"), ((1.0, 3), r"Score\(feedback=…\): .*, not 3")],
)
def test_what_is_no_score_is_named_with_its_place(given, complaint):
    with pytest.raises(MetricError, match=complaint):
        Score(*given)

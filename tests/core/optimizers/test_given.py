"""What cannot be compiled is refused by name before any call, and a search that gives nothing is no success."""

from pathlib import Path

import pytest
from model_servers import lm_of, written

from dspex_core import Example, Predict, using
from dspex_core.datasets import DataFile
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers import LabeledFewShot, Optimizer

TICKETS = DataFile(Path(__file__).parents[3] / "examples/triage/tickets.csv", inputs=["message"])
ROWS = [Example(text=f"text{n}", team="right").with_inputs("text") for n in range(4)]


class Forgetful(Optimizer):
    """Finds something, and does not say what."""

    name = "forgetful"

    async def search(self, search):
        await search.evaluate(search.student.get_state(), "again")


class ForgetfulBeside(Forgetful):
    beside_baseline = True


@pytest.fixture
def model(start_model):
    return start_model(lambda messages: written(team="right"))


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"trainset": None}, DatasetError, "training set is to be a list of examples, not None; Example"),
        ({"trainset": "rows.csv"}, DatasetError, "not 'rows.csv', of type str"),
        ({"trainset": iter(ROWS)}, DatasetError, r"training set .* list\(…\) makes one of it"),
        ({"trainset": TICKETS}, DatasetError, r"list\(…\) makes one of it"),
        ({"valset": 5}, DatasetError, "validation set is to be a list of examples, not 5, of type int"),
        ({"student": "text -> team"}, ConfigurationError, r"program is the text .*: write Predict\('text -> team'\)"),
        ({"student": Predict}, ConfigurationError, r"program is the class Predict: make one of it, Predict\(…\)"),
        ({"student": None}, ConfigurationError, "program is to be a module, such as Predict.*, not None"),
        ({"teacher": Predict}, ConfigurationError, "teacher is the class Predict"),
    ],
)
async def test_what_is_no_program_and_no_rows_is_refused_before_any_call(model, change, kind, said):
    given = {"student": Predict("text -> team"), "trainset": ROWS, "valset": ROWS} | change
    optimizer = LabeledFewShot(metric="exact_match")
    with using(lm=lm_of(model)), pytest.raises(kind, match=said):
        await optimizer.compile(given.pop("student"), **given)
    assert not model.bodies


@pytest.mark.parametrize("optimizer", [Forgetful, ForgetfulBeside])
async def test_a_search_that_returns_no_state_is_an_error_that_names_the_optimizer(model, optimizer):
    with using(lm=lm_of(model)), pytest.raises(ConfigurationError, match=f"{optimizer.__name__}.search returned None"):
        await optimizer(metric="exact_match").compile(Predict("text -> team"), trainset=ROWS, valset=ROWS)

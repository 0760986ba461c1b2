import pytest

from dspex_core import LM, Module, Pipeline, Predict, Prediction, Supervised, using
from dspex_core.errors import ProgramError
from dspex_core.modules import build_in_workflow, is_deterministic
from dspex_core.seam import current_rollout


class Counting(Module):
    def __init__(self, failing=0, error=RuntimeError):
        self.failing, self.error, self.tries, self.samples = failing, error, 0, []

    async def forward(self, text):
        self.tries += 1
        self.samples.append(current_rollout())
        if self.tries <= self.failing:
            raise self.error("a slip")
        return Prediction(said=text)


@pytest.fixture
def lm():
    return LM("openai/nobody-asks-it", api_base="http://127.0.0.1:9/v1", api_key="unused")


async def test_a_part_that_fails_is_begun_anew_and_the_rest_is_not(lm):
    first, second = Counting(), Counting(failing=2)
    with using(lm=lm):
        prediction = await (first | Supervised(second, tries=3))(text="hello")
    assert prediction.said == "hello"
    assert (first.tries, second.tries) == (1, 3)
    assert second.samples == [0, 1, 2], "each try asks for a fresh sample"


async def test_after_the_last_try_its_error_is_raised(lm):
    part = Counting(failing=9)
    with using(lm=lm), pytest.raises(RuntimeError, match="a slip"):
        await Supervised(part, tries=2)(text="hello")
    assert part.tries == 2


async def test_what_would_end_alike_is_not_begun_anew(lm):
    part = Counting(failing=9, error=ProgramError)
    with using(lm=lm), pytest.raises(ProgramError):
        await Supervised(part)(text="hello")
    assert part.tries == 1


def test_fewer_than_one_try_is_refused():
    with pytest.raises(ProgramError, match="tries=0"):
        Supervised(Counting(), tries=0)


def test_it_is_written_down_and_rebuilt_with_its_state(tmp_path):
    program = Predict("a -> b") | Supervised(Predict("b -> c") | Predict("c -> d"), tries=5)
    program.named_predictors()["parts[1].module.parts[0]"].demos = [{"b": "1", "c": "2"}]
    program.save(tmp_path / "program.json")
    loaded = Module.load(tmp_path / "program.json")
    assert loaded.get_state() == program.get_state()
    assert loaded.parts[1].tries == 5
    assert Pipeline.from_spec(program.to_spec()).reference() == program.reference()
    assert program.to_spec()[1]["module"] == "supervised"
    assert program.to_spec()[1].keys() == {"module", "tries", "part"}


def test_a_workflow_knows_a_part_by_its_reference_and_its_own_state_alone():
    part = Predict("b -> c") | Predict("c -> d")
    program = Predict("a -> b") | Supervised(part) | Supervised(Predict("d -> e"))
    program.named_predictors()["parts[1].module.parts[0]"].demos = [{"b": "1", "c": "2"}]
    assert is_deterministic(program.reference())
    there = build_in_workflow(program.reference(), program.get_state())
    assert there.parts[1].module.get_state() == part.get_state()
    assert there.parts[1].module.reference() == part.reference()
    assert list(there.parts[2].module.get_state().predictors) == ["self"]
    assert there.input_names() == program.input_names()
    assert list(there.named_predictors()) == ["parts[0]"]

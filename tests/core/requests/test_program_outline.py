import pytest

from dspex_core import ChainOfThought, Example, Module
from dspex_core.errors import ProgramError
from dspex_core.modules import build_program
from dspex_core.requests import ProgramOutline, Rows
from dspex_core.seam import PredictorState, ProgramState


def test_an_outline_stands_for_its_program_and_survives_json():
    program = ChainOfThought("text -> team: Literal['a', 'b']")
    outline = ProgramOutline.of(program)
    again = ProgramOutline.model_validate_json(outline.model_dump_json())
    assert again == outline
    rebuilt = build_program(again.structure, trust=()).with_state(again.state)
    assert rebuilt.get_state() == program.get_state()
    assert rebuilt.signature.to_spec() == program.signature.to_spec()


def test_an_outline_takes_another_state_as_a_program_does():
    outline = ProgramOutline.of(ChainOfThought("text -> team"))
    state = ProgramState(predictors={"predict": PredictorState(instructions="Other.")})
    assert outline.with_state(state).get_state() == state
    assert outline.get_state() != state


def test_a_program_that_no_worker_could_build_has_no_outline():
    class Local(Module):
        pass

    with pytest.raises(ProgramError, match="cannot be imported by a worker"):
        ProgramOutline.of(Local())


def test_rows_written_down_are_examples_again():
    rows = Rows(inputs=("text",), rows=({"text": "a", "team": "b"},))
    (example,) = Rows.model_validate_json(rows.model_dump_json()).examples()
    assert example == Example(text="a", team="b")
    assert example.inputs() == {"text": "a"}

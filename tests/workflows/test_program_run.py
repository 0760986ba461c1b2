import pytest

from dspex_core import Predict, events
from dspex_core.errors import ProgramError
from dspex_core.requests import ProgramOutline
from dspex_core.seam import LMConfig
from workflows._program_run import ProgramRun
from workflows._values import ProgramRunInput


async def test_what_runs_in_a_workflow_is_told_to_nobody_as_it_may_be_run_again():
    given = ProgramRunInput(
        program=ProgramOutline.of(Predict("text -> said")), lm=LMConfig(model="openai/m"), inputs={"wrong": "x"}
    )
    with events.subscribe() as stream, pytest.raises(ProgramError, match="there is no input 'wrong'"):
        await ProgramRun(given)._run_here(given)
    assert [event async for event in stream] == []

"""A payload names code, the worker decides: nothing outside its trusted packages is even imported."""

import sys

import pytest
from real_parts import USER_CODE
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import Activities
from dspex_core import Predict, ReAct
from dspex_core.artifacts import ArtifactStore, store_dataset
from dspex_core.metrics import metric_reference
from dspex_core.references import CodeReference
from dspex_core.requests import (
    CallTool,
    EvaluateChunk,
    ProgramOutline,
    RunCode,
    RunProgram,
    Search,
    StartFineTuning,
    TraceRows,
)
from dspex_core.seam import FineTuningRequest, LMConfig, TrainingStep
from dspex_core.testing import conformance_program, conformance_rows
from dspex_core.tools import ToolSpec

LM = LMConfig(model="openai/m")
CODE = CodeReference(path="marking_app:anything")
TOOL = ToolSpec(name="anything", desc="", parameters={"type": "object", "properties": {}}, code=CODE)
OURS = ProgramOutline.of(conformance_program())


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that is there once the module was imported, as it could be."""
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(USER_CODE)
    assert "marking_app" not in sys.modules
    yield tmp_path / "imported"
    sys.modules.pop("marking_app", None)


def structures():
    """Programs as somebody may have written them by hand."""
    code, inner = CODE.model_dump(), Predict("text -> topic").reference().model_dump()
    agent = ReAct("text -> topic", []).reference().model_dump()
    return {
        "a program": {"kind": "imported", "code": code},
        "a part": {"module": "pipeline", "parts": [{"kind": "imported", "code": code}]},
        "a reward": {"module": "best_of_n", "options": {"N": 2, "reward_fn": code, "threshold": 1.0}, "parts": [inner]},
        "a reduce function": {"module": "ensemble", "options": {"reduce_fn": code}, "parts": [inner]},
        "a retriever": {"module": "retrieve", "options": {"k": 1, "retriever": code}},
        "neighbours": {"module": "knn_few_shot", "options": {"retriever": code}, "parts": [inner]},
        "an agent's tool": {**agent, "options": {**agent["options"], "tools": [TOOL.model_dump()]}},
    }


def outline_of(structure):
    state = {"predictors": {}}
    return ProgramOutline.model_validate({"structure": {"kind": "declared", **structure}, "state": state})


async def requests_naming_code(store):
    """One for each way in which a payload names code: the activity, and what it is given."""
    rows, metric = await store_dataset(store, conformance_rows(2)), metric_reference("exact_match")
    chunk = EvaluateChunk(metric=metric, lm=LM, dataset=rows, start=0, stop=2)
    trace = TraceRows(program=OURS, metric=metric, lm=LM, dataset=rows, rows=(0,), wanted=1, threshold=None, rounds=1)
    steps = (TrainingStep(predictor="self", values={"text": "a", "topic": "b"}),) * 10
    tuning = FineTuningRequest(steps=steps, lm=LM, trainer=CODE)
    found = {
        "a metric": ("evaluate_chunk", chunk.model_copy(update={"metric": CODE}), OURS),
        "a metric of traces": ("trace_rows", trace.model_copy(update={"metric": CODE})),
        "a tool": ("call_tool", CallTool(tool=TOOL, args={}, lm=LM)),
        "a tool of code": ("run_code", RunCode(code="anything()", tools=(TOOL,), session=None, lm=LM)),
        "a search": ("retrieve", Search(query="q", k=1, retriever=CODE, lm=LM)),
        "a trainer": ("start_fine_tuning", StartFineTuning(program=OURS, request=tuning, lm=LM)),
    }
    for what, structure in structures().items():
        outline = outline_of(structure)
        found |= {
            f"{what}, run": ("run_program", RunProgram(program=outline, inputs={"text": "a"}, lm=LM)),
            f"{what}, scored": ("evaluate_chunk", chunk, outline),
            f"{what}, traced": ("trace_rows", trace.model_copy(update={"program": outline})),
        }
    return found


async def test_code_outside_the_trusted_packages_is_not_imported_wherever_it_is_named(tmp_path, mark):
    store = ArtifactStore((tmp_path / "store").as_uri())
    shells = Activities(store, trust=("shop_app",))
    for way, (name, *given) in (await requests_naming_code(store)).items():
        with pytest.raises(ApplicationError, match="marking_app") as caught:
            await ActivityEnvironment().run(getattr(shells, name), *given)
        assert caught.value.type == "TrustError", way
        assert not mark.exists(), way
    await shells.close()


async def test_the_same_code_is_imported_where_it_is_trusted(tmp_path, mark):
    shells = Activities(ArtifactStore((tmp_path / "store").as_uri()), trust=("marking_app",))
    call = CallTool(tool=TOOL, args={}, lm=LM)
    assert (await ActivityEnvironment().run(shells.call_tool, call)).text == "1.0"
    assert mark.exists()
    await shells.close()

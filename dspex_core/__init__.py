"""DSPEx core: signatures, modules, metrics and optimizers, in pure Python.

Names are imported when first used, so that `import dspex_core` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex_core import events
    from dspex_core.adapters import ChatAdapter, JSONAdapter, TwoStepAdapter, XMLAdapter
    from dspex_core.errors import DSPExError
    from dspex_core.evaluate import Evaluate, EvaluationResult
    from dspex_core.lm import LM, inspect_history
    from dspex_core.metrics import majority
    from dspex_core.modules import (
        BestOfN,
        ChainOfThought,
        CodeAct,
        Module,
        MultiChainComparison,
        Parallel,
        Pipeline,
        Predict,
        ProgramOfThought,
        ReAct,
        Refine,
        Retrieve,
        StreamedPiece,
        Supervised,
    )
    from dspex_core.record import Example, Prediction
    from dspex_core.retrieval import KNN
    from dspex_core.runtime import configure, using
    from dspex_core.seam import Score
    from dspex_core.signature import InputField, OutputField, Signature
    from dspex_core.tools import Tool
    from dspex_core.types import History, Image, ToolCalls
    from dspex_core.usage import Usage

_HOMES = {
    "KNN": "retrieval",
    "StreamedPiece": "modules",
    "XMLAdapter": "adapters",
    "TwoStepAdapter": "adapters",
    "JSONAdapter": "adapters",
    "ChatAdapter": "adapters",
    "LM": "lm",
    "BestOfN": "modules",
    "ChainOfThought": "modules",
    "CodeAct": "modules",
    "DSPExError": "errors",
    "Evaluate": "evaluate",
    "EvaluationResult": "evaluate",
    "Example": "record",
    "History": "types",
    "Image": "types",
    "InputField": "signature",
    "Module": "modules",
    "MultiChainComparison": "modules",
    "OutputField": "signature",
    "Parallel": "modules",
    "Pipeline": "modules",
    "Predict": "modules",
    "Prediction": "record",
    "ProgramOfThought": "modules",
    "ReAct": "modules",
    "Refine": "modules",
    "Retrieve": "modules",
    "Score": "seam",
    "Signature": "signature",
    "Supervised": "modules",
    "Tool": "tools",
    "ToolCalls": "types",
    "Usage": "usage",
    "configure": "runtime",
    "inspect_history": "lm",
    "majority": "metrics",
    "using": "runtime",
}

__all__ = [
    "KNN",
    "LM",
    "BestOfN",
    "ChainOfThought",
    "ChatAdapter",
    "CodeAct",
    "DSPExError",
    "Evaluate",
    "EvaluationResult",
    "Example",
    "History",
    "Image",
    "InputField",
    "JSONAdapter",
    "Module",
    "MultiChainComparison",
    "OutputField",
    "Parallel",
    "Pipeline",
    "Predict",
    "Prediction",
    "ProgramOfThought",
    "ReAct",
    "Refine",
    "Retrieve",
    "Score",
    "Signature",
    "StreamedPiece",
    "Supervised",
    "Tool",
    "ToolCalls",
    "TwoStepAdapter",
    "Usage",
    "XMLAdapter",
    "configure",
    "events",
    "inspect_history",
    "majority",
    "using",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"dspex_core.{_HOMES[name]}"), name)
    if name == "events":
        return import_module("dspex_core.events")
    raise AttributeError(f"module 'dspex_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

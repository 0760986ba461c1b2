"""Modules: the steps that programs are made of."""

from dspex_core.modules._best_of_n import BestOfN
from dspex_core.modules._build import MODULES, build_in_workflow, build_program, is_deterministic, module_named
from dspex_core.modules._calls_in_a_run import calls_in_a_run
from dspex_core.modules._code_act import CodeAct
from dspex_core.modules._ensemble import EnsembledProgram
from dspex_core.modules._knn_few_shot import KNNFewShotProgram, NearestDemos
from dspex_core.modules._module import Module
from dspex_core.modules._multi_chain_comparison import MultiChainComparison
from dspex_core.modules._parallel import Parallel
from dspex_core.modules._pipeline import Pipeline
from dspex_core.modules._predict import ChainOfThought, Predict
from dspex_core.modules._program_of_thought import ProgramOfThought
from dspex_core.modules._react import ReAct
from dspex_core.modules._refine import Refine
from dspex_core.modules._retrieve import Retrieve
from dspex_core.modules._streaming import StreamedPiece
from dspex_core.modules._supervised import Supervised
from dspex_core.modules.dspy_program import DSPyProgram, as_program, as_rows

__all__ = [
    "MODULES",
    "BestOfN",
    "ChainOfThought",
    "CodeAct",
    "DSPyProgram",
    "EnsembledProgram",
    "KNNFewShotProgram",
    "Module",
    "MultiChainComparison",
    "NearestDemos",
    "Parallel",
    "Pipeline",
    "Predict",
    "ProgramOfThought",
    "ReAct",
    "Refine",
    "Retrieve",
    "StreamedPiece",
    "Supervised",
    "as_program",
    "as_rows",
    "build_in_workflow",
    "build_program",
    "calls_in_a_run",
    "is_deterministic",
    "module_named",
]

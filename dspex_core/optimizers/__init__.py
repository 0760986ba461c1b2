"""Optimizers: they find the state of a program that scores best."""

from dspex_core.optimizers._base import Candidate, CompileResult, Optimizer, Search
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._labeled_few_shot import LabeledFewShot
from dspex_core.optimizers._registry import OPTIMIZERS, optimizer_named

__all__ = [
    "OPTIMIZERS",
    "BootstrapFewShot",
    "Candidate",
    "CompileResult",
    "LabeledFewShot",
    "Optimizer",
    "Search",
    "optimizer_named",
]

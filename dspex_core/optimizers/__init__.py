"""Optimizers: they find the state of a program that scores best."""

from dspex_core.optimizers._base import LMOption, Optimizer, RacingOptimizer
from dspex_core.optimizers._better_together import BetterTogether
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._bootstrap_finetune import BootstrapFinetune
from dspex_core.optimizers._copro import COPRO
from dspex_core.optimizers._ensemble import Ensemble
from dspex_core.optimizers._given import require_program, require_rows
from dspex_core.optimizers._infer_rules import InferRules
from dspex_core.optimizers._knn_few_shot import KNNFewShot
from dspex_core.optimizers._labeled_few_shot import LabeledFewShot
from dspex_core.optimizers._plan import Plan, Range, Reach
from dspex_core.optimizers._racing import Racing
from dspex_core.optimizers._random_search import BootstrapFewShotWithRandomSearch
from dspex_core.optimizers._registry import OPTIMIZERS, optimizer_named
from dspex_core.optimizers._result import Candidate, CompileResult, Fold, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._simba import SIMBA
from dspex_core.optimizers.gepa import GEPA
from dspex_core.optimizers.mipro_v2 import MIPROv2
from dspex_core.seam import TrainedModel, Trainer

__all__ = [
    "COPRO",
    "GEPA",
    "OPTIMIZERS",
    "SIMBA",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapFinetune",
    "Candidate",
    "CompileResult",
    "Ensemble",
    "Fold",
    "InferRules",
    "KNNFewShot",
    "LMOption",
    "LabeledFewShot",
    "MIPROv2",
    "Optimizer",
    "Plan",
    "Proposal",
    "Racing",
    "RacingOptimizer",
    "Range",
    "Reach",
    "Search",
    "TrainedModel",
    "Trainer",
    "optimizer_named",
    "require_program",
    "require_rows",
]

"""GEPA: instructions that evolve by reflection on runs; one file a decision."""

from dspex_core.optimizers.gepa._acceptance import Acceptance, NoLoss, StrictImprovement
from dspex_core.optimizers.gepa._budget import Budget, auto_metric_calls
from dspex_core.optimizers.gepa._candidate_selector import CandidateSelector, CurrentBestSelector, ParetoSelector
from dspex_core.optimizers.gepa._component_selector import AllComponents, ComponentSelector, RoundRobin
from dspex_core.optimizers.gepa._evolution import Evolution, Rules, Strategies
from dspex_core.optimizers.gepa._front import pareto_fronts
from dspex_core.optimizers.gepa._merge import Merge, Merger, NoMerge, SystemAwareMerge
from dspex_core.optimizers.gepa._optimizer import GEPA
from dspex_core.optimizers.gepa._pool import Member, Pool
from dspex_core.optimizers.gepa._sampler import EpochShuffled, Sampler

__all__ = [
    "GEPA",
    "Acceptance",
    "AllComponents",
    "Budget",
    "CandidateSelector",
    "ComponentSelector",
    "CurrentBestSelector",
    "EpochShuffled",
    "Evolution",
    "Member",
    "Merge",
    "Merger",
    "NoLoss",
    "NoMerge",
    "ParetoSelector",
    "Pool",
    "RoundRobin",
    "Rules",
    "Sampler",
    "Strategies",
    "StrictImprovement",
    "SystemAwareMerge",
    "auto_metric_calls",
    "pareto_fronts",
]

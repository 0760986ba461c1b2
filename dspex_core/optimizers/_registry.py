from dspex_core.errors import UnknownNameError
from dspex_core.optimizers._base import Optimizer
from dspex_core.optimizers._better_together import BetterTogether
from dspex_core.optimizers._bootstrap_few_shot import BootstrapFewShot
from dspex_core.optimizers._bootstrap_finetune import BootstrapFinetune
from dspex_core.optimizers._copro import COPRO
from dspex_core.optimizers._infer_rules import InferRules
from dspex_core.optimizers._labeled_few_shot import LabeledFewShot
from dspex_core.optimizers._random_search import BootstrapFewShotWithRandomSearch
from dspex_core.optimizers._simba import SIMBA
from dspex_core.optimizers.gepa import GEPA
from dspex_core.optimizers.mipro_v2 import MIPROv2

# One line adds an optimizer: to the command line, to the workers and to the conformance suite.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.name: optimizer
    for optimizer in (
        COPRO,
        SIMBA,
        GEPA,
        BootstrapFewShot,
        BootstrapFewShotWithRandomSearch,
        InferRules,
        BetterTogether,
        BootstrapFinetune,
        LabeledFewShot,
        MIPROv2,
    )
}
"""Optimizers by the name that the command line uses."""


def optimizer_named(name: str) -> type[Optimizer]:
    """The optimizer of that name.

        optimizer = optimizer_named("bootstrap_few_shot").from_options({"metric": "exact_match", "max_rounds": 2})

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]

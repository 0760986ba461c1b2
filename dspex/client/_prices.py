from dspex_core.budget import Budget
from dspex_core.errors import ConfigurationError
from dspex_core.lm import LM
from dspex_core.modules import Module
from dspex_core.optimizers import Optimizer
from dspex_core.seam import LMConfig


def require_prices(
    budget: Budget | None, *, program: Module, optimizer: Optimizer, lm: LM, teacher_lm: LM | None
) -> None:
    """Refuse a budget in dollars where the price of a model that a compile may ask is not known.

        require_prices(Budget(usd=5), program=triage, optimizer=optimizer, lm=lm, teacher_lm=None)

    Args:
        budget: What the compile may take; None for no limit.
        program: What is compiled; its predictors may have models of their own.
        optimizer: What searches; its options may name models.
        lm: The model in force.
        teacher_lm: The model that the teacher runs on.

    Raises:
        ConfigurationError: Naming the model.
    """
    if budget is None or budget.usd is None:
        return
    named = [getattr(optimizer, name) for name in type(optimizer).model_fields]
    named += [predictor.lm for predictor in program.get_state().predictors.values()]
    configs = [lm.config, *([] if teacher_lm is None else [teacher_lm.config])]
    for config in (*configs, *(each for each in named if isinstance(each, LMConfig))):
        if LM.cost_of(config, 1_000_000, 1_000_000) is None:
            raise ConfigurationError(
                f"the price of {config.model} is not known, so a budget in dollars cannot be kept: give "
                "LM(price_per_million=(sent, received)), or limit lm_calls or tokens"
            )

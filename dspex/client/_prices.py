from dspex_core.budget import Budget
from dspex_core.errors import ConfigurationError
from dspex_core.lm import LM
from dspex_core.optimizers import Optimizer
from dspex_core.seam import LMConfig


def require_prices(budget: Budget, lm: LM, teacher_lm: LM | None, optimizer: Optimizer) -> None:
    """Refuse a budget in dollars where a model's price is not known.

    Raises:
        ConfigurationError: Naming the model.
    """
    if budget.usd is None:
        return
    options = (getattr(optimizer, name) for name in type(optimizer).model_fields)
    configs = [lm.config, *([] if teacher_lm is None else [teacher_lm.config])]
    for config in (*configs, *(option for option in options if isinstance(option, LMConfig))):
        if LM.cost_of(config, 1_000_000, 1_000_000) is None:
            raise ConfigurationError(
                f"the price of {config.model} is not known, so a budget in dollars cannot be kept: give "
                "LM(price_per_million=(sent, received)), or limit lm_calls or tokens"
            )

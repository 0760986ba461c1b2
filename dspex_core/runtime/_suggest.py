"""Optuna's sampler, asked and told from outside; nothing else imports Optuna."""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from dspex_core.seam import Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggested(space: Mapping[str, int], history: Sequence[Trial], *, count: int, seed: int) -> list[dict[str, int]]:
    """Combinations to try next; see `Runtime.suggest`.

    The study is made anew from its history, so that the answer depends on nothing else. Combinations asked for together
    keep away from each other ("constant liar"), since none knows the others' scores.

    Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4; multivariate as in Falkner
    et al. 2018, "BOHB".
    """
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(tuple(range(choices))) for name, choices in space.items()
    }
    # A sampler made anew would draw the same again, were its seed the same after every trial.
    sampler_seed = (seed * 1_000_003 + len(history)) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=sampler_seed, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in history:
        study.add_trial(
            optuna.trial.create_trial(params=dict(trial.choices), distributions=distributions, value=trial.score)
        )
    asked = [study.ask(distributions) for _ in range(count)]
    return [{name: int(trial.params[name]) for name in space} for trial in asked]

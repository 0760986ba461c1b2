import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, pvariance

RESAMPLES = 2_000
MOST_DRAWN = 2_000
"""Rows up to which samples are really drawn; with more, their means are as good as normally distributed."""
_TAIL = 0.025


@dataclass(frozen=True)
class Gain:
    """How much better one program is than another on the same rows.

    Attributes:
        mean: Mean gain, in points of percent.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        chance: Probability that there is no gain at all, given these rows.
        won: Rows that score higher.
        lost: Rows that score lower.
    """

    mean: float
    low: float
    high: float
    chance: float
    won: int
    lost: int


def gain_of(before: Sequence[float], after: Sequence[float]) -> Gain:
    """The gain from one program to another, by a paired bootstrap over the rows.

    The same rows give the same answer: samples are drawn with a fixed seed.

    Args:
        before: Scores of rows, 0.0 to 1.0.
        after: Scores of the same rows, in the same order; at least one.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile intervals); for
    systems compared on the same test set, Koehn 2004, "Statistical Significance Tests for Machine Translation
    Evaluation", section 4.
    """
    differences = [100 * (new - old) for old, new in zip(before, after, strict=True)]
    low, high, chance = (_normal if len(differences) > MOST_DRAWN else _drawn)(differences)
    return Gain(
        mean=fmean(differences),
        low=low,
        high=high,
        chance=chance,
        won=sum(difference > 0 for difference in differences),
        lost=sum(difference < 0 for difference in differences),
    )


def _drawn(differences: list[float]) -> tuple[float, float, float]:
    draw = random.Random(0)  # noqa: S311 - statistics, not secrets
    means = sorted(fmean(draw.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    cut = int(_TAIL * RESAMPLES)
    return means[cut], means[-cut - 1], sum(mean <= 0 for mean in means) / RESAMPLES


def _normal(differences: list[float]) -> tuple[float, float, float]:
    mean, deviation = fmean(differences), math.sqrt(pvariance(differences) / len(differences))
    if deviation == 0:
        return mean, mean, float(mean <= 0)
    around = NormalDist(mean, deviation)
    return around.inv_cdf(_TAIL), around.inv_cdf(1 - _TAIL), around.cdf(0)

import pytest

from dspex_core.budget import Budget
from dspex_core.errors import ConfigurationError, UnknownNameError


def test_a_misspelt_limit_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'lm_cals'.*did you mean 'lm_calls'"):
        Budget(usd=5, lm_cals=10)


@pytest.mark.parametrize("limit", [{"usd": -1}, {"lm_calls": 0}, {"seconds": float("nan")}])
def test_a_limit_that_is_not_positive_is_refused_with_its_name(limit):
    with pytest.raises(ConfigurationError, match=next(iter(limit))):
        Budget(**limit)

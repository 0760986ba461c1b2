"""A thousand rows against a provider that fails in every way at once: none is lost, and all is counted."""

import pytest

from dspex_core import LM, Evaluate, Example, Predict, using
from dspex_core.lm import _retrying
from dspex_core.testing import FakeProviderProcess

KINDS = "429,500,overloaded,drop,malformed,slow,cut"
ROWS = [Example(text=f"message {number}", team="bug").with_inputs("text") for number in range(1000)]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("rate", [0.05, 0.3])
async def test_no_row_of_a_thousand_is_lost_to_faults_of_all_kinds_and_usage_is_exact(monkeypatch, rate):
    monkeypatch.setattr(_retrying, "_wait", lambda _: 0.01)
    faults = {"fault_rate": rate, "fault_kinds": KINDS, "retry_after_seconds": 0.01, "slow_seconds": 30}
    with FakeProviderProcess(**faults) as provider:
        lm = LM("openai/fake-learner", api_base=provider.base_url, timeout_seconds=3)
        with using(lm=lm):
            result = await Evaluate(ROWS, "exact_match")(Predict("text -> team: Literal['bug', 'billing']"))
        stats = provider.stats()
        await lm.close()
    assert (result.failed, len(result.scores)) == (0, 1000)
    assert None not in result.scores
    assert set(stats.faults) == set(KINDS.split(","))
    assert sum(stats.faults.values()) > 500 * rate
    assert result.usage.lm_calls == stats.answered == 1000
    assert result.usage.retries == stats.requests - 1000
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (
        stats.prompt_tokens,
        stats.completion_tokens,
    )

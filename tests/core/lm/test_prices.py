import pytest
from genai_prices import Usage, calc_price

from dspex_core.lm import cost_usd

MODELS = [
    "openai/gpt-4o-mini",
    "openai/gpt-4.1",
    "openai/gpt-5",
    "anthropic/claude-sonnet-4-5",
    "google/gemini-2.5-pro",
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("tokens", [(0, 0), (1, 0), (1200, 37), (250_000, 9_000)])
def test_the_cost_is_what_the_price_list_says_whatever_the_size(model, tokens):
    provider, _, name = model.partition("/")
    listed = calc_price(Usage(input_tokens=tokens[0], output_tokens=tokens[1]), name, provider_id=provider)
    assert cost_usd(model, *tokens) == pytest.approx(float(listed.total_price))


def test_a_model_that_is_on_no_list_has_no_price():
    assert cost_usd("openai/our-own", 10, 10) is None

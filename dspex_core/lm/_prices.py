from functools import lru_cache


def cost_usd(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Cost of one call in US dollars at list price, or None for a model whose price is not known.

    Args:
        model: Provider and model, e.g. "openai/gpt-4o-mini".
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
    """
    if not _is_priced(model):
        return None
    return _price(model, prompt_tokens, completion_tokens)


@lru_cache(maxsize=256)
def _is_priced(model: str) -> bool:
    # An unknown model is looked up at length, so the answer is remembered.
    return _price(model, 1, 1) is not None


def _price(model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - holds a large table, needed at the first answer only

    provider, _, name = model.partition("/")
    try:
        usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens)
        return float(calc_price(usage, name, provider_id=provider).total_price)
    except LookupError:
        return None

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

_PER = 1_000_000


_PRICED_AS = {"gemini": "google"}
"""Providers that genai-prices calls otherwise."""


def cost_usd(
    model: str, prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0, written_tokens: int = 0
) -> float | None:
    """Cost of one call in US dollars at list price, or None for a model whose price is not known.

    Args:
        model: Provider and model, e.g. "openai/gpt-4o-mini".
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        cached_tokens: Those sent that the provider found in its cache.
        written_tokens: Those sent that it put into its cache at a price.
    """
    known, flat = _found(model)
    if not known:
        return None
    if flat is not None and not cached_tokens and not written_tokens:
        return (flat[0] * prompt_tokens + flat[1] * completion_tokens) / _PER
    price = _price(model, prompt_tokens, completion_tokens, cached=cached_tokens, written=written_tokens)
    return None if price is None else float(price.total_price)


@lru_cache(maxsize=256)
def _found(model: str) -> tuple[bool, tuple[float, float] | None]:
    """Whether a model has a price, and that of a million tokens sent and received if it is the same at all times.

    To look a price up takes as long as a fifth of a call does; one that depends on the hour or on the size of the
    prompt has to be, all the same.
    """
    from genai_prices.types import ModelPrice  # noqa: PLC0415 - as below

    price = _price(model, 1, 1)
    if price is None:
        return False, None
    sent, received = (getattr(price.model_price, f"{way}_mtok", None) for way in ("input", "output"))
    always = isinstance(price.model.prices, ModelPrice)
    if always and isinstance(sent, Decimal) and isinstance(received, Decimal):
        return True, (float(sent), float(received))
    return True, None


def _price(
    model: str, prompt_tokens: int, completion_tokens: int, *, cached: int = 0, written: int = 0
) -> "PriceCalculation | None":
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - holds a large table, needed at the first answer only

    provider, _, name = model.partition("/")
    usage = Usage(
        input_tokens=prompt_tokens,
        output_tokens=completion_tokens,
        cache_read_tokens=cached or None,
        cache_write_tokens=written or None,
    )
    try:
        return calc_price(usage, name, provider_id=_PRICED_AS.get(provider, provider))
    except (LookupError, ValueError):
        # A server may count more tokens in its cache than were sent.
        return None

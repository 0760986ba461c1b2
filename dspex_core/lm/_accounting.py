from typing import Any

from dspex_core.lm._prices import cost_usd
from dspex_core.seam import LMConfig, LMResponse
from dspex_core.usage import Usage

_MILLION = 1_000_000


def usage_of_call(
    config: LMConfig,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    cached_tokens: int = 0,
    written_tokens: int = 0,
    reasoning_tokens: int = 0,
) -> Usage:
    """What one answered call took, and what it cost.

    Args:
        config: The model. Its own price wins over the list price, whatever the provider's cache held.
        prompt_tokens: Tokens sent, all of them.
        completion_tokens: Tokens received, those of reasoning included.
        cached_tokens: Those sent that the provider found in its cache.
        written_tokens: Those sent that it put into its cache at a price.
        reasoning_tokens: Those received that are reasoning.
    """
    if config.price_per_million is None:
        cost = cost_usd(
            config.model,
            prompt_tokens,
            completion_tokens,
            cached_tokens=cached_tokens,
            written_tokens=written_tokens,
        )
    else:
        sent, received = config.price_per_million
        cost = (sent * prompt_tokens + received * completion_tokens) / _MILLION
    return Usage(
        lm_calls=1,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=reasoning_tokens,
        cost_usd=cost,
        models=(config.model,),
    )


def count_in(counts: Any, *names: str) -> int:
    """A count in an answer's usage; 0 if it is not told.

    Args:
        counts: The usage, with parts that may be missing or null.
        *names: The way to the count.

    Raises:
        TypeError, AttributeError, ValueError: If something else is there.
    """
    for name in names:
        counts = counts.get(name) if counts is not None else None
    return int(counts or 0)


def answered(response: LMResponse, *, seconds: float = 0.0, retries: int = 0) -> LMResponse:
    """The response with the time and the attempts that it took added to its usage.

    Args:
        response: What the provider answered.
        seconds: Time from sending the request to the end of the answer.
        retries: Attempts that failed before.
    """
    usage = response.usage.model_copy(
        update={
            "latency_seconds": round(response.usage.latency_seconds + seconds, 6),
            "retries": response.usage.retries + retries,
        }
    )
    return response.model_copy(update={"usage": usage})

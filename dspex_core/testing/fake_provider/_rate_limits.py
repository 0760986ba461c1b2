"""Limits of requests and tokens a minute, and the headers that tell clients about them."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

_MINUTE_SECONDS = 60.0


class Bucket:
    """A token bucket: full at first, it refills evenly over a minute.

    Args:
        per_minute: What it holds, and what flows in within a minute.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = -math.inf

    def wait_seconds(self, amount: int, now: float) -> float:
        """How long until that much can be taken; more than it holds takes a full one."""
        self._refill(now)
        lacking = min(amount, self.per_minute) - self._level
        return max(0.0, lacking * _MINUTE_SECONDS / self.per_minute)

    def take(self, amount: int) -> None:
        """Take that much out."""
        self._level = max(0.0, self._level - amount)

    def remaining(self, now: float) -> int:
        """What can be taken at once."""
        self._refill(now)
        return int(self._level)

    def reset_seconds(self, now: float) -> float:
        """How long until it is full again."""
        self._refill(now)
        return (self.per_minute - self._level) * _MINUTE_SECONDS / self.per_minute

    def _refill(self, now: float) -> None:
        inflow = (now - self._at) * self.per_minute / _MINUTE_SECONDS
        self._level = min(float(self.per_minute), self._level + inflow)
        self._at = now


class RateLimits:
    """Both limits of one provider. Belongs to one event loop.

    Args:
        requests_per_minute: None sets no limit.
        tokens_per_minute: The same.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self.set(requests_per_minute, tokens_per_minute)

    def set(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        """Begin anew with other limits."""
        limits = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._buckets = {name: Bucket(limit) for name, limit in limits.items() if limit is not None}

    def admit(self, tokens: int, now: float) -> float | None:
        """Take a request in; or say for how many seconds it is one too many."""
        amounts = {"requests": 1, "tokens": tokens}
        wait = max((bucket.wait_seconds(amounts[name], now) for name, bucket in self._buckets.items()), default=0.0)
        if wait:
            return wait
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name])
        return None

    def openai_headers(self, now: float) -> Iterator[tuple[str, str]]:
        """What OpenAI's API says of them."""
        for name, bucket in self._buckets.items():
            yield f"x-ratelimit-limit-{name}", str(bucket.per_minute)
            yield f"x-ratelimit-remaining-{name}", str(bucket.remaining(now))
            yield f"x-ratelimit-reset-{name}", _duration(bucket.reset_seconds(now))

    def anthropic_headers(self, now: float) -> Iterator[tuple[str, str]]:
        """What Anthropic's API says of them."""
        for name, bucket in self._buckets.items():
            reset = datetime.now(UTC) + timedelta(seconds=bucket.reset_seconds(now))
            yield f"anthropic-ratelimit-{name}-limit", str(bucket.per_minute)
            yield f"anthropic-ratelimit-{name}-remaining", str(bucket.remaining(now))
            yield f"anthropic-ratelimit-{name}-reset", reset.isoformat(timespec="seconds").replace("+00:00", "Z")


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `6m0s`, `1.5s`, `12ms`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), _MINUTE_SECONDS)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"

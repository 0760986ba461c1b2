import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LIMITED = ("requests", "tokens", "input-tokens", "output-tokens")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


class Rate:
    """So many a minute, spread evenly: a bucket that fills steadily and holds what a second brings.

    Args:
        per_minute: How many.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, self._per_second)
        self._held = self._most
        self._filled_at = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Seconds until this many may be taken; 0 for at once. More than the bucket holds is let go at a full one."""
        missing = min(amount, self._most) - self._held_at(now)
        return missing / self._per_second if missing > 1e-9 else 0.0  # noqa: PLR2004 - what rounding may leave

    def take(self, now: float, amount: float) -> None:
        """Take this many; the bucket may owe some afterwards. A negative amount gives back."""
        self._held = min(self._most, self._held_at(now) - amount)
        self._filled_at = now

    def _held_at(self, now: float) -> float:
        return min(self._most, self._held + (now - self._filled_at) * self._per_second)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).

    Dates are of the server's clock, and so are compared with the answer's own `Date` where it has one.
    """
    header = headers.get("retry-after")
    # OpenAI and Azure say it more precisely as well.
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000)
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - _sent_at(headers)).total_seconds())
    except (ValueError, TypeError):
        return None


def exhausted_for(headers: Mapping[str, str]) -> float:
    """Seconds until a limit that the headers call used up is lifted; 0 if there is none.

    Read are OpenAI's `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (such as "6m0s"), which many
    compatible servers send, and Anthropic's `anthropic-ratelimit-requests-remaining` and `…-reset` (a date, RFC 3339).
    """
    waits = [0.0]
    for what in _LIMITED:
        for remaining, reset in (
            (f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}"),
            (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset"),
        ):
            if headers.get(remaining) == "0":
                waits.append(_reset_seconds(headers.get(reset, ""), headers))
    return max(waits)


def _sent_at(headers: Mapping[str, str]) -> datetime:
    try:
        sent_at = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return datetime.now(UTC)
    return sent_at if sent_at.tzinfo else sent_at.replace(tzinfo=UTC)


def _reset_seconds(text: str, headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    if "T" in text:
        try:
            moment = datetime.fromisoformat(text)
            return max(0.0, (moment - _sent_at(headers)).total_seconds())
        except (ValueError, TypeError):
            return 0.0
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))

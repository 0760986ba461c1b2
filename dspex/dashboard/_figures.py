"""Numbers and times as a person reads them."""

from datetime import datetime

NOTHING = "\N{EN DASH}"
"""Stands for what is not known yet."""


def percent(score: float | None) -> str:
    """A score."""
    return "" if score is None else f"{score:.2f} %"


def dollars(cost_usd: float | None) -> str:
    """A cost."""
    return "unknown" if cost_usd is None else f"${cost_usd:,.4f}"


def duration(seconds: float) -> str:
    """A length of time."""
    whole = int(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def moment(iso: str) -> str:
    """A time, in the time zone of the machine that serves the page."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")

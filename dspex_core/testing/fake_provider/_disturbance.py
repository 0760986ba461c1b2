"""What a fault does to a stream that has begun."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dspex_core.testing.fake_provider._exchange import Exchange


@dataclass(frozen=True)
class Stall:
    """Nothing is sent for so long."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The stream ends here: in order, as if it were whole, or with its connection."""

    in_order: bool


Step = bytes | Stall | Cut


def disturbed(exchange: Exchange, events: Sequence[bytes], fault: str, *, stall_seconds: float) -> Iterator[Step]:
    """The events of a stream with a fault among them, at a place that the request's content decides."""
    at = 1 + exchange.content[1] % max(1, len(events) - 2)
    if events[at].startswith(b"event: ping"):
        at += 1
    yield from events[:at]
    if fault == "slow":
        yield Stall(stall_seconds)
        yield from events[at:]
    elif fault == "malformed":
        yield _halved(events[at])
        yield from events[at + 1 :]
    elif fault == "error":
        yield exchange.stream_error(at)
        yield Cut(in_order=True)
    else:
        yield Cut(in_order=bool(exchange.content[0] % 2))


def _halved(event: bytes) -> bytes:
    """An event whose JSON stops in the middle."""
    head, mark, data = event.partition(b"data: ")
    text = data.decode().strip()
    return head + mark + text[: len(text) // 2].encode() + b"\n\n"

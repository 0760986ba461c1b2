import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dspex_core.errors import UnknownNameError

FAULT_KINDS = ("429", "500", "overloaded", "drop", "malformed", "slow", "cut", "error")
"""429 and 500: those statuses. overloaded: 503, and 529 of Anthropic's API. drop: the connection is closed without an
answer. malformed: status 200 with a body that is no answer. slow: the right answer, late. cut: the answer ends in its
middle. error: a stream ends with an error event. To a stream, malformed and slow happen in its middle as well."""

_STREAMS_ONLY = "error"
_MOST_IN_A_ROW = 3


@dataclass
class _History:
    attempts: int = 0
    streak: int = 0


@dataclass
class FaultPlan:
    """Decides which attempts meet which fault.

    The decision comes from the seed, the request's content and how many times this content has been asked before, so
    it is the same in every run, whatever the order in which requests arrive. One content meets at most three faults in
    a row: a client that tries four times gets through.

    Args:
        seed: Another seed, other faults.
        rate: The share of attempts that meet a fault, 0 to 1.
        kinds: What they meet, each as likely; names of `FAULT_KINDS`.
    """

    seed: int
    rate: float
    kinds: Sequence[str]
    _histories: dict[bytes, _History] = field(default_factory=dict[bytes, _History], init=False)

    def next_fault(self, content: bytes, *, stream: bool = False) -> str | None:
        """The fault that this attempt at the content meets; counts the attempt."""
        kinds = [kind for kind in self.kinds if stream or kind != _STREAMS_ONLY]
        if not self.rate or not kinds:
            return None
        history = self._histories.setdefault(content, _History())
        drawn, kind = self._draw(content, history.attempts, kinds)
        faulty = drawn < self.rate and history.streak < _MOST_IN_A_ROW
        history.attempts += 1
        history.streak = history.streak + 1 if faulty else 0
        return kind if faulty else None

    def forget(self) -> None:
        """Count attempts from zero again."""
        self._histories.clear()

    def _draw(self, content: bytes, attempt: int, kinds: Sequence[str]) -> tuple[float, str]:
        drawn = hashlib.blake2b(content + f"|{self.seed}|{attempt}".encode(), digest_size=12).digest()
        return int.from_bytes(drawn[:8]) / 2**64, kinds[int.from_bytes(drawn[8:]) % len(kinds)]


def known_fault_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """Check the kinds' names.

    Args:
        kinds: Names, or one text with commas.

    Raises:
        UnknownNameError: A name is not in `FAULT_KINDS`; names the nearest that is.
    """
    names = kinds.split(",") if isinstance(kinds, str) else kinds
    found = tuple(name.strip() for name in names if name.strip())
    for name in found:
        if name not in FAULT_KINDS:
            raise UnknownNameError("fault kind", name, FAULT_KINDS)
    return found

from collections.abc import Callable
from typing import Literal

FAILURES = 10
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Decides when a provider that fails is left alone, and when it is tried again.

    It opens after ten failures with no answer between them. After a pause it is half open: one call, the probe, is let
    through. An answer closes it; a failure opens it again for twice as long, up to 15 seconds. (Nygard, "Release It!",
    2nd edition, section 5.5.) docs/design says why no library does this here.

    Not safe for threads: its owner holds a lock and passes the time, in seconds of any clock that only rises.

    Args:
        on_change: Told every new state, the seconds until an open one lets a call through, and the failure that
            opened it.
    """

    def __init__(self, on_change: Callable[[BreakerState, float, str], None] | None = None) -> None:
        self._on_change = on_change
        self.state: BreakerState = "closed"
        self.broken_since = 0.0
        self.reason = ""
        self.tries_again_at = 0.0
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._probing = False

    def wait(self, now: float) -> float | None:
        """Seconds until a call may be sent; 0 for now; None if it depends on the probe that is under way."""
        if self.state == "closed":
            return 0.0
        if self._probing:
            return None
        return max(0.0, self.tries_again_at - now)

    def sends(self, now: float) -> bool:
        """A call is sent now, as `wait` allows; gives whether it is the probe."""
        if self.state == "closed":
            return False
        self._probing = True
        self._turn("half_open")
        return True

    def answered(self, *, probe: bool) -> None:
        """The provider answered, be it with a refusal: it works. What it was asked before it broke says nothing."""
        if probe:
            self._probing = False
            self._pause = FIRST_PAUSE_SECONDS
            self._turn("closed")
        if self.state == "closed":
            self._failures = 0

    def failed(self, now: float, reason: str, *, probe: bool) -> None:
        """A call failed by the provider's fault. Calls that were under way when it opened change nothing."""
        if probe:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._open(now, reason)
        elif self.state == "closed":
            self._failures += 1
            if self._failures >= FAILURES:
                self.broken_since = now
                self._open(now, reason)

    def abandoned(self, *, probe: bool) -> None:
        """A call was given up by its caller; if it was the probe, the next call is."""
        if probe:
            self._probing = False

    def _open(self, now: float, reason: str) -> None:
        self._probing = False
        self.tries_again_at, self.reason = now + self._pause, reason
        self._turn("open", self._pause, reason)

    def _turn(self, state: BreakerState, pause: float = 0.0, reason: str = "") -> None:
        if state != self.state:
            self.state = state
            if self._on_change is not None:
                self._on_change(state, pause, reason)

import asyncio
import math
from collections.abc import Callable

from temporalio import workflow

from dspex_core.budget import Limits, tokens_of
from dspex_core.usage import Usage

_AMPLE = 4
"""How many times of what rows took so far on average is lent for others."""


class Ledger:
    """What a run has taken, and what it may still take, which it lends to the work under way.

    Who asks at the same time shares alike, so that no work starves; what work does not need comes back.

    Args:
        limits: What may be taken in all; None for no limit.
        seconds: Time the run has taken so far.
    """

    def __init__(self, limits: Limits | None, *, seconds: Callable[[], float]) -> None:
        self.limits = limits
        self.usage = Usage()
        self._seconds = seconds
        self._lent: list[Limits] = []
        self._asking = 0
        self._rows = 0

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left, and nothing will come back."""
        return self.limits is not None and not self._lent and self._left(self.limits).spent

    async def lend(self, rows: int = 1) -> Limits | None:
        """A share for work on so many rows; none to speak of, if nothing is left: what is known already is free.

        Waits while all is lent to others. Give it back with `settle`.
        """
        if self.limits is None:
            return None
        self._asking += 1
        try:
            await asyncio.sleep(0)  # for others who ask as well
            if self._nothing_to_lend():
                await workflow.wait_condition(lambda: not self._nothing_to_lend())
            share = self._share(self.limits, rows)
        finally:
            self._asking -= 1
        self._lent.append(share)
        return share

    def settle(self, share: Limits | None, usage: Usage, *, rows: int = 0) -> None:
        """Book what work took, and take back what was lent for it."""
        if share is not None:
            self._lent.remove(share)
        self.usage += usage
        self._rows += rows

    def _left(self, limits: Limits) -> Limits:
        left = limits.less(self.usage, seconds=self._seconds())
        for share in self._lent:
            left = left.less(
                Usage(lm_calls=share.lm_calls or 0, prompt_tokens=share.tokens or 0, cost_usd=share.usd or 0.0)
            )
        return left

    def _nothing_to_lend(self) -> bool:
        return self.limits is not None and bool(self._lent) and self._left(self.limits).spent

    def _share(self, limits: Limits, rows: int) -> Limits:
        left = self._left(limits)
        return Limits(
            usd=_part(left.usd, self._asking, self._ample(self.usage.cost_usd, rows)),
            lm_calls=_whole(_part(left.lm_calls, self._asking, self._ample(self.usage.lm_calls, rows))),
            tokens=_whole(_part(left.tokens, self._asking, self._ample(tokens_of(self.usage), rows))),
            seconds=left.seconds,
        )

    def _ample(self, taken: float | None, rows: int) -> float:
        """More than so many rows will take, by what others took; without limit while that says nothing."""
        fresh = self.usage.lm_calls / max(1, self.usage.lm_calls + self.usage.cached_calls)
        if not taken or not self._rows or not fresh:
            return math.inf
        return _AMPLE * (rows + 1) * taken / fresh / self._rows


def _part(left: float | None, asking: int, ample: float) -> float | None:
    return None if left is None else min(left / asking, ample)


def _whole(part: float | None) -> int | None:
    return None if part is None else math.ceil(part)

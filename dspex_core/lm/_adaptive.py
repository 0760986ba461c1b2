_FIRST = 32
_TOLERATED = 0.125
_MEMORY = 32
_MOST_PATIENCE = 32


class AdaptiveLimit:
    """How many calls may be in flight: as many as the provider takes, found out by trying, and never above a ceiling.

    Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for
    Congestion Avoidance", 1989; as in TCP, it starts by doubling every round trip). Three things differ, since a call
    that is refused here costs a request and the caller its wait:

    - Right after a rise, one refusal takes the rise back, and the next rise waits twice as long, so that a provider
      with a fixed limit is tried seldom. A rise that is accepted makes the next one sooner and larger.
    - Otherwise refusals are borne up to an eighth of the calls: some providers refuse at random, which fewer calls do
      not cure.
    - A fall ends at what is in flight when the refused calls are gone, which is what the provider took, and at half
      at the lowest. It happens once a round trip: calls that were sent before it do not cause another.

    Not safe for threads: its owner holds a lock.

    Args:
        ceiling: The most that may ever be in flight.
    """

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self.limit = min(ceiling, _FIRST)
        self._doubling = self.limit < ceiling
        self._round = 0
        self._fell_from = 0
        self._rose_from = 0
        self._step = 1
        self._patience = 1
        self._good = 0
        self._refused_share = 0.0

    @property
    def round(self) -> int:
        """The number that a call sent now carries, so that its end can be told from that of a call sent earlier."""
        return self._round

    def answered(self, sent_in: int, *, saturated: bool) -> None:
        """A call was answered.

        Args:
            sent_in: The round it was sent in.
            saturated: Whether as many were in flight as allowed; otherwise a higher limit would change nothing.
        """
        if self._doubling:
            if saturated and self.limit < self._ceiling:
                self.limit += 1
            return
        if sent_in != self._round:
            return
        self._refused_share *= 1 - 1 / _MEMORY
        self._good += 1
        if self._rose_from and self._good >= self.limit:
            self._rose_from, self._patience = 0, 1
            self._step = min(2 * self._step, max(1, self.limit // 4))
        if saturated and self.limit < self._ceiling and self._good >= self.limit * self._patience:
            self._change(min(self._ceiling, self.limit + self._step), rose_from=self.limit)

    def refused(self, sent_in: int, *, in_flight: int) -> None:
        """A call was refused as one too many, or took too long.

        Args:
            sent_in: The round it was sent in.
            in_flight: Calls still in flight without it.
        """
        if self._doubling:
            self._doubling = False
            self._fall(in_flight)
        elif sent_in < self._round:
            if self._fell_from:
                self.limit = max(1, self._fell_from // 2, min(self.limit, in_flight))
        elif self._rose_from:
            self._patience, self._step = min(2 * self._patience, _MOST_PATIENCE), 1
            self._change(self._rose_from)
        else:
            self._refused_share += (1 - self._refused_share) / _MEMORY
            if self._refused_share > _TOLERATED:
                self._patience, self._step = 1, 1
                self._fall(in_flight)

    def _fall(self, in_flight: int) -> None:
        fell_from = self.limit
        self._change(max(1, fell_from // 2, min(fell_from - 1, in_flight)), fell_from=fell_from)

    def _change(self, limit: int, *, rose_from: int = 0, fell_from: int = 0) -> None:
        self.limit = limit
        self._rose_from, self._fell_from = rose_from, fell_from
        self._round += 1
        self._good, self._refused_share = 0, 0.0

import heapq
import random

import pytest

from dspex_core.lm._adaptive import AdaptiveLimit

ROUND_TRIP = 0.05
REFUSED_AFTER = 0.001


class Simulated:
    """A provider that takes so many calls at a time, and refuses others at once, in simulated time."""

    def __init__(self, *, ceiling, capacity, refused_at_random=0.0):
        self.limit = AdaptiveLimit(ceiling)
        self.capacity = capacity
        self.refused_at_random = refused_at_random
        self.answered_at = []
        self.requests = 0
        self._random = random.Random(1)
        self._happening = []
        self._waiting = self._in_flight = self._at_provider = 0

    def run(self, calls):
        self._waiting = calls
        self._send(0.0)
        while self._happening:
            now, _, what, sent_in = heapq.heappop(self._happening)
            if what == "comes again":
                self._waiting += 1
            else:
                self._end(now, what, sent_in)
            self._send(now)
        return self

    def per_second(self, start, end):
        return sum(start <= at < end for at in self.answered_at) / (end - start)

    @property
    def wasted(self):
        return 1 - len(self.answered_at) / self.requests

    def _end(self, now, what, sent_in):
        saturated = self._in_flight >= self.limit.limit
        self._in_flight -= 1
        if what != "over capacity":
            self._at_provider -= 1
        if what == "answered":
            self.answered_at.append(now)
            self.limit.answered(sent_in, saturated=saturated)
        else:
            self.limit.refused(sent_in, in_flight=self._in_flight)
            self._happens(now + 1 + self._random.random() / 2, "comes again", 0)

    def _send(self, now):
        while self._waiting and self._in_flight < self.limit.limit:
            self._waiting -= 1
            self._in_flight += 1
            self.requests += 1
            if self._at_provider >= self.capacity(now):
                self._happens(now + REFUSED_AFTER, "over capacity", self.limit.round)
                continue
            self._at_provider += 1
            refused = self._random.random() < self.refused_at_random
            took = ROUND_TRIP * self._random.uniform(0.95, 1.05)
            self._happens(now + took, "refused" if refused else "answered", self.limit.round)

    def _happens(self, at, what, sent_in):
        heapq.heappush(self._happening, (at, len(self._happening) + self.requests * 1000, what, sent_in))


@pytest.mark.parametrize("ceiling", [64, 256])
@pytest.mark.parametrize("capacity", [5, 20, 50])
def test_it_settles_at_what_the_provider_takes_and_wastes_few_requests(ceiling, capacity):
    simulated = Simulated(ceiling=ceiling, capacity=lambda _: capacity).run(max(2000, capacity * 200))
    assert simulated.per_second(2, 8) >= 0.9 * capacity / ROUND_TRIP
    assert simulated.wasted < 0.05


def test_it_follows_a_limit_that_rises_and_one_that_falls():
    simulated = Simulated(ceiling=64, capacity=lambda now: 20 if now < 4 or now >= 8 else 40).run(7000)
    assert simulated.per_second(2, 4) >= 0.9 * 20 / ROUND_TRIP
    assert simulated.per_second(6, 8) >= 0.9 * 40 / ROUND_TRIP
    assert simulated.per_second(9, 10) >= 0.9 * 20 / ROUND_TRIP
    assert simulated.wasted < 0.05


def test_it_reaches_its_ceiling_in_a_few_round_trips_and_never_exceeds_it():
    simulated = Simulated(ceiling=256, capacity=lambda _: 10_000).run(5000)
    assert simulated.limit.limit == 256
    assert simulated.per_second(5 * ROUND_TRIP, 15 * ROUND_TRIP) >= 0.95 * 256 / ROUND_TRIP
    assert simulated.wasted == 0


def test_a_few_refusals_at_random_hardly_slow_it_down():
    simulated = Simulated(ceiling=16, capacity=lambda _: 10_000, refused_at_random=0.025).run(4000)
    assert simulated.per_second(1, 10) >= 0.85 * 16 / ROUND_TRIP


def test_it_rises_only_if_more_calls_wait_than_may_be_in_flight():
    limit = AdaptiveLimit(64)
    for _ in range(1000):
        limit.answered(limit.round, saturated=False)
    assert limit.limit == 32


def test_many_refusals_of_one_round_trip_lower_it_to_half_at_most():
    limit = AdaptiveLimit(16)
    sent_in = limit.round
    for in_flight in reversed(range(16)):
        limit.refused(sent_in, in_flight=in_flight)
    assert limit.limit == 8

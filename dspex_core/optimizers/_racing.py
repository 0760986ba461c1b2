import math
import random
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import NormalDist

from dspex_core.usage import Usage

LOOKS = 5
"""Times that a race looks who may stay; each has its share of the risk."""
FEWEST_ROWS = 8
"""Rows of a block at least, so that there is work enough to do side by side, and something to judge by."""
TELLING_FIRST = 2.0
"""How many times as soon rows come that told candidates apart before."""

_SCALE = 1_000_000_000
"""Sums are of whole numbers, which no order of adding changes."""

Scores = Mapping[int, float]
"""What a candidate scored, by row."""

Known = Callable[[str, Sequence[int]], Scores]
"""What somebody scored on some rows."""


@dataclass(frozen=True)
class Racing:
    """How candidates race: each is scored block by block, and stopped once it can hardly win.

        class Draws(RacingOptimizer):
            name = "draws"

            async def search(self, search):
                proposals = [Proposal(await labeled(search, draw), f"draw {draw}") for draw in range(9)]
                await search.evaluate_all(proposals, phase="scoring draws", racing=self.race)
                return proposals[0].state

    Attributes:
        confidence: How sure it is, for each candidate, that one that would win is not stopped; 1.0 stops only those
            that cannot win any more.
        seed: Decides the order of rows.
        places: How many of a race are wanted, if not whoever may win: then the better half alone goes on after each
            block, as many at least.
    """

    confidence: float = 0.9
    seed: int = 0
    places: int | None = None


@dataclass(frozen=True)
class Heat:
    """What a proposal is scored on: the rows it was entered for or, once it is over, those that it was scored on.

    Attributes:
        rows: The rows.
        estimate: Percent it would probably have come to, if it was stopped.
        usage: What its blocks took.
    """

    rows: tuple[int, ...]
    estimate: float | None = None
    usage: Usage = field(default_factory=Usage)


Blocks = Sequence[tuple[str, list[int]]]
"""Who is to be scored on which rows."""


class Race:
    """Candidates scored on the same rows, block by block, until one is left or all rows are scored.

    The rows' order is random, drawn within two groups: those on which candidates of the run scored differently, which
    come sooner, and the rest. After each block a candidate is compared, row by row, with whoever leads: what is known
    of the difference, and what it will probably come to on the rows that are not scored yet. It is stopped

    - if it cannot score higher than the best that was scored on all rows, even with full marks from now on, or
    - if the upper end of the interval of what it gains on the leader is below zero: a normal interval for a sample
      drawn without replacement from each group, with a risk of (1 - confidence) shared among all looks, or
    - if only so many places are to be had, and it is not among the better half after a block.

    Rows that a program failed on count 0, as they do in the score of whoever is scored on all rows.

    Source: Maron and Moore 1994, "Hoeffding Races", with paired differences as in Birattari et al. 2002, "A Racing
    Algorithm for Configuring Metaheuristics"; the interval is that of Cochran 1977, "Sampling Techniques", section 5.3;
    halving is that of Karnin et al. 2013, "Almost Optimal Exploration in Multi-Armed Bandits", section 4.

    Args:
        racing: How sure it must be, and the seed.
        course: Rows to score.
        entrants: Who races, and what is known of each one's scores.
        rivals: Scores of candidates that were scored on all rows, one at least.

    Attributes:
        stopped: Who was stopped, and the percent it would have come to, by estimate.
    """

    def __init__(
        self, racing: Racing, course: Sequence[int], entrants: Mapping[str, Scores], rivals: Sequence[Scores]
    ) -> None:
        self.stopped: dict[str, float] = {}
        self._course = course
        self._groups = _groups(course, rivals)
        self._order = _order(self._groups, random.Random(f"{racing.seed}/race"))  # noqa: S311 - repeatable by design
        self._step = max(FEWEST_ROWS, math.ceil(len(course) / (LOOKS + 1)))
        self._reach = _reach(racing.confidence)
        self._places = racing.places
        self._scores = {name: {row: known[row] for row in course if row in known} for name, known in entrants.items()}
        self._running = list(entrants)
        self._most = max(1.0, *(scores[row] for scores in rivals for row in course))
        self._best = max(rivals, key=self._total)
        self._judge()

    def blocks(self) -> dict[str, list[int]]:
        """The next rows of everyone who is still running; none once it is over."""
        step = len(self._course) if self._is_settled else self._step
        return {name: sorted(self._unseen(name)[:step]) for name in self._running}

    def note(self, found: Mapping[str, Scores]) -> None:
        """Take in what the blocks scored, and stop who can hardly win."""
        for name, scores in found.items():
            self._scores[name].update(scores)
        half = len(self._running) // 2
        self._judge()
        if self._places is not None:
            self._keep(max(self._places, half))

    @property
    def _is_settled(self) -> bool:
        """Whether the places are as good as taken, by those who still run and are ahead of all that were scored."""
        if self._places is None or len(self._running) > self._places:
            return False
        return all(self._deficit(self._scores[name], self._best)[0] < 0 for name in self._running)

    def _keep(self, count: int) -> None:
        behind = {name: self._deficit(self._scores[name], self._best)[0] for name in self._running}
        stay = sorted(self._running, key=behind.__getitem__)[:count]
        for name in self._running:
            if name not in stay:
                self.stopped[name] = self._estimate(name)
        self._running = [name for name in self._running if name in stay]

    def _judge(self) -> None:
        waiting = list[str]()
        for name in self._running:
            if self._unseen(name):
                waiting.append(name)
            elif self._total(self._scores[name]) > self._total(self._best):
                self._best = self._scores[name]
            self._most = max(self._most, *self._scores[name].values(), 1.0)
        leader = self._leader(waiting)
        self._running = list[str]()
        for name in waiting:
            if len(self._scores[name]) >= FEWEST_ROWS and (self._has_lost(name) or self._will_lose(name, leader)):
                self.stopped[name] = self._estimate(name)
            else:
                self._running.append(name)

    def _leader(self, names: Sequence[str]) -> Scores:
        """Who will probably score best, among those who are running and the best that was scored on all rows."""
        leader, lead = self._best, 0.0
        for name in names:
            gain = -self._deficit(self._scores[name], self._best)[0]
            if gain > lead:
                leader, lead = self._scores[name], gain
        return leader

    def _has_lost(self, name: str) -> bool:
        scores = self._scores[name]
        most = _sum(scores.values()) + round(self._most * _SCALE) * (len(self._course) - len(scores))
        return most <= self._total(self._best)

    def _will_lose(self, name: str, leader: Scores) -> bool:
        scores = self._scores[name]
        if scores is leader:
            return False
        deficit, error = self._deficit(scores, leader)
        return deficit - self._reach * error > 0

    def _deficit(self, scores: Scores, leader: Scores) -> tuple[float, float]:
        """By how much, summed over the course, the leader will be ahead, and the standard error of that."""
        deficit = variance = 0.0
        for group in self._groups:
            differences = [leader[row] - scores[row] for row in group if row in scores and row in leader]
            seen, unseen = len(differences), len(group) - len(differences)
            known = math.fsum(differences)
            deficit += known
            if seen and unseen:
                mean = known / seen
                # One difference of 1 more than was seen: a few rows that agree do not prove that all will.
                spread = (math.fsum((difference - mean) ** 2 for difference in differences) + 1) / seen
                deficit += unseen * mean
                variance += unseen**2 * spread * (1 / seen + 1 / unseen)
            else:
                variance += unseen**2
        return deficit, math.sqrt(variance)

    def _estimate(self, name: str) -> float:
        deficit, _ = self._deficit(self._scores[name], self._best)
        expected = self._total(self._best) / _SCALE - deficit
        return round(100 * max(0.0, expected) / len(self._course), 2)

    def _unseen(self, name: str) -> list[int]:
        return [row for row in self._order if row not in self._scores[name]]

    def _total(self, scores: Scores) -> int:
        return _sum(scores[row] for row in self._course)


class Races:
    """Who is to be scored on the same rows races; all races go on side by side, a block at a time.

    Args:
        racing: How sure a race must be, and the seed.
        entries: Who is to be scored on which rows.
        rivals: Scores of candidates that were scored on all rows, one at least.
        known: What somebody scored so far on those of some rows that are known.
    """

    def __init__(
        self, racing: Racing, entries: Sequence[tuple[str, Heat]], rivals: Sequence[Scores], *, known: Known
    ) -> None:
        self._entries = entries
        self._known = known
        fields: dict[tuple[int, ...], dict[str, Scores]] = {}
        for name, heat in entries:
            fields.setdefault(heat.rows, {})[name] = known(name, heat.rows)
        self._races = {rows: Race(racing, rows, entrants, rivals) for rows, entrants in fields.items()}

    async def run(self, score: Callable[[Blocks], Awaitable[Sequence[Usage]]]) -> list[Heat]:
        """Race to the end.

        Args:
            score: Has blocks scored, side by side, and says what each took; asked once at least.

        Returns:
            What each entry was scored on.
        """
        spent = {name: Usage() for name, _ in self._entries}
        first = True
        while (blocks := _blocks(self._races)) or first:
            first = False
            for (name, _), usage in zip(blocks, await score(blocks), strict=True):
                spent[name] += usage
            _note(self._races, self._known)
        return [self._finished(name, heat, spent.pop(name, Usage())) for name, heat in self._entries]

    def imagined(self, guesses: Sequence[Known], course: Sequence[int]) -> Generator[tuple[str, Sequence[int]]]:
        """Who may be scored next, and on which rows, the next ones first; the races stay as they are.

        Args:
            guesses: What somebody scores on each of some rows, by one guess or another.
            course: What those who are not stopped are scored on in the end.
        """
        for rounds in zip_longest(*(self._rounds(guess, course) for guess in guesses), fillvalue=()):
            for blocks in rounds:
                yield from blocks

    def _rounds(self, guess: Known, course: Sequence[int]) -> Generator[Sequence[tuple[str, Sequence[int]]]]:
        races = deepcopy(self._races)
        while blocks := _blocks(races):
            yield blocks
            _note(races, guess)
        stopped = {name for race in races.values() for name in race.stopped}
        yield [(name, course) for name, _ in self._entries if name not in stopped]

    def _finished(self, name: str, heat: Heat, usage: Usage) -> Heat:
        estimate = self._races[heat.rows].stopped.get(name)
        return Heat(heat.rows if estimate is None else tuple(self._known(name, heat.rows)), estimate, usage)


def _blocks(races: Mapping[tuple[int, ...], Race]) -> Blocks:
    return [block for race in races.values() for block in race.blocks().items()]


def _note(races: Mapping[tuple[int, ...], Race], known: Known) -> None:
    for race in races.values():
        race.note({name: known(name, rows) for name, rows in race.blocks().items()})


def _groups(course: Sequence[int], rivals: Sequence[Scores]) -> list[list[int]]:
    """Rows that told candidates apart, and the others; without those that would be empty."""
    telling = [row for row in course if len({scores[row] for scores in rivals}) > 1]
    apart = set(telling)
    quiet = [row for row in course if row not in apart]
    return [group for group in (telling, quiet) if group]


def _order(groups: Sequence[list[int]], rng: random.Random) -> list[int]:
    """Rows of the groups, each in random order, merged so that those of the first come sooner."""
    placed: list[tuple[float, int]] = []
    for place, group in enumerate(groups):
        rng.shuffle(shuffled := list(group))
        pace = 1.0 if place else TELLING_FIRST
        placed += [((at + 0.5) / len(group) / pace, row) for at, row in enumerate(shuffled)]
    return [row for _, row in sorted(placed)]


def _reach(confidence: float) -> float:
    """Standard errors that an interval reaches to one side."""
    risk = (1 - confidence) / LOOKS
    return NormalDist().inv_cdf(1 - risk) if risk else math.inf


def _sum(scores: Iterable[float]) -> int:
    return sum(round(score * _SCALE) for score in scores)

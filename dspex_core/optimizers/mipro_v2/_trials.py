import random
from dataclasses import dataclass, field, replace

from dspex_core.optimizers._racing import Racing
from dspex_core.optimizers._result import Candidate, P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers.mipro_v2._combinations import Choices, Combinations
from dspex_core.optimizers.mipro_v2._schedule import Schedule
from dspex_core.seam import ProgramState, Trial

PHASE = "trying combinations"
SUGGESTED_FOR_RACES = 2
"""Suggestions for each trial of a race, since of those that repeat another of the batch there is nothing to learn."""


@dataclass
class _Tried:
    """A combination, and how its trials went."""

    choices: Choices
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    complete: bool = False

    @property
    def promise(self) -> tuple[bool, float]:
        """What speaks for scoring it on all rows: above all that no race stopped it in all its trials."""
        return any(candidate.estimate is None for candidate in self.candidates), self.mean

    @property
    def mean(self) -> float:
        return sum(candidate.likely_score for candidate in self.candidates) / len(self.candidates)


async def best_combination(
    search: Search[P],
    combinations: Combinations,
    schedule: Schedule,
    *,
    parallel_trials: int,
    seed: int,
    racing: Racing | None = None,
) -> ProgramState:
    """Try combinations that a sampler suggests; score the most promising ones on all rows.

    Trials go out in batches: suggestions for a batch are drawn from what was known before it, so that the order in
    which its trials end decides nothing. The trials of a batch are scored on the same rows, since a difference on the
    same rows says more than one on different rows; a combination suggested twice is then paid for once.

    Trials may race: those of a batch for as many places as full evaluations follow it, and these for one.

    Source: Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model
    Programs", section 3.4 and algorithm 3 (MIPRO).

    Returns:
        The state of the most promising combination.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable by design
    # The sampler begins at random, whatever the program as given scores, so the first batch need not wait for that.
    history = [] if search.valset is None else [Trial(choices=combinations.default, score=0.0)]
    tried: dict[tuple[int, ...], _Tried] = {}
    done = 0
    while done < schedule.trials:
        count = min(parallel_trials, schedule.trials - done)
        wanted = count if racing is None else SUGGESTED_FOR_RACES * count
        suggested = await search.runtime.suggest(combinations.sizes, history, count=wanted, seed=seed)
        batch = suggested if racing is None else _distinct_first(suggested)[:count]
        rows = _drawn(search, schedule, rng)
        proposals = [
            Proposal(combinations.state(choices), combinations.label(choices), parent=0, rows=rows) for choices in batch
        ]
        detail = f"{done + 1} to {done + count} of {schedule.trials}"
        due = schedule.full_evaluations_due(done + count) - schedule.full_evaluations_due(done)
        race = _for_places(racing, None if schedule.minibatch is None else max(1, due))
        candidates = await search.evaluate_all(proposals, phase=PHASE, detail=detail, racing=race)
        if not done:
            history = [Trial(choices=combinations.default, score=each.score) for each in search.candidates[:1]]
            tried = _scored_already(search, combinations)
        for choices, candidate in zip(batch, candidates, strict=True):
            history.append(Trial(choices=choices, score=candidate.likely_score))
            one = tried.setdefault(_key(choices), _Tried(choices))
            one.candidates.append(candidate)
            one.complete = one.complete or candidate.rows is None or schedule.minibatch is None
        history += await _completed(search, combinations, list(tried.values()), due, racing)
        done += count
    return combinations.state(max(tried.values(), key=lambda one: one.mean).choices)


async def _completed(
    search: Search[P], combinations: Combinations, tried: list[_Tried], count: int, racing: Racing | None
) -> list[Trial]:
    """Score the combinations of the best means on all rows, so many of those that were not yet."""
    waiting = sorted((one for one in tried if not one.complete), key=lambda one: one.promise, reverse=True)[:count]
    proposals = [
        Proposal(combinations.state(one.choices), combinations.label(one.choices), parent=one.candidates[-1].index)
        for one in waiting
    ]
    detail = " and ".join(proposal.label for proposal in proposals)
    race = _for_places(racing, 1)
    candidates = await search.evaluate_all(proposals, phase="scoring the most promising", detail=detail, racing=race)
    for one in waiting:
        one.complete = True
    return [
        Trial(choices=one.choices, score=candidate.likely_score)
        for one, candidate in zip(waiting, candidates, strict=True)
    ]


def _scored_already(search: Search[P], combinations: Combinations) -> dict[tuple[int, ...], _Tried]:
    """The combination that is the program as given, if there is one: it was scored on all rows."""
    default = combinations.default
    scored = [each for each in search.candidates[:1] if each.state == combinations.state(default)]
    return {_key(default): _Tried(default, [each], complete=True) for each in scored}


def _distinct_first(suggested: list[Choices]) -> list[Choices]:
    return [*{_key(choices): choices for choices in suggested}.values(), *suggested]


def _for_places(racing: Racing | None, places: int | None) -> Racing | None:
    return None if racing is None else replace(racing, places=places)


def _drawn(search: Search[P], schedule: Schedule, rng: random.Random) -> tuple[int, ...] | None:
    return None if schedule.minibatch is None else tuple(sorted(rng.sample(search.val_rows, schedule.minibatch)))


def _key(choices: Choices) -> tuple[int, ...]:
    return tuple(choices.values())

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from dspex_core.optimizers._result import Candidate, P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.optimizers._words import with_instructions
from dspex_core.optimizers.gepa._acceptance import Acceptance
from dspex_core.optimizers.gepa._budget import Budget
from dspex_core.optimizers.gepa._candidate_selector import CandidateSelector
from dspex_core.optimizers.gepa._component_selector import ComponentSelector
from dspex_core.optimizers.gepa._merge import Merge, Merger
from dspex_core.optimizers.gepa._pool import Member, Pool
from dspex_core.optimizers.gepa._reflection import improved_instruction, run_of
from dspex_core.optimizers.gepa._sampler import Sampler
from dspex_core.seam import LMConfig, ProgramState, RowTrace, percent


@dataclass(frozen=True)
class Strategies:
    """The decisions of a run, each replaceable.

    Attributes:
        sampler: Which training rows a proposal is made from.
        candidates: Which candidate is changed.
        components: Which of its predictors.
        acceptance: Which proposals are scored on all validation rows.
        merger: Which candidates are merged, and when.
    """

    sampler: Sampler
    candidates: CandidateSelector
    components: ComponentSelector
    acceptance: Acceptance
    merger: Merger


@dataclass(frozen=True)
class Rules:
    """What holds for a whole run.

    Attributes:
        budget: Metric calls it may make.
        parallel_proposals: Proposals made side by side.
        reflection_lm: The model that reflects; None for the one in force.
        perfect_score: What the metric gives at best.
        skip_perfect_score: Whether nothing is learnt from runs that are all perfect.
    """

    budget: Budget
    parallel_proposals: int
    reflection_lm: LMConfig | None
    perfect_score: float
    skip_perfect_score: bool


@dataclass(frozen=True)
class _Draft:
    """A proposal to be made: from which member, which rows of training and for which predictors."""

    number: int
    parent: Member
    rows: tuple[int, ...]
    predictors: tuple[str, ...]


@dataclass(frozen=True)
class _Mutation:
    """A proposal made, with the scores on the minibatch of its parent and of its own."""

    draft: _Draft
    state: ProgramState
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def gain(self) -> float:
        return math.fsum(self.after) - math.fsum(self.before)


class Evolution(Generic[P]):
    """A run: a pool of candidates that grows by mutations and merges until the budget is spent.

    Rounds of `parallel_proposals` mutations are drawn from the pool as it was before the round, so the order in which
    they end decides nothing.

    Source: Agrawal et al. 2025, "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning", algorithm 1.

    Args:
        search: The compile under way; the program as given is scored.
        strategies: How it decides.
        rules: What holds for the run.
    """

    def __init__(self, search: Search[P], strategies: Strategies, rules: Rules) -> None:
        self.pool = Pool()
        self._search = search
        self._strategies = strategies
        self._rules = rules
        self._tried = 0
        self._add(search.candidates[0], ())

    async def run(self) -> Member:
        """Go on until the budget is spent, or a candidate is perfect on every validation row; returns the best."""
        while not self._is_perfect(self.pool.best.scores):
            merge = self._strategies.merger.propose(self.pool) if self._full_evaluations else None
            if merge is not None:
                await self._try_merge(merge)
                continue
            count = self._rules.budget.affordable(
                self._search.metric_calls, tried=self._tried, wanted=self._rules.parallel_proposals
            )
            if count == 0:
                break
            await self._round(count)
        return self.pool.best

    async def _round(self, count: int) -> None:
        drafts = [self._drafted(number) for number in range(self._tried + 1, self._tried + count + 1)]
        self._search.phase("reflecting", detail=f"{self._tried} proposals so far, {self._spent}")
        self._tried += count
        mutations = await all_of(self._mutated(draft) for draft in drafts)
        await self._score([mutation for mutation in mutations if mutation is not None])

    def _drafted(self, number: int) -> _Draft:
        parent = self._strategies.candidates.select(self.pool)
        predictors = self._strategies.components.select(parent, list(parent.state.predictors))
        return _Draft(number, parent, self._strategies.sampler.sample(), predictors)

    async def _mutated(self, draft: _Draft) -> _Mutation | None:
        """Run the parent on the minibatch, reflect, and run what comes of it on the same rows."""
        traces = await self._search.observe(draft.parent.state, draft.rows)
        before = _scores(traces)
        if self._is_perfect(before):
            return None
        state = await self._reflected(draft, traces)
        if state in self.pool:
            return None
        return _Mutation(draft, state, before, _scores(await self._search.observe(state, draft.rows)))

    async def _reflected(self, draft: _Draft, traces: Sequence[RowTrace]) -> ProgramState:
        state, perfect_score = draft.parent.state, self._rules.perfect_score
        examples = await self._search.runtime.rows(self._search.trainset, draft.rows)

        async def improved(predictor: str) -> str:
            runs = [
                run_of(trace, example, predictor, perfect_score=perfect_score)
                for trace, example in zip(traces, examples, strict=True)
            ]
            present = state.predictors[predictor].instructions
            lm = self._rules.reflection_lm
            return await improved_instruction(self._search, present, runs, lm=lm, sample=draft.number)

        instructions = await all_of(improved(predictor) for predictor in draft.predictors)
        return with_instructions(state, dict(zip(draft.predictors, instructions, strict=True)))

    async def _score(self, mutations: Sequence[_Mutation]) -> None:
        """Score what is accepted on all validation rows, as far as the budget reaches: the greatest gains first."""
        accepted: list[_Mutation] = []
        for mutation in mutations:
            known = any(mutation.state == other.state for other in accepted)
            if not known and self._strategies.acceptance.accepts(mutation.before, mutation.after):
                accepted.append(mutation)
        gains = sorted(accepted, key=lambda mutation: (-mutation.gain, mutation.draft.number))
        affordable = gains[: self._full_evaluations]
        accepted = [mutation for mutation in accepted if mutation in affordable]
        proposals = [
            Proposal(mutation.state, _label(mutation.draft), parent=mutation.draft.parent.candidate.index)
            for mutation in accepted
        ]
        candidates = await self._search.evaluate_all(proposals, phase="scoring improvements", detail=self._spent)
        for mutation, candidate in zip(accepted, candidates, strict=True):
            self._add(candidate, (mutation.draft.parent.number,))
            self._strategies.merger.note_accepted()

    async def _try_merge(self, merge: Merge) -> None:
        """Try it on a few validation rows; score it on all if it does no worse there than the better of the two."""
        places, val_rows = merge.rows, self._search.val_rows
        before = max(percent([member.scores[place] for place in places]) for member in (merge.first, merge.second))
        candidate = await self._scored_merge(merge, tuple(val_rows[place] for place in places))
        if candidate.score < before:
            return
        if candidate.rows is not None:
            candidate = await self._scored_merge(merge, None)
        self._add(candidate, (merge.first.number, merge.second.number))
        self._strategies.merger.note_merged()

    async def _scored_merge(self, merge: Merge, rows: tuple[int, ...] | None) -> Candidate:
        first, second = merge.first.candidate.index, merge.second.candidate.index
        label = f"merge of {first} and {second}"
        proposal = Proposal(merge.state, label, parent=first, merged_with=second, rows=rows)
        return (await self._search.evaluate_all([proposal], phase="trying a merge", detail=self._spent))[0]

    def _add(self, candidate: Candidate, parents: tuple[int, ...]) -> None:
        self.pool.add(candidate, self._search.scores(candidate.state), parents)

    def _is_perfect(self, scores: Sequence[float]) -> bool:
        return self._rules.skip_perfect_score and all(score >= self._rules.perfect_score for score in scores)

    @property
    def _full_evaluations(self) -> int:
        return self._rules.budget.full_evaluations(self._search.metric_calls)

    @property
    def _spent(self) -> str:
        return f"{self._search.metric_calls} of {self._rules.budget.metric_calls} metric calls made"


def _scores(traces: Sequence[RowTrace]) -> tuple[float, ...]:
    return tuple(trace.score or 0.0 for trace in traces)


def _label(draft: _Draft) -> str:
    named = "" if len(draft.parent.state.predictors) == 1 else f" of {', '.join(draft.predictors)}"
    return f"reflection {draft.number}{named}"

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, quantiles
from typing import Any, ClassVar, Literal

from pydantic import Field

from dspex_core.errors import AdapterParseError, DatasetError, LMContextLengthError
from dspex_core.modules import Predict
from dspex_core.optimizers._base import LMOption, RacingOptimizer
from dspex_core.optimizers._result import P, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.optimizers._words import program_in_words, with_instructions
from dspex_core.seam import Dataset, Program, ProgramState, RowTrace
from dspex_core.signature import InputField, OutputField, Signature

Strategy = Literal["demo", "rule"]

DEMOS_WITHOUT_LIMIT = 3
"""Stands for `max_demos` in the number of demos to drop, where no demos are to be added."""


class CompareRuns(Signature):
    """A program ran on one input more than once, and one run was judged better than another.

    Find out which step made the difference. Then advise the steps for inputs like this one: say how to recognise them
    and what to do, or not to do. The steps will see your advice, and none of these runs; so name what matters, and
    leave out what everybody knows. A step that needs no advice gets none.
    """

    program: str = InputField(desc="every step of the program, with its instruction")
    row: str = InputField(desc="the input, and what is known about the right answer, as JSON")
    worse_run: str = InputField(desc="what each step saw and said in the worse run, with the verdict on it")
    better_run: str = InputField(desc="the same of the better run")
    steps: list[str] = InputField(desc="the names of the steps that can be advised")
    discussion: str = OutputField(desc="where the runs part, and why one is better")
    advice: dict[str, str] = OutputField(desc="a step's name, and the advice for it")


@dataclass(frozen=True)
class _Member:
    """A program of the pool, with its mean score on the batch it was made from; the student's is 0, as in DSPy."""

    state: ProgramState
    score: float = 0.0


@dataclass(frozen=True)
class _Bucket:
    """Runs of one row, the best first."""

    row: int
    runs: list[RowTrace]

    @property
    def telling(self) -> tuple[float, float, float]:
        """How much may be learnt from it: best to worst, best, best to mean."""
        scores = [score_of(run) for run in self.runs]
        return scores[0] - scores[-1], scores[0], scores[0] - fmean(scores)


@dataclass(frozen=True)
class _Draft:
    """What is to be made of a bucket: the program to begin with, and how to change it."""

    bucket: _Bucket
    state: ProgramState
    strategy: Strategy


class SIMBA(RacingOptimizer):
    """Stochastic introspective mini-batch ascent: finds rows on which runs differ, and learns from the difference.

        optimizer = SIMBA(metric="exact_match", bsize=min(32, len(trainset)), max_steps=4)
        best = await optimizer.compile(triage, trainset=trainset, valset=valset)

    Each step samples runs of programs of the pool on a batch of training rows. Of the rows whose runs differ most, new
    programs are made: one of the pool, some demos dropped, with the best run as a demo or with advice that a model
    draws from the best run and the worst. They are tried on the batch and join the pool. The best of some steps are
    then scored on all validation rows.

    Attributes:
        bsize: Training rows in a batch.
        num_candidates: Runs sampled of each row; new programs a step, but for one; finalists at most.
        max_steps: Steps.
        max_demos: Demos of a predictor from which on some are dropped; 0 adds none, and only advises.
        prompt_model: The model that advises; None for the one in force.
        demo_input_field_maxlen: Characters that a text of a demo may have, unless the program gave it as its answer.
        num_threads: Has no effect: as many rows run at once as the LM's `concurrency` allows. Taken because DSPy's has
            it.
        temperature_for_sampling: How freely programs are drawn for runs; the lower, the more the best is preferred.
        temperature_for_candidates: The same for the programs that new ones are made from.

    If a teacher's model is given, it does the first of each row's runs.

    Source: DSPy 3's optimizer of that name, which has no paper. Differently from it, a program that is in the pool
    already is not tried again, and its place goes to the next row. Without a validation set, the training rows score.
    """

    name: ClassVar[str] = "simba"

    bsize: int = Field(default=32, ge=2)
    num_candidates: int = Field(default=6, ge=1)
    max_steps: int = Field(default=8, ge=1)
    max_demos: int = Field(default=4, ge=0)
    prompt_model: LMOption = None
    demo_input_field_maxlen: int = Field(default=100_000, ge=1)
    num_threads: int | None = None
    temperature_for_sampling: float = Field(default=0.2, gt=0)
    temperature_for_candidates: float = Field(default=0.2, gt=0)

    def divided(self, trainset: Dataset, valset: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """Without a validation set, the training rows."""
        return trainset, trainset if valset is None else valset

    def check(
        self, student: Program, trainset: Dataset, valset: Dataset | None, teacher: Program | None = None
    ) -> None:
        """Refuse, besides what no search could use, a batch that does not fit. Raises as `compile` does."""
        super().check(student, trainset, valset, teacher)
        if len(trainset) < self.bsize:
            raise DatasetError(
                f"SIMBA: a batch of {self.bsize} rows does not fit a training set of {len(trainset)}; "
                f"set bsize to {len(trainset)} or less"
            )

    async def search(self, search: Search[P]) -> ProgramState:
        """Step by step, sample runs, make programs of what they tell, and try those; then score the best."""
        rng = random.Random(self.seed)  # noqa: S311 - repeatable by design
        pool = [_Member(search.student.get_state())]
        winners = [Proposal(pool[0].state, "the student")]
        batches = _batches(rng, len(search.trainset), self.bsize)
        for step, batch in zip(range(self.max_steps), batches, strict=False):
            search.phase("sampling runs", detail=f"step {step + 1} of {self.max_steps}")
            buckets = await self._sampled(search, pool, batch, rng)
            states = await self._made(search, pool, buckets, rng)
            members = await all_of(_tried(search, state, batch) for state in states)
            if members:
                best = max(members, key=lambda member: member.score)
                winners.append(Proposal(best.state, f"best of step {step + 1}"))
            pool += members
        return await self._finals(search, winners)

    async def _sampled(
        self, search: Search[P], pool: list[_Member], batch: Sequence[int], rng: random.Random
    ) -> list[_Bucket]:
        """Runs of the batch's rows, each row's in a bucket, the most telling first."""
        best = self._best_and_student(pool)
        parts: dict[tuple[int, int], list[int]] = {}
        for sample in range(self.num_candidates):
            for row in batch:
                drawn = _drawn(rng, pool, best, temperature=self.temperature_for_sampling)
                parts.setdefault((sample, drawn), []).append(row)
        found = await all_of(
            search.observe(pool[member].state, rows, rollout=sample + 1, lm=search.teacher_lm if sample == 0 else None)
            for (sample, member), rows in parts.items()
        )
        runs: dict[int, list[RowTrace]] = {row: [] for row in batch}
        for trace in (trace for traces in found for trace in traces):
            runs[trace.row].append(trace)
        buckets = [_Bucket(row, sorted(of_row, key=score_of, reverse=True)) for row, of_row in runs.items()]
        return sorted(buckets, key=lambda bucket: bucket.telling, reverse=True)

    async def _made(
        self, search: Search[P], pool: list[_Member], buckets: list[_Bucket], rng: random.Random
    ) -> list[ProgramState]:
        """New programs, at most one more than `num_candidates`, from the most telling buckets on."""
        low, high = _tenths([score_of(run) for bucket in buckets for run in bucket.runs])
        known, made, rest = [member.state for member in pool], list[ProgramState](), iter(buckets)
        while (missing := self.num_candidates + 1 - len(made)) and (wave := list(islice(rest, missing))):
            drafts = [self._draft(pool, bucket, rng) for bucket in wave]
            states = await all_of(self._carried_out(search, draft, low=low, high=high) for draft in drafts)
            for state in states:
                if state is not None and state not in known and state not in made:
                    made.append(state)
        return made

    def _draft(self, pool: list[_Member], bucket: _Bucket, rng: random.Random) -> _Draft:
        """Draw a program of the pool, demos to drop, and a strategy."""
        drawn = _drawn(rng, pool, self._best_and_student(pool), temperature=self.temperature_for_candidates)
        state = pool[drawn].state
        most = max(len(predictor.demos) for predictor in state.predictors.values())
        limit = self.max_demos or DEMOS_WITHOUT_LIMIT
        count = min(most, max(_poisson(rng, most / limit), int(most >= limit)))
        dropped = {rng.randrange(most) for _ in range(count)}
        demos = {
            name: tuple(demo for at, demo in enumerate(predictor.demos) if at not in dropped)
            for name, predictor in state.predictors.items()
        }
        strategy: Strategy = rng.choice(("demo", "rule")) if self.max_demos else "rule"
        return _Draft(bucket, state.with_demos(demos), strategy)

    async def _carried_out(self, search: Search[P], draft: _Draft, *, low: float, high: float) -> ProgramState | None:
        """The program that a draft is of; None if the adviser's answer could not be had or read."""
        best, worst = score_of(draft.bucket.runs[0]), score_of(draft.bucket.runs[-1])
        if draft.strategy == "demo":
            return draft.state if best <= low else self._shown(draft.state, draft.bucket.runs[0])
        if best <= low or worst >= high:
            return draft.state
        try:
            return await self._advised(search, draft)
        except (AdapterParseError, LMContextLengthError):
            return None

    def _shown(self, state: ProgramState, run: RowTrace) -> ProgramState:
        """The state with the run's last step of every predictor as one more demo."""
        demos = {name: predictor.demos for name, predictor in state.predictors.items()}
        for name, steps in run.demos.items():
            demos[name] = (*demos[name], {field: self._cut(field, value, run) for field, value in steps[-1].items()})
        return state.with_demos(demos)

    def _cut(self, field: str, value: Any, run: RowTrace) -> Any:
        if field in run.outputs or not isinstance(value, str) or len(value) <= self.demo_input_field_maxlen:
            return value
        return f"{value[: self.demo_input_field_maxlen]} … (cut)"

    async def _advised(self, search: Search[P], draft: _Draft) -> ProgramState:
        """The state with advice at the end of the instructions of those predictors that get any."""
        best, worst = draft.bucket.runs[0], draft.bucket.runs[-1]
        names = list(draft.state.predictors)
        [row] = await search.labeled_demos([draft.bucket.row])
        differ = score_of(best) > score_of(worst)
        inputs = {
            "program": program_in_words(draft.state),
            "row": json.dumps(row, ensure_ascii=False),
            "worse_run": _in_words(worst),
            "better_run": _in_words(best) if differ else "none was better",
            "steps": names,
        }
        answer = await search.ask(Predict(CompareRuns), inputs, lm=self.prompt_model)
        advice: dict[str, str] = answer.advice
        told = {name: advice[name].strip() for name in names if advice.get(name, "").strip()}
        instructions = {name: f"{draft.state.predictors[name].instructions}\n\n{text}" for name, text in told.items()}
        return with_instructions(draft.state, instructions)

    async def _finals(self, search: Search[P], winners: list[Proposal]) -> ProgramState:
        """Score winners, spread evenly over the steps, on all validation rows."""
        last = len(winners) - 1
        spread = {round(number * last / self.num_candidates) for number in range(self.num_candidates + 1)}
        finalists = [winners[at] for at in sorted(spread - {0})]
        await search.evaluate_all(finalists, phase="evaluating the best of the steps", racing=self.race)
        return winners[-1].state

    def _best_and_student(self, pool: list[_Member]) -> list[int]:
        """The best of the pool, by index, and the student in any case."""
        best = sorted(range(len(pool)), key=lambda at: pool[at].score, reverse=True)[: self.num_candidates]
        return best if 0 in best else [*best[:-1], 0]


def score_of(run: RowTrace) -> float:
    """A run's score; one that failed scores 0."""
    return run.score or 0.0


async def _tried(search: Search[P], state: ProgramState, batch: Sequence[int]) -> _Member:
    traces = await search.observe(state, batch)
    return _Member(state, fmean(score_of(trace) for trace in traces))


def _batches(rng: random.Random, size: int, bsize: int) -> Iterator[list[int]]:
    """Batches of rows without end; the rows are shuffled anew when the rest makes no whole batch."""
    rows = list(range(size))
    while True:
        rng.shuffle(rows)
        for start in range(0, size - bsize + 1, bsize):
            yield rows[start : start + bsize]


def _drawn(rng: random.Random, pool: list[_Member], among: list[int], *, temperature: float) -> int:
    """One of the pool, by softmax over mean scores."""
    top = max(pool[at].score for at in among)
    weights = [math.exp((pool[at].score - top) / temperature) for at in among]
    return rng.choices(among, weights=weights)[0]


def _poisson(rng: random.Random, mean: float) -> int:
    """Source: Knuth, The Art of Computer Programming, volume 2, section 3.4.1."""
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def _tenths(scores: list[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile."""
    cuts = quantiles(scores, n=10, method="inclusive")
    return cuts[0], cuts[-1]


def _in_words(run: RowTrace) -> str:
    told: dict[str, Any] = {"steps": run.demos, "outputs": run.outputs, "score": run.score}
    told |= {"feedback": run.feedback} if run.feedback else {}
    told |= {"failure": run.failure} if run.failure else {}
    return json.dumps(told, ensure_ascii=False)

import asyncio
from collections.abc import Awaitable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic

from pydantic_core import to_jsonable_python

from dspex_core.errors import EvaluationError
from dspex_core.events import OptimizationStep, PhaseStarted, UsageAdded
from dspex_core.modules import Module
from dspex_core.optimizers._digest import digest_of
from dspex_core.optimizers._entries import Entries
from dspex_core.optimizers._once import Once
from dspex_core.optimizers._racing import Blocks, Heat, Races, Racing
from dspex_core.optimizers._rehearsal import current_rehearsal
from dspex_core.optimizers._result import Candidate, CompileResult, P, Proposal
from dspex_core.optimizers._row_scores import RowScores, Scored
from dspex_core.optimizers._side_by_side import all_of
from dspex_core.record import Prediction
from dspex_core.seam import (
    AdapterConfig,
    Dataset,
    LMConfig,
    MetricLike,
    ProgramState,
    RowTrace,
    Runtime,
    StoredDataset,
    TraceRequest,
    TraceResult,
    metered,
    percent,
    rolled_out,
    scoped_runtime,
)
from dspex_core.usage import Usage


class Search(Generic[P]):
    """One compile under way: what an optimizer may ask for, with the books kept.

        class AsItIs(Optimizer):
            name = "as_it_is"

            async def search(self, search: Search):
                search.phase("scoring the program once more")
                await search.evaluate(search.student.get_state(), "again")
                return search.student.get_state()

    What it offers may be asked for side by side (`asyncio.gather`): candidates are numbered in the order in which they
    were asked for, whichever is done first, and a row's score is found out once for each state.

    Args:
        runtime: Where it runs.
        student: The program to improve.
        trainset: Rows to learn from.
        valset: Rows to score candidates on, or None.
        metric: What scores them.
        teacher: The program whose runs become demos; None for the student itself.
        teacher_lm: The model that the teacher runs on; None for the one in force.

    Attributes:
        val_rows: Indices of the validation rows that candidates are scored on.
        task_lm: The model that candidates run on; None for the one in force.
        candidates: What was scored so far, in order.
        usage: What everything took so far.
        metric_calls: Rows that a program was run and scored on so far.
        steps: How often candidates were scored so far, whether one or several side by side.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        student: P,
        trainset: Dataset,
        valset: Dataset | None,
        metric: MetricLike | None,
        teacher: P | None,
        teacher_lm: LMConfig | None,
    ) -> None:
        self.runtime = runtime
        self.student = student
        self.trainset = trainset
        self.valset = valset
        self.metric = metric
        self.teacher = teacher
        self.teacher_lm = teacher_lm
        self.task_lm: LMConfig | None = None
        self.val_rows: tuple[int, ...] = tuple(range(len(valset))) if valset is not None else ()
        self._entries = Entries(runtime)
        self.candidates: list[Candidate] = self._entries.candidates
        self.usage = Usage()
        self.metric_calls = 0
        self.steps = 0
        self._evaluating = 0
        self._unbooked = Usage()
        self._rows = RowScores(
            runtime, student=student, dataset=valset, metric=metric, lm=lambda: self.task_lm, book=self._book
        )
        self._traces: Once[tuple[str, int, int, LMConfig | None], RowTrace] = Once()
        self._baseline: asyncio.Task[Candidate | None] | None = None
        self._scores_trainset = trainset is valset or (isinstance(trainset, StoredDataset) and trainset == valset)

    def begin(self, label: str) -> Awaitable[Candidate | None]:
        """Start scoring the program as it was given, beside whatever comes next but for other scoring."""
        self._baseline = asyncio.create_task(self.evaluate(self.student.get_state(), label))
        return self._baseline

    async def baseline(self) -> Candidate | None:
        """The program as it was given, once it is scored; None without a validation set."""
        if self._baseline is not None:
            await self._baseline
        return self.candidates[0] if self.candidates else None

    async def evaluate(self, state: ProgramState, label: str, *, parent: int | None = None) -> Candidate | None:
        """Score a state on the validation set and enter it as a candidate; without a validation set, do nothing."""
        candidates = await self.evaluate_all([Proposal(state, label, parent)], phase=f"evaluating {label}")
        return candidates[0] if candidates else None

    async def evaluate_all(
        self, proposals: Sequence[Proposal], *, phase: str, detail: str = "", racing: Racing | None = None
    ) -> list[Candidate]:
        """Score states side by side and enter each as a candidate, in this order; without a validation set, do nothing.

        Args:
            proposals: What to score, and on which rows.
            phase: What this is, for whoever watches; one of few in a run.
            detail: More about it.
            racing: Lets proposals race the best candidate so far, and each other where they have the same rows: one
                that can hardly win is not scored on the rest. None scores each on all. Ask for one race after another.

        Raises:
            LMError: If a model could not be reached. The other evaluations are finished first, so that their answers
                are kept.
            MetricError: If the metric raised or returned no score.
        """
        if self.valset is None or self.metric is None or not proposals:
            return []
        numbered = list(zip(self._entries.numbers(len(proposals)), proposals, strict=True))
        heats = [Heat(self.val_rows if proposal.rows is None else proposal.rows) for proposal in proposals]
        entries = [(self._rows.digest(proposal.state), heat) for proposal, heat in zip(proposals, heats, strict=True)]
        if numbered[0][0] > 0:
            with self._rows.foreseeing(lambda: self._first_rows(entries, racing)):
                await self.baseline()
        racing = racing if self._complete else None
        if racing is None:
            self.phase(phase, detail=detail, rows=sum(len(heat.rows) for heat in heats))
        for index, proposal in numbered:
            told = None if proposal.rows is None else self._told_rows(proposal.rows)
            self._entries.propose(index, proposal, told)
        if racing is not None:
            heats = await self._raced(proposals, entries, racing, phase=phase, detail=detail)
        with self._evaluation():
            found = await all_of([self._evaluate(*each, heat) for each, heat in zip(numbered, heats, strict=True)])
        self._step(found)
        return found

    def scores(self, state: ProgramState, rows: Sequence[int] | None = None) -> tuple[float, ...]:
        """Scores of a state on validation rows, 0.0 to 1.0: on `rows`, in their order, or else on `val_rows`.

        Raises:
            EvaluationError: If the state was not scored on all of them.
        """
        wanted = self.val_rows if rows is None else rows
        known = self._rows.known(digest_of(state), wanted)
        if len(known) < len(set(wanted)):
            raise EvaluationError("the state was not scored on all rows of the validation set")
        return tuple(known[row] for row in wanted)

    async def observe(
        self, state: ProgramState, rows: Sequence[int], *, rollout: int = 0, lm: LMConfig | None = None
    ) -> list[RowTrace]:
        """Run training rows, and keep each one's score, feedback and what every predictor saw and said.

        Rows run and score as in an evaluation; one that this state was run on before is not run again.

        Args:
            state: The program's state.
            rows: Indices into the trainset.
            rollout: Which sample to take; 0 is the ordinary answer, any other is at temperature 1.
            lm: The model to run on; None for the one that candidates run on.
        """
        digest, lm = digest_of(state), lm or self.task_lm

        async def run(keys: list[tuple[str, int, int, LMConfig | None]]) -> list[RowTrace]:
            wanted = tuple(key[1] for key in keys)
            request = TraceRequest(rows=wanted, metric=self.metric, keep="all", rollout=rollout, lm=lm)
            result = await self.trace(self.student.with_state(state), request)
            traces = {trace.row: trace for trace in (*result.accepted, *result.rejected)}
            found = [traces[row] for row in wanted]
            if rollout == 0 and lm == self.task_lm and self._scores_trainset:
                for trace in found:
                    self._rows.note(digest, trace.row, Scored(trace.score or 0.0, failed=trace.failure is not None))
            return found

        return await self._traces.values([(digest, row, rollout, lm) for row in rows], run)

    async def trace(self, program: P, request: TraceRequest) -> TraceResult:
        """Run rows of the training set and keep what each predictor saw and said."""
        result = await self.runtime.trace(program, self.trainset, request)
        self.metric_calls += result.runs
        self.add(result.usage)
        return result

    async def ask(
        self,
        module: Module,
        inputs: Mapping[str, Any],
        *,
        lm: LMConfig | None = None,
        rollout: int = 0,
        temperature: float = 1.0,
    ) -> Prediction:
        """Ask a model something for the search itself, such as a better instruction.

        Args:
            module: What to ask; its predictors need no LM and no adapter of their own.
            inputs: Its inputs.
            lm: The model to ask; None for the one in force.
            rollout: Which sample to take; 0 is the ordinary answer.
            temperature: Temperature of a sample.

        Raises:
            AdapterParseError: If the answer cannot be read.
            LMError: If the model could not be reached.
        """
        state = module.get_state().with_adapter(AdapterConfig())
        asked = module.with_state(state if lm is None else state.with_lm(lm))
        rehearsal = current_rehearsal()
        if rehearsal is not None:
            return rehearsal.answer(asked, inputs)
        with metered() as meter, scoped_runtime(self.runtime), rolled_out(rollout, temperature=temperature):
            try:
                return await asked(**inputs)
            finally:
                self.add(meter.usage)

    async def labeled_demos(self, rows: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """Training rows as demos, in JSON's terms, as a candidate is kept and as a stored data set gives them."""
        examples = await self.runtime.rows(self.trainset, rows)
        return tuple(to_jsonable_python(example.to_dict(), fallback=str) for example in examples)

    def share_scores(self, other: "Search[P]") -> None:
        """Know every score that another search over the same rows and models finds out, and let it know this one's."""
        self._rows.share(other._rows)  # noqa: SLF001 - the same class

    def absorb(self, other: "Search[P]", candidates: Sequence[Candidate]) -> None:
        """Take over what another search took, and its candidates, numbered to follow this one's."""
        self.usage += other.usage
        self.metric_calls += other.metric_calls
        self.steps += other.steps - 1  # the first was about what it began with
        if self.valset is not None:
            self._entries.take_over(candidates)

    def phase(self, name: str, *, detail: str = "", rows: int | None = None) -> None:
        """Tell what comes next, and on how many rows if that is known."""
        if self.runtime.hears("phase_started"):
            self.runtime.emit(PhaseStarted(phase=name, detail=detail, rows=rows))

    def result(self, found: ProgramState) -> CompileResult[P]:
        """The best state's program, and without scores the one found.

        Of equal scores the earlier one wins, as in DSPy; the program as given loses to any.

        Raises:
            EvaluationError: If every row of every candidate failed: there is no winner then.
        """
        self._entries.enter_the_rest()
        complete = self._complete
        if not complete:
            return self._result(found, None)
        if all(candidate.failed == len(self.val_rows) for candidate in complete):
            raise EvaluationError(f"the program failed on every row, before and after; {self._rows.failure}")
        best = max(complete, key=lambda candidate: (candidate.score, candidate.index > 0, -candidate.index))
        return self._result(best.state, best.score)

    def _result(self, state: ProgramState, score: float | None) -> CompileResult[P]:
        scored = score is not None
        return CompileResult(
            program=self.student.with_state(state),
            score=score,
            baseline_score=self.candidates[0].score if self.candidates else None,
            candidates=tuple(self.candidates),
            usage=self.usage,
            scored_rows=self.val_rows if scored else (),
            baseline_scores=self.scores(self.candidates[0].state) if scored else (),
            best_scores=self.scores(state) if scored else (),
        )

    @property
    def _complete(self) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.rows is None]

    async def _raced(
        self,
        proposals: Sequence[Proposal],
        entries: Sequence[tuple[str, Heat]],
        racing: Racing,
        *,
        phase: str,
        detail: str,
    ) -> list[Heat]:
        """Score proposals in races; returns the rows that each was scored on."""
        rivals = [dict(zip(self.val_rows, self.scores(rival.state), strict=True)) for rival in self._complete]
        races = Races(racing, entries, rivals, known=self._rows.known)
        states = dict(zip((name for name, _ in entries), (proposal.state for proposal in proposals), strict=True))

        async def score(blocks: Blocks) -> list[Usage]:
            left = f"{len(blocks)} in the race"
            rows = sum(len(rows) for _, rows in blocks)
            self.phase(phase, detail=f"{detail}, {left}" if detail else left, rows=rows)
            with self._evaluation():
                found = await all_of([self._rows.scored(states[name], rows) for name, rows in blocks])
            return [usage for _, usage in found]

        with self._rows.foreseeing(lambda: races.imagined(self._rows.guesses, self.val_rows)):
            return await races.run(score)

    def _first_rows(
        self, entries: Sequence[tuple[str, Heat]], racing: Racing | None
    ) -> Iterable[tuple[str, Sequence[int]]]:
        """What will probably be scored first, as long as the program as given is not."""
        if racing is None:
            return [(name, heat.rows) for name, heat in entries]
        rival = self._rows.guesses[0](self._rows.digest(self.student.get_state()), self.val_rows)
        races = Races(racing, entries, [rival], known=self._rows.known)
        return races.imagined(self._rows.guesses, self.val_rows)

    async def _evaluate(self, index: int, proposal: Proposal, heat: Heat) -> Candidate:
        scored, usage = await self._rows.scored(proposal.state, heat.rows)
        candidate = Candidate(
            index=index,
            label=proposal.label,
            state=proposal.state,
            score=percent([row.score for row in scored]),
            failed=sum(row.failed for row in scored),
            parent=proposal.parent,
            merged_with=proposal.merged_with,
            rows=self._told_rows(heat.rows),
            estimate=heat.estimate,
            usage=heat.usage + usage,
        )
        self._entries.enter(candidate)
        return candidate

    def _told_rows(self, rows: Sequence[int]) -> int | None:
        """How many rows a candidate is scored on, where that is not all."""
        return None if set(rows) >= set(self.val_rows) else len(rows)

    def _step(self, found: Sequence[Candidate]) -> None:
        self.steps += 1
        if not self.runtime.hears("optimization_step"):
            return
        best = max(found, key=lambda candidate: (candidate.likely_score, candidate.index))
        indices = tuple(candidate.index for candidate in found)
        self.runtime.emit(
            OptimizationStep(step=self.steps, candidates=indices, best=best.index, score=best.likely_score)
        )

    def _book(self, usage: Usage, rows: int) -> None:
        self.metric_calls += rows
        self.usage += usage
        self._unbooked += usage

    async def close(self) -> None:
        """End what was begun early and is not needed."""
        await self._rows.close()

    @contextmanager
    def _evaluation(self) -> Generator[None]:
        """Tell what evaluations took, once none is under way: until then it is part of what their rows tell."""
        self._evaluating += 1
        try:
            yield
        finally:
            self._evaluating -= 1
            if self._evaluating == 0:
                self._tell_usage(self._unbooked)
                self._unbooked = Usage()

    def add(self, usage: Usage) -> None:
        """Count what work took."""
        self.usage += usage
        self._tell_usage(usage)

    def _tell_usage(self, usage: Usage) -> None:
        if self.runtime.hears("usage_added"):
            self.runtime.emit(UsageAdded(usage=usage))

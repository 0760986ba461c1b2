import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from dspex._rooms import workflows
from dspex.client._answers import Answers
from dspex.client._connection import Connection
from dspex.client._legs import seconds_of
from dspex.client._log import RunLog, moment_of
from dspex.client._looks import Looks, beside
from dspex.client._patience import patiently, rpc_error
from dspex.client._starting import COMPILE_TYPES
from dspex.client._status import UNDER_WAY, RunStatus, early_end_in_words, optimizer_of, searchable_status
from dspex.client._trouble import failure_of, how_it_ended, trouble_below, trouble_of
from dspex.client._words import end_at_once, say_to
from dspex.devserver import web_ui_link
from dspex_core.artifacts import DatasetReader
from dspex_core.budget import Budget
from dspex_core.errors import RunConflictError, RunError, RunFailedError
from dspex_core.events import Event, RowsEvaluated, RunFinished
from dspex_core.modules import Module, build_program
from dspex_core.optimizers import CompileResult
from dspex_core.programs import write_whole
from dspex_core.progress import Progress
from dspex_core.reports import ROWS_SHOWN, Reported, fold_facts, report_page

EVALUATIONS_ASKED = 8
"""Evaluations under way that are asked for their rows at once."""
QUERY_SECONDS = 5.0
_WITH_AN_ANSWER = (workflows.PROGRAM_RUN, workflows.EVALUATION)
UNTOUCHED_EVENTS = 2
"""Events in the history of a run that no worker has seen yet: it was started, and a task was scheduled."""
_UNTOUCHED = "no worker has taken it up yet"


class Run(Answers):
    """A durable run: watch it, wait for it, read its result; it goes on whether anyone does or not.

        run = client.get_run("triage-1")
        result = await run.result()
        result.program.save("triage.json")

    Attributes:
        id: Its id, by which any process can find it again.
        web_ui: Its page in Temporal's Web UI, or None if the server's is not known.
        attached: Whether it was under way already when it was to be started.
        resumed: Whether it was started to go on from an earlier run of its id.
    """

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        *,
        program: Module | None = None,
        trust: Collection[str] = (),
        attached: bool = False,
    ) -> None:
        super().__init__(connection, run_id)
        self.web_ui = web_ui_link(connection.server, run_id)
        self.attached = attached
        self.resumed = False
        self._program = program
        self._trust = trust

    async def result(self) -> CompileResult[Module]:
        """Wait for the end.

        Raises:
            RunFailedError: If the run failed or was cancelled; says why.
            RunConflictError: If it is no compile.
            RunNotFoundError: If there is no run of this id.
        """
        output = await self.output()
        program = self._program or build_program(output.program.structure, trust=self._trust)
        return CompileResult(
            program=program.with_state(output.program.state),
            score=output.score,
            baseline_score=output.baseline_score,
            candidates=output.candidates,
            usage=output.usage,
            scored_rows=output.scored_rows,
            baseline_scores=output.baseline_scores,
            best_scores=output.best_scores,
            ended_early=output.ended_early,
            folds=output.folds,
        )

    async def pause(self) -> None:
        """Let the run begin nothing new; what is under way is finished. Said twice, this changes nothing.

        Raises:
            RunConflictError: If the run has ended.
            RunError: If no worker is there to take the word.
        """
        await say_to(self, self._handle, "pause")

    async def resume(self) -> None:
        """Let a run that is paused or parked go on. Raises as `pause` does."""
        await say_to(self, self._handle, "resume")

    async def raise_budget(
        self,
        *,
        usd: float | None = None,
        lm_calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Give the run another limit of these, in all, in place of the one it has; see `Budget`.

        A run that is parked because a limit was reached goes on.

        Raises:
            ConfigurationError: If nothing is limited, or a limit is not positive.
            RunConflictError: If the run has ended, or has taken as much already.
            RunError: If no worker is there to take the word.
        """
        limits = Budget(usd=usd, lm_calls=lm_calls, tokens=tokens, seconds=seconds).limits
        await say_to(self, self._handle, "raise_budget", limits)

    async def cancel(self, *, hard: bool = False) -> None:
        """End the run.

        Args:
            hard: End it at once and without a result; by default it ends with the best it has found so far.

        Raises as `pause` does. A run that was cancelled already stays so, and needs no worker for a hard end.
        """
        await (end_at_once(self, self._handle) if hard else say_to(self, self._handle, "cancel"))

    async def report(self, path: str | Path) -> None:
        """Write what the run found as a page of HTML; see `CompileResult.report`. Needs no code of the program's.

        Raises:
            RunFailedError: If the run failed or was cancelled.
            ArtifactError: If the artifact store cannot be read.
            ProgramError: If the page cannot be written.
        """
        output, status = await self.output(), await self.status()
        pairs = zip(output.scored_rows, output.baseline_scores, output.best_scores, strict=True)
        differing = [row for row, before, after in pairs if before != after][: 2 * ROWS_SHOWN]
        rows: dict[int, dict[str, Any]] = {}
        if output.valset is not None and differing:
            read = await DatasetReader(self._connection.store).read(output.valset, differing)
            rows = dict(zip(differing, read.rows, strict=True))
        page = report_page(
            Reported(
                title=f"{status.optimizer}: {self.id}",
                candidates=output.candidates,
                best=output.program.state,
                baseline_scores=output.baseline_scores,
                best_scores=output.best_scores,
                scored_rows=output.scored_rows,
                usage=output.usage,
                rows=rows,
                facts=[("took", f"{status.seconds:,.0f} s"), *fold_facts([fold.gain for fold in output.folds])],
            )
        )
        write_whole(path, page, what="report")

    async def output(self) -> "workflows.CompileOutput":
        """The result as it was written down, for which no code of the program's is needed. Raises as `result` does."""
        if (there := await self.kind()) not in COMPILE_TYPES:
            hint = f"; `dspex runs watch {self.id}` tells its answer" if there in _WITH_AN_ANSWER else ""
            raise RunConflictError(
                f"run {self.id} is no compile but a run of kind {there}: it has found no program{hint}"
            )
        return await self._output()

    async def _output(self) -> "workflows.CompileOutput":
        handle = self._connection.temporal.get_workflow_handle(self.id, result_type=workflows.CompileOutput)
        try:
            return await patiently(handle.result)
        except WorkflowFailureError as error:
            raise RunFailedError(f"run {self.id} {failure_of(error)}") from None
        except RPCError as error:
            raise rpc_error(error, self.id) from None

    async def status(self) -> RunStatus:
        """Where the run stands, as well as can be known.

        Raises:
            RunNotFoundError: If there is no run of this id.
        """
        try:
            description = await patiently(self._handle.describe)
        except RPCError as error:
            raise rpc_error(error, self.id) from None
        # Its result says whether a run that ended with one was cancelled.
        ended = description.status is WorkflowExecutionStatus.COMPLETED
        status = "completed" if ended else searchable_status(description)
        if status == "running" and description.history_length <= UNTOUCHED_EVENTS:
            status = "queued"
        temporal = self._connection.temporal
        known = RunStatus(
            id=self.id,
            status=status,
            optimizer=optimizer_of(description),
            is_compile=description.workflow_type in COMPILE_TYPES,
            seconds=await seconds_of(temporal, description),
            web_ui=self.web_ui,
        )
        note = await trouble_of(temporal, description)
        found = await self._with_progress(known.model_copy(update={"note": note}))
        if (
            found.status == "running"
            and found.progress is None
            and (below := await trouble_below(temporal, description))
        ):
            return found.model_copy(update={"note": below})
        return found

    async def events(self, *, offset: int = 0, follow: bool = True) -> AsyncGenerator[Event]:
        """What has happened and happens, until the run ends.

        Events of the run's log have an `offset`; they are read from the server alone, during the run and after it.
        While they are awaited, the run is looked at: rows of evaluations under way, and what holds it up, come without
        an offset. Watching adds nothing to the run, and any number may watch.

        Args:
            offset: The first event wanted; one more than that of the last one seen goes on where that was, and nothing
                is lost or told twice.
            follow: Whether to wait for what is to come; otherwise it ends with what is in the log now.

        Raises:
            RunNotFoundError: If there is no run of this id.
            ServerUnavailableError: If the server stays away.
            RunError: If the run tells of something that is not known here.
        """
        log = RunLog(self._connection.temporal, self.id)
        reading = log.events(follow=follow)
        looks = Looks(glance=self._glance, ask=self.status)
        async with aclosing(beside(reading, looks, self.id) if follow else reading) as found:
            async for event in found:
                if event.offset is None or event.offset >= offset:
                    yield event
        if log.ended is not None and log.entries >= offset:
            yield await self._finished(log)

    async def _finished(self, log: RunLog) -> RunFinished:
        status = await self.status()
        return RunFinished(
            run_id=self.id,
            offset=log.entries,
            at=None if log.ended is None else moment_of(log.ended),
            status=cast("Any", status.status),
            score=status.score,
            reason=status.failure,
        )

    async def _glance(self, told: Progress) -> RunStatus:
        """Where the run stands by what its log told and the server says; only evaluations under way are asked."""
        try:
            description = await patiently(self._handle.describe)
        except RPCError as error:
            raise rpc_error(error, self.id) from None
        note = await trouble_of(self._connection.temporal, description)
        if note is None and description.history_length <= UNTOUCHED_EVENTS:
            note = _UNTOUCHED
        children = description.raw_description.pending_children
        asked = [child.workflow_id for child in children if child.workflow_type_name == workflows.EVALUATION]
        progress, _ = await self._with_rows(told, asked, trouble=False)
        return RunStatus(id=self.id, status="running", optimizer="", progress=progress, note=note)

    async def _with_progress(self, known: RunStatus) -> RunStatus:
        if known.status == "failed":
            return known.model_copy(update={"failure": await self._failure()})
        if known.status == "cancelled":
            try:
                known = known.model_copy(update={"note": await patiently(partial(how_it_ended, self._handle))})
            except RPCError as error:
                raise rpc_error(error, self.id) from None
        if not known.is_compile:
            return await self._with_control(known)
        if known.status == "queued":
            return known.model_copy(update={"note": _UNTOUCHED})
        try:
            found, progress, note = await self._progress(known)
        except RunError as error:
            return known.model_copy(update={"note": known.note or str(error)})
        update: dict[str, Any] = {
            **found,
            "note": note or known.note,
            "progress": progress,
            "score": progress.best_score,
            "baseline_score": progress.baseline_score,
            "usage": progress.usage_so_far,
        }
        return known.model_copy(update=update)

    async def _with_control(self, known: RunStatus) -> RunStatus:
        """What is known of a run that is no compile."""
        if known.status not in UNDER_WAY:
            return known
        try:
            answer = await self._query(self._handle, workflows.ControlStatus, name="control")
        except RunError as error:
            return known.model_copy(update={"note": str(error)})
        return known.model_copy(update=_held(answer))

    async def _progress(self, known: RunStatus) -> tuple[dict[str, Any], Progress, str | None]:
        """What is known better now, the progress, and what holds up the evaluation under way."""
        if known.status == "completed":
            # Its result tells all, and takes no worker to read.
            output = await self._output()
            found = {"status": "cancelled"} if output.cancelled else {}
            note = early_end_in_words(output.ended_early, scored=output.score is not None)
            return found, _finished(known.optimizer, output), note
        answer = await self._query(self._handle, workflows.CompileStatus)
        if known.status not in UNDER_WAY:
            return {}, answer.progress, None
        found = _held(answer.control)
        if not answer.evaluation_ids:
            return found, answer.progress, None
        return found, *await self._with_rows(answer.progress, answer.evaluation_ids)

    async def _with_rows(
        self, progress: Progress, evaluation_ids: Sequence[str], *, trouble: bool = True
    ) -> tuple[Progress, str | None]:
        """The progress with the rows of evaluations under way, beside those of evaluations that ended in this phase.

        With `trouble`, what holds up one of them, too, if anything does.
        """
        asked = [self._rows_of(evaluation_id, trouble=trouble) for evaluation_id in evaluation_ids[:EVALUATIONS_ASKED]]
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        for rows, _ in answers:
            if rows.score is not None:
                done = progress.rows_done + rows.rows_done
                total = (progress.phase_score or 0.0) * progress.rows_done + rows.score * rows.rows_done
                usage = progress.phase_usage + rows.usage
                progress = progress.after(RowsEvaluated(rows=done, score=round(total / done, 2), usage=usage))
        return progress, next((note for _, note in answers if note is not None), None)

    async def _rows_of(
        self, evaluation_id: str, *, trouble: bool
    ) -> "tuple[workflows.EvaluationStatus, str | None] | None":
        handle = self._connection.temporal.get_workflow_handle(evaluation_id)
        try:
            said = await trouble_of(self._connection.temporal, await handle.describe()) if trouble else None
            return await self._query(handle, workflows.EvaluationStatus), said
        except (RunError, RPCError):
            return None  # it has not begun, or has just ended

    async def _query(self, handle: WorkflowHandle[Any, Any], kind: type[Any], *, name: str = "status") -> Any:
        try:
            return await asyncio.wait_for(handle.query(name, result_type=kind), QUERY_SECONDS)
        except WorkflowQueryFailedError as error:
            raise RunError(f"the worker that was asked cannot tell where the run stands: {error.message}") from None
        except (RPCError, TimeoutError):
            raise RunError("no worker answers; start one with `dspex worker`, and the run goes on") from None

    async def _failure(self) -> str:
        try:
            await patiently(self._handle.result)
        except WorkflowFailureError as error:
            return failure_of(error)
        return ""


def _finished(optimizer: str, output: "workflows.CompileOutput") -> Progress:
    candidates = tuple(candidate.evaluated() for candidate in output.candidates)
    return Progress(optimizer=optimizer, phase="finished", candidates=candidates, usage=output.usage, finished=True)


def _held(control: "workflows.ControlStatus") -> dict[str, Any]:
    return {
        "status": control.status,
        "parked_reason": control.parked_reason,
        "budget": control.budget,
        "approvals": control.approvals,
    }

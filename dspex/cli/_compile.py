import asyncio
import time
import uuid
import warnings
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from dspex.cli._answers import EVALUATION, PROGRAM_RUN, answer_of, tell_answer
from dspex.cli._inputs import Task, addresses_in, require_writable
from dspex.cli._progress import ProgressView
from dspex.cli._shell import say, tell, tell_json
from dspex.cli._words import usage_line
from dspex.client import Client, Run, RunStatus, early_end_in_words, require_prices
from dspex.devserver import configured_server, dev_server, running_dev_server
from dspex.tracking import log_to_mlflow
from dspex.worker import WorkerProcess
from dspex_core import events
from dspex_core.budget import Budget
from dspex_core.errors import DSPExError, RunFailedError, ServerSetupError, ServerUnavailableError
from dspex_core.lm import LM
from dspex_core.optimizers import Fold, Optimizer
from dspex_core.programs import ProgramFile, write_program
from dspex_core.runtime import using
from dspex_core.seam import spending
from dspex_core.usage import Usage

ENDED_WITH_A_RESULT = ("completed", "cancelled")


@dataclass(frozen=True)
class CompileJob:
    """A compile that the command line was asked for."""

    task: Task
    optimizer: Optimizer
    lm: LM
    teacher_lm: LM | None
    id: str | None
    resume: bool
    detach: bool
    in_process: bool
    output: str | None
    placement: dict[str, Any]
    trust: list[str]
    as_json: bool
    mlflow: str | None = None
    folds: int | None = None
    budget: Budget | None = None


async def compile_program(job: CompileJob) -> None:
    """Run a compile, durable if a server can be had, and tell its result."""
    if job.folds is None:
        job.optimizer.check(job.task.program, job.task.trainset, job.task.valset)
    else:
        job.optimizer.check_folds(job.task.program, job.task.trainset, folds=job.folds)
    require_prices(job.budget, program=job.task.program, optimizer=job.optimizer, lm=job.lm, teacher_lm=job.teacher_lm)
    if job.output is not None:
        require_writable(job.output)
    if job.in_process:
        await _in_process(job)
        return
    async with AsyncExitStack() as stack:
        try:
            client = await _client(job, stack)
        except ServerSetupError as error:
            say(f"{error}")
            say("going on in this process: a second start finds every answer so far in the cache,")
            say("but no run outlives this command; `dspex doctor` says how to get a Temporal server")
            if job.mlflow is not None:
                say("MLflow is told nothing: it is shown durable runs")
            await _in_process(job)
            return
        run = await _started(client, job)
        say(f"run {run.id}{' is under way already: attached' if run.attached else ''}  {run.web_ui or ''}".rstrip())
        if job.resume and not run.resumed and not run.attached:
            say(f"there is no earlier run {run.id} to go on from: this one starts from the beginning")
        if job.detach:
            _tell_detached(run, job)
            return
        ends_with_us = client.server.origin == "dev server"
        await follow(run, output=job.output, as_json=job.as_json, ends_with_us=ends_with_us, mlflow=job.mlflow)


async def _started(client: Client, job: CompileJob) -> Run:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        run = await client.compile(
            job.task.program,
            optimizer=job.optimizer,
            trainset=job.task.trainset,
            valset=job.task.valset,
            lm=job.lm,
            teacher_lm=job.teacher_lm,
            id=job.id,
            resume=job.resume,
            budget=job.budget,
            **job.placement,
            folds=job.folds,
        )
    for warning in told:
        say(f"warning: {warning.message}")
    return run


async def follow(
    run: Run, *, output: str | None, as_json: bool, ends_with_us: bool = False, mlflow: str | None = None
) -> None:
    """Watch a run to its end and tell its result.

    Args:
        run: The run.
        output: Where to save its program.
        as_json: Whether to tell the result as JSON.
        ends_with_us: Whether the server or the worker in use stop when this command does.
        mlflow: Where an MLflow server is that shows the run, too.

    Raises:
        RunFailedError: If it failed.
    """
    if ends_with_us:
        hint = f"Ctrl-C keeps the run; it goes on with `dspex up`, or again with --id {run.id}"
    else:
        hint = f"Ctrl-C leaves the run going; come back with: dspex runs watch {run.id}"
    try:
        with ProgressView(run_id=run.id, hint=hint) as view:
            tracking = asyncio.create_task(_track(run, mlflow, view))
            await view.follow(run.events())
            await tracking
    except asyncio.CancelledError:
        if ends_with_us:
            say(f"run {run.id} is kept; it goes on while `dspex up` runs, or with this command and --id {run.id}")
        else:
            say(f"left run {run.id} going; come back with: dspex runs watch {run.id}")
        raise
    status = await run.status()
    if status.status not in ENDED_WITH_A_RESULT:
        raise RunFailedError(f"run {run.id} {status.failure or status.status}")
    if status.optimizer in (PROGRAM_RUN, EVALUATION):
        tell_answer(run_document(status), await answer_of(run, status.optimizer), as_json=as_json)
        return
    if status.note is not None:
        say(f"run {run.id} {status.note}")
    result = await run.output()
    if result.score is None and output is not None:
        say(f"{output} is not written: nothing was scored")
        output = None
    if output is not None:
        write_program(output, ProgramFile(structure=result.program.structure, state=result.program.state))
    document = run_document(status, program=output) | _folds_of(result.folds)
    _tell_result(document, result.usage, as_json=as_json)


async def _track(run: Run, mlflow: str | None, view: ProgressView) -> None:
    """Show the run in MLflow, if asked to; the run goes on whether that works or not."""
    if mlflow is None:
        return
    try:
        await log_to_mlflow(run, tracking_uri=mlflow)
    except DSPExError as error:
        view.say(f"not shown in MLflow any more: {error}")


def run_document(status: RunStatus, *, program: str | None = None) -> dict[str, Any]:
    """A run as the JSON document that `compile` and `runs show` print."""
    usage = status.usage
    return {
        "id": status.id,
        "status": status.status,
        "optimizer": status.optimizer,
        "phase": status.progress.phase if status.progress else None,
        "baseline_score": status.baseline_score,
        "score": status.score,
        "trials": len(status.progress.candidates) if status.progress else None,
        **_usage_fields(usage),
        "seconds": status.seconds,
        "web_ui": status.web_ui,
        "program": program,
        "parked_reason": status.parked_reason,
        "approvals": [call.model_dump() for call in status.approvals],
        "failure": status.failure,
        "note": status.note,
    }


async def _client(job: CompileJob, stack: AsyncExitStack) -> Client:
    configured = await configured_server()
    if configured is not None:
        client = await Client.connect(configured)
        if not await client.has_worker():
            say(f"no worker polls task queue {client.task_queue!r} yet: the run waits until you start `dspex worker`")
        return client
    if job.detach:
        running = await running_dev_server()
        if running is None:
            raise ServerUnavailableError(
                "--detach needs a server and a worker that outlive this command: start `dspex up` in another terminal"
            )
        return await Client.connect(running)
    server = await stack.enter_async_context(dev_server(say))
    # To name an address on the command line is to trust it.
    models = [lm.config for lm in (job.lm, job.teacher_lm) if lm is not None]
    addresses = addresses_in(models, job.task.program.get_state(), job.optimizer)
    await stack.enter_async_context(WorkerProcess(server, trust=job.trust, trust_api_base=addresses))
    return await Client.connect(server)


async def _in_process(job: CompileJob) -> None:
    if job.budget is not None:
        given = {"trainset": job.task.trainset, "valset": job.task.valset, "folds": job.folds}
        lms = {"lm": job.lm, "teacher_lm": job.teacher_lm}
        if shortfall := await job.optimizer.shortfall(job.task.program, budget=job.budget, **given, **lms):
            say(f"warning: {shortfall}")
    began = time.monotonic()
    run_id = job.id or f"{job.optimizer.name.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
    with using(lm=job.lm), spending(job.budget), ProgressView() as view, events.subscribe(types=events.RUNS) as stream:
        if job.budget is not None:
            view.show(events.BudgetSet(budget=job.budget.limits))
        watching = asyncio.create_task(view.follow(stream))
        result = await job.optimizer.compile(
            job.task.program,
            trainset=job.task.trainset,
            valset=job.task.valset,
            teacher_lm=job.teacher_lm.config if job.teacher_lm else None,
            folds=job.folds,
        )
        stream.close()
        await watching
    if note := early_end_in_words(result.ended_early, scored=result.score is not None):
        say(note)
    saved_to = job.output if result.score is not None else None
    if saved_to is not None:
        result.program.save(saved_to)
    elif job.output is not None:
        say(f"{job.output} is not written: nothing was scored")
    document = {
        "id": run_id,
        "status": "completed",
        "optimizer": job.optimizer.name,
        "phase": "finished",
        "baseline_score": result.baseline_score,
        "score": result.score,
        "trials": len(result.candidates),
        **_usage_fields(result.usage),
        "seconds": round(time.monotonic() - began, 3),
        "web_ui": None,
        "program": saved_to,
        "note": note,
    } | _folds_of(result.folds)
    _tell_result(document, result.usage, as_json=job.as_json)


def _folds_of(folds: Sequence[Fold]) -> dict[str, Any]:
    told = [{"rows": len(fold.rows), "baseline_score": fold.baseline_score, "score": fold.score} for fold in folds]
    return {"folds": told} if folds else {}


def _usage_fields(usage: Usage | None) -> dict[str, Any]:
    return usage.model_dump() if usage else dict.fromkeys(Usage.model_fields)


def _tell_detached(run: Run, job: CompileJob) -> None:
    if job.as_json:
        status = RunStatus(id=run.id, status="running", optimizer=job.optimizer.name, web_ui=run.web_ui)
        tell_json(run_document(status))
    else:
        tell(f"{run.id} is under way; watch it with: dspex runs watch {run.id}")


def _tell_result(document: dict[str, Any], usage: Usage, *, as_json: bool) -> None:
    if as_json:
        tell_json(document)
        return
    if document["score"] is not None:
        gain = document["score"] - document["baseline_score"]
        tell(f"score     {document['score']:.2f} %  (baseline {document['baseline_score']:.2f} %, {gain:+.2f})")
    tell(f"took      {document['seconds']:.1f} s, {usage_line(usage)}")
    if document.get("folds"):
        gains = [fold["score"] - fold["baseline_score"] for fold in document["folds"]]
        tell(f"folds     {len(gains)}, gain from {min(gains):+.2f} to {max(gains):+.2f}")
    if document["web_ui"]:
        tell(f"web ui    {document['web_ui']}")
    if document["program"]:
        tell(f"program   {document['program']}")

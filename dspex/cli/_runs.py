import json
from contextlib import aclosing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from dspex.cli._answers import EVALUATION, PROGRAM_RUN, answer_of, tell_answer
from dspex.cli._compile import ENDED_WITH_A_RESULT, follow, run_document
from dspex.cli._shell import say, tell, tell_json
from dspex.cli._words import scored_in_words, usage_line
from dspex.cli._worker import server_in_use
from dspex.client import Client, RunStatus
from dspex_core.errors import RunConflictError
from dspex_core.programs import ProgramFile, write_program

_PIPE_WIDTH = 240
"""Columns of a table that nobody looks at on a screen: enough to cut nothing."""


async def list_runs(*, as_json: bool) -> None:
    """Tell the compiles on the server."""
    client = await Client.connect(await server_in_use())
    found = await client.list_runs()
    if as_json:
        tell_json([asdict(run) for run in found])
        return
    if not found:
        tell("no runs yet; start one with `dspex compile` or `dspex demo`")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "STATUS", "OPTIMIZER", "SCORE", "STARTED", "PHASE"):
        table.add_column(heading, no_wrap=heading != "PHASE", overflow="ellipsis")
    for run in found:
        score = "" if run.score is None else f"{run.score:.2f}"
        started = datetime.fromisoformat(run.started).astimezone().strftime("%m-%d %H:%M")
        table.add_row(run.id, run.status, run.optimizer, score, started, run.phase or "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    console.print(table)


async def show_run(run_id: str, *, report: str | None = None, as_json: bool) -> None:
    """Tell where a run stands.

    Args:
        run_id: Its id.
        report: Where to write what it found as a page of HTML, or None.
        as_json: Whether to tell it as JSON.

    Raises:
        RunConflictError: If a page is wanted and the run has not completed.
    """
    client = await Client.connect(await server_in_use())
    run = client.get_run(run_id)
    status = await run.status()
    if report is not None:
        if status.optimizer in (PROGRAM_RUN, EVALUATION):
            raise RunConflictError(
                f"run {run_id} has nothing to report: it is no compile, but of kind {status.optimizer}"
            )
        if status.status not in ENDED_WITH_A_RESULT or status.score is None:
            raise RunConflictError(f"run {run_id} has nothing to report: it is {status.status}")
        await run.report(report)
        say(f"report: {report}")
    document = run_document(status)
    is_answered = status.status == "completed" and status.optimizer in (PROGRAM_RUN, EVALUATION)
    answer = await answer_of(run, status.optimizer) if is_answered else None
    if not as_json:
        _tell_status(status, document)
    if answer is not None:
        tell_answer(document, answer, as_json=as_json)
    elif as_json:
        tell_json(document)


def _tell_status(status: RunStatus, document: dict[str, Any]) -> None:
    shown = ("id", "status", "optimizer", "phase", "baseline_score", "score", "trials", "seconds", "web_ui")
    for name in (*shown, "parked_reason", "failure", "note"):
        if document[name] is not None:
            tell(f"{name.replace('_', ' '):<15} {document[name]}")
    for call in status.approvals:
        tell(f"{'to be approved':<15} {call.call_id}: {call.tool}({json.dumps(call.args, ensure_ascii=False)})")
    if status.progress is not None:
        for candidate in status.progress.candidates:
            tell(f"candidate {candidate.index:<5} {candidate.label}: {scored_in_words(candidate)}")
    if status.usage is not None:
        tell(f"{'took':<15} {usage_line(status.usage)}")


async def watch_run(run_id: str, *, mlflow: str | None, as_json: bool) -> None:
    """Follow a run to its end, and show it in MLflow if there is one."""
    client = await Client.connect(await server_in_use())
    await follow(client.get_run(run_id), output=None, as_json=as_json, mlflow=mlflow)


async def tell_events(run_id: str, *, offset: int, keep_on: bool) -> None:
    """Tell a run's events, each a line of JSON.

    Args:
        run_id: Its id.
        offset: The first event of the log wanted.
        keep_on: Whether to wait for those to come, until the run ends.
    """
    client = await Client.connect(await server_in_use())
    async with aclosing(client.get_run(run_id).events(offset=offset, follow=keep_on)) as found:
        async for event in found:
            if event.offset is not None:
                tell(event.model_dump_json())


async def export_program(run_id: str, path: str, *, as_json: bool) -> None:
    """Save a finished run's program.

    Raises:
        RunConflictError: If the run has found none.
    """
    client = await Client.connect(await server_in_use())
    run = client.get_run(run_id)
    status = await run.status()
    if status.status not in ENDED_WITH_A_RESULT:
        raise RunConflictError(f"run {run_id} has no program to export: it is {status.status}")
    output = await run.output()
    if output.score is None:
        raise RunConflictError(f"run {run_id} has no program to export: it was cancelled before anything was scored")
    write_program(path, ProgramFile(structure=output.program.structure, state=output.program.state))
    if as_json:
        tell_json({"id": run_id, "program": path, "score": output.score})
    else:
        tell(path)

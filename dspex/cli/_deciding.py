"""The commands by which a person decides on calls of tools."""

from typing import Annotated

import typer

from dspex.cli._options import AsJson, RunId
from dspex.cli._shell import run

CallId = Annotated[str, typer.Argument(metavar="CALL", help="The call, as `dspex runs show` names it.")]


def approve(
    run_id: RunId,
    call_id: CallId,
    reason: Annotated[str, typer.Option(help="Why, for the run's events.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - a flag
) -> None:
    """Let a call of a tool that waits for a person be made."""
    from dspex.cli._control import decide_call  # noqa: PLC0415 - commands load what they need, so that --help is quick

    run(decide_call(run_id, call_id, approved=True, reason=reason, as_json=as_json))


def reject(
    run_id: RunId,
    call_id: CallId,
    reason: Annotated[str, typer.Option(help="Why not: the model reads it.")] = "",
    as_json: AsJson = False,  # noqa: FBT002 - a flag
) -> None:
    """Let a call of a tool that waits for a person not be made; the run goes on."""
    from dspex.cli._control import decide_call  # noqa: PLC0415

    run(decide_call(run_id, call_id, approved=False, reason=reason, as_json=as_json))

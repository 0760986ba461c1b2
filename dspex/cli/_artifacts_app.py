"""The commands on the artifact store, as they are typed."""

from typing import Annotated

import typer

from dspex.cli._options import AsJson
from dspex.cli._shell import run

artifacts_app = typer.Typer(help="Look after the artifact store.", no_args_is_help=True, rich_markup_mode=None)


@artifacts_app.callback()
def artifacts() -> None:
    """Look after the artifact store."""


@artifacts_app.command()
def gc(
    *,
    grace_hours: Annotated[
        float, typer.Option(min=0, help="Keep what was written so recently, whether anything refers to it or not.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove artifacts that no run and no schedule of the server refers to any more."""
    from dspex.cli._artifacts import remove_garbage  # noqa: PLC0415

    run(remove_garbage(grace_hours=grace_hours, dry_run=dry_run, as_json=as_json))

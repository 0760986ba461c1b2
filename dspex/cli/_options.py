"""Options that many commands have."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]

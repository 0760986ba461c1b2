"""The commands on the cache, as they are typed."""

from typing import Annotated

import typer

from dspex.cli._options import AsJson

cache_app = typer.Typer(help="Look after the cache of answers.", no_args_is_help=True, rich_markup_mode=None)


@cache_app.command()
def stats(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show where the cache is and what it holds."""
    from dspex.cli._cache import show_stats  # noqa: PLC0415

    show_stats(as_json=as_json)


@cache_app.command()
def clear(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Forget all answers."""
    from dspex.cli._cache import clear_cache  # noqa: PLC0415

    clear_cache(as_json=as_json)


@cache_app.command(name="export")
def export_answers(
    output: Annotated[str, typer.Option("--output-file", "-o", help="Where to write them, as JSON Lines.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Write all answers to a file."""
    from dspex.cli._cache import export_cache  # noqa: PLC0415

    export_cache(output, as_json=as_json)


@cache_app.command(name="import")
def import_answers(
    source: Annotated[str, typer.Argument(metavar="FILE", help="What `dspex cache export` wrote.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Take in the answers of a file; those known already stay."""
    from dspex.cli._cache import import_cache  # noqa: PLC0415

    import_cache(source, as_json=as_json)

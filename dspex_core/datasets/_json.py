"""JSON lines, and JSON files that hold one list."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

from dspex_core.errors import DatasetError


def jsonl_rows(lines: Iterable[str], path: Path) -> Iterator[dict[str, Any]]:
    """One object a line; only a newline ends a line, since JSON strings may hold every other separator."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _as_row(_load(line, path, line=number), f"line {number}", path)


def parse_jsonl(text: str, path: Path) -> list[dict[str, Any]]:
    """The rows of a whole file."""
    return list(jsonl_rows(text.split("\n"), path))


def parse_json(text: str, path: Path) -> list[dict[str, Any]]:
    """The file is one list, and every item of it an object."""
    value = _load(text, path, line=None)
    if not isinstance(value, list):
        raise DatasetError(
            f"{path}: the file holds {_kind(value)}, not a list of objects; write [{{…}}, {{…}}],"
            " or one object a line in a .jsonl file"
        )
    items = cast("list[Any]", value)
    return [_as_row(item, f"item {number} of the list", path) for number, item in enumerate(items, start=1)]


def _load(text: str, path: Path, *, line: int | None) -> Any:
    """Parse one line of the file, or with `line` None the whole file."""
    where = "the file" if line is None else f"line {line}"
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:
            # Half of a surrogate pair parses, but could not be sent to any model or stored as UTF-8.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        wrong = error.lineno if line is None else line
        raise DatasetError(f"{path}: line {wrong} is not valid JSON: {_explain(error)}") from error
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path}: {where} has half of a surrogate pair; write the whole character") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: {where} is nested too deeply to be read") from error
    except ValueError as error:
        raise DatasetError(f"{path}: {where} is not valid JSON: {error}") from error
    return value


def _explain(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return (
            f"something follows the first value, at column {error.colno} (one object a line belongs in a .jsonl file)"
        )
    return f"{error.msg}, at column {error.colno}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value; write null or a number")


def _as_row(value: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(f'{path}: {where} holds {_kind(value)}, not an object such as {{"column": "value"}}')
    return cast("dict[str, Any]", value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"), (bool, "a boolean"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")

"""What a compile is given: what is no program and no rows is refused by name, whatever runs it."""

from collections.abc import Sequence
from typing import Any

from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.seam import Program, StoredDataset


def require_program(given: Any, *, what: str = "program") -> None:
    """Refuse what is no program.

        require_program(Predict("text -> team"))

    Args:
        given: What was given in its place.
        what: What it is to be, for the error.

    Raises:
        ConfigurationError: Saying what to write.
    """
    if isinstance(given, type):
        raise ConfigurationError(f"the {what} is the class {given.__name__}: make one of it, {given.__name__}(…)")
    if isinstance(given, str):
        raise ConfigurationError(f"the {what} is the text {given!r:.80}: write Predict({given!r:.80}), or load it")
    if not all(callable(getattr(given, name, None)) for name in _PROGRAM):
        raise ConfigurationError(f"the {what} is to be a module, such as Predict(…), not {_named(given)}")


def require_rows(given: Any, *, what: str) -> None:
    """Refuse what is no list of rows.

        require_rows(trainset, what="training set")

    Args:
        given: What was given in its place.
        what: What the rows are for, for the error.

    Raises:
        DatasetError: Saying what to give.
    """
    if isinstance(given, StoredDataset) or (isinstance(given, Sequence) and not isinstance(given, str | bytes)):
        return
    hint = "list(…) makes one of it" if hasattr(given, "__iter__") and not isinstance(given, str | bytes) else ""
    hint = hint or "Example(text=…, team=…).with_inputs('text') is one"
    raise DatasetError(f"the {what} is to be a list of examples, not {_named(given)}; {hint}")


def _named(given: Any) -> str:
    return "None" if given is None else f"{given!r:.80}, of type {type(given).__name__}"


_PROGRAM = [name for name in vars(Program) if not name.startswith("_")]

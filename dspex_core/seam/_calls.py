"""Calls told of as events: who called what, what came of it, and how long it took."""

import itertools
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from dspex_core.events import Event, publish
from dspex_core.redaction import redacted

_caller: ContextVar[str | None] = ContextVar("dspex_caller", default=None)
_numbers = itertools.count(1)


class ToldCall:
    """A call that subscribers are told of. Made, it tells of the start; make one only if `events.watched()`.

    Args:
        started: The event of the start.
        ended: The event of the end.
        about: What both events say.
        facts: What the start alone says.
    """

    def __init__(self, started: type[Any], ended: type[Any], about: dict[str, Any], **facts: Any) -> None:
        self.call_id = f"{_process()}-{next(_numbers)}"
        self._ended = ended
        self._about = {**about, "call_id": self.call_id, "parent_id": _caller.get()}
        self._began = time.perf_counter()
        _tell(started, self._about | facts)

    @contextmanager
    def inside(self) -> Generator[None]:
        """Make the calls of the block children of this one."""
        token = _caller.set(self.call_id)
        try:
            yield
        finally:
            _caller.reset(token)

    def end(self, **facts: Any) -> None:
        """Tell of the end."""
        _tell(self._ended, {**self._about, "seconds": time.perf_counter() - self._began, **facts})

    def fail(self, error: BaseException, **facts: Any) -> None:
        """Tell that it ended with an error."""
        self.end(error=f"{type(error).__name__}: {_text_of(error)}".removesuffix(": "), **facts)


def plain(values: Any) -> Any:
    """Values as JSON, whatever they are: telling of something must never fail."""
    try:
        return to_jsonable_python(values, fallback=_text_of, bytes_mode="base64")
    except (PydanticSerializationError, ValueError, RecursionError):
        if not isinstance(values, dict):
            return _text_of(values)
        return {str(name): _text_of(value) for name, value in cast("dict[Any, Any]", values).items()}


def _tell(kind: type[Any], facts: dict[str, Any]) -> None:
    event: Event = kind(**facts)
    publish(event)


def _text_of(value: object) -> str:
    try:
        return redacted(str(value))
    except Exception:  # noqa: BLE001 - a value of a user's own, whose text is an error itself
        return f"<{type(value).__name__}>"


@cache
def _process() -> str:
    return secrets.token_hex(3)

import asyncio
import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from dspex_core.errors import ToolFailedError
from dspex_core.synchronous import in_thread


async def call_function(function: Callable[..., Any], args: dict[str, Any], *, timeout_seconds: float | None) -> Any:
    """What a function returns; a synchronous one runs in a thread of its own, under the caller's context.

    A thread cannot be ended: after the time is up it goes on unheard, and holds nothing that others wait for.

    Raises:
        ToolFailedError: If it took too long.
    """
    limit = asyncio.timeout(timeout_seconds)
    try:
        async with limit:
            if _is_async(function):
                return await function(**args)
            value = await in_thread(partial(function, **args))
            return await value if inspect.isawaitable(value) else value
    except TimeoutError:
        if not limit.expired():
            raise
        raise ToolFailedError(f"no result within {timeout_seconds:g} s") from None


def as_text(value: Any) -> str:
    """A result as a model reads it: text as it is, everything structured as JSON."""
    try:
        plain = value if isinstance(value, str) else to_jsonable_python(value, fallback=str, bytes_mode="base64")
    except (PydanticSerializationError, ValueError, RecursionError):
        plain = str(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    # Half a character, as in the name of a strange file, can be sent nowhere.
    return text.encode("utf-8", "replace").decode("utf-8")


def described(error: BaseException) -> str:
    """What a tool raised, as a model reads it: the error's class and its text."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - an error of a user's own, whose text is an error itself
        said = ""
    return as_text(f"{type(error).__name__}: {said}".removesuffix(": "))


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - looks at how it is defined, not whether

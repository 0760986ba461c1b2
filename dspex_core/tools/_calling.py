import asyncio
import contextvars
import inspect
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from dspex_core.errors import ToolFailedError


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
            value = await _in_thread(partial(function, **args))
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


async def _in_thread(work: Callable[[], Any]) -> Any:
    # Not asyncio's pool: it has few threads, and a tool that hangs would keep one of them, and the process from ending.
    result: Future[Any] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(context.run(work))
        except StopIteration as error:
            # No future can hold one; a coroutine would turn it into this, too.
            result.set_exception(RuntimeError(f"StopIteration: {error}".rstrip(": ")))
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            result.set_exception(error)

    threading.Thread(target=run, name="dspex-tool", daemon=True).start()
    return await asyncio.wrap_future(result)

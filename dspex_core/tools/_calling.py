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
    if isinstance(value, str):
        return value
    try:
        plain = to_jsonable_python(value, fallback=str, bytes_mode="base64")
    except (PydanticSerializationError, ValueError, RecursionError):
        return str(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


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
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            result.set_exception(error)

    threading.Thread(target=run, name="dspex-tool", daemon=True).start()
    return await asyncio.wrap_future(result)

import asyncio
import threading
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from dspex_core.errors import ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mcp import Client

T = TypeVar("T")


class Connection:
    """A session with an MCP server, on an event loop of its own.

    The SDK ties a session to the task that opened it. On a loop and in a task of its own, it can be used from every
    loop and thread of the process, and closed from any.

    Args:
        connect: Makes the client; what it enters on the stack is closed with the session.
    """

    def __init__(self, connect: "Callable[[AsyncExitStack], Coroutine[Any, Any, Client]]") -> None:
        self._connect = connect
        self._loop = asyncio.new_event_loop()
        self._session = self._loop.create_task(self._hold())
        self._client: Future[Client] = Future()
        self._ended: Future[None] = Future()

    async def open(self, greeting: "Callable[[Client], Coroutine[Any, Any, T]]", timeout_seconds: float) -> T:
        """Connect, agree on a protocol, and ask a first question; closed again if any of it fails.

        Raises:
            TimeoutError: If that takes too long.
            Exception: Whatever the SDK raises.
        """
        threading.Thread(target=self._run, name="dspex-mcp", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.shield(asyncio.wrap_future(self._client))
                return await self.ask(greeting)
        except BaseException:
            await self.close()
            raise

    async def ask(self, question: "Callable[[Client], Coroutine[Any, Any, T]]") -> T:
        """What the client answers.

        Raises:
            ToolFailedError: If the connection is closed.
        """
        if self._ended.done() or self._session.done():
            raise ToolFailedError("the connection to its MCP server is closed")
        answer = asyncio.run_coroutine_threadsafe(question(self._client.result()), self._loop)
        return await asyncio.wrap_future(answer)

    async def close(self) -> None:
        """End the session, and a server that was started for it; returns when both have ended."""
        if not self._ended.done():
            self._loop.call_soon_threadsafe(self._session.cancel)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    async def _hold(self) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(await self._connect(stack))
            self._client.set_result(client)
            await asyncio.Event().wait()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._session)
        except asyncio.CancelledError:
            self._client.cancel()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the connection
            if not self._client.done():
                self._client.set_exception(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._ended.set_result(None)

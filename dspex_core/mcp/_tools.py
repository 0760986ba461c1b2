from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

from dspex_core.errors import ConfigurationError, ToolFailedError
from dspex_core.mcp._connection import Connection
from dspex_core.redaction import keep_secret, redacted
from dspex_core.tools import Tool, as_text

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as ListedTool

TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 30.0
_HTTP_TIMEOUT_SECONDS = 30.0
_HTTP_READ_TIMEOUT_SECONDS = 300.0
"""A server may keep a stream of answers open and be silent for long; a call's own timeout ends it earlier."""
_SECRET_WORDS = ("authorization", "key", "token", "secret", "password", "cookie")


class MCPTools:
    """The tools of an MCP server, for as long as a block lasts.

        async with MCPTools.stdio("python", "my_server.py") as tools:
            agent = ReAct("question -> answer", tools=[*tools, calculator])
            prediction = await agent(question="…")

    The session has a thread of its own, so the tools work on any event loop and in `agent.run(…)` too. They belong to
    this process: for a durable run, write a function that asks the server. The server checks the values of arguments;
    what it reports as an error becomes an observation.

    Make one with `MCPTools.stdio` or `MCPTools.http`.

    Raises:
        ConfigurationError: When entered, if the server cannot be started or reached, or the SDK is not installed.
    """

    def __init__(
        self,
        connect: "Callable[[AsyncExitStack], Coroutine[Any, Any, Client]]",
        *,
        where: str,
        timeout_seconds: float = TIMEOUT_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        self._connect = connect
        self._where = where
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._connection: Connection | None = None

    @classmethod
    def stdio(
        cls,
        command: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: float,
    ) -> Self:
        """Tools of a server that is started for this purpose, and ended after it.

        Args:
            command: What to start; it speaks MCP on its standard input and output.
            *args: Its arguments.
            env: Variables it gets beside HOME, LOGNAME, PATH, SHELL, TERM and USER; of ours it gets no others.
            cwd: Folder it runs in.
            **options: `timeout_seconds`, the longest that a call may take (60), and `connect_timeout_seconds`, the
                longest that the start may take (30).
        """
        _keep_secrets(env or {})

        async def connect(stack: AsyncExitStack) -> "Client":
            del stack  # the client ends the server
            from mcp import Client, StdioServerParameters  # noqa: PLC0415 - takes long to import, and is an extra

            given = dict(env) if env is not None else None
            return Client(StdioServerParameters(command=command, args=list(args), env=given, cwd=cwd))

        return cls(connect, where=f"`{' '.join([command, *args])}`", **options)

    @classmethod
    def http(cls, url: str, *, headers: Mapping[str, str] | None = None, **options: float) -> Self:
        """Tools of a server that is running, over streamable HTTP.

        Args:
            url: Its address, such as http://127.0.0.1:8000/mcp.
            headers: Sent with every request, such as Authorization.
            **options: As for `stdio`.
        """
        _keep_secrets(headers or {})

        async def connect(stack: AsyncExitStack) -> "Client":
            import httpx2  # noqa: PLC0415 - as above
            from mcp import Client  # noqa: PLC0415
            from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

            timeout = httpx2.Timeout(_HTTP_TIMEOUT_SECONDS, read=_HTTP_READ_TIMEOUT_SECONDS)
            http = httpx2.AsyncClient(headers=dict(headers or {}), timeout=timeout)
            return Client(streamable_http_client(url, http_client=await stack.enter_async_context(http)))

        # Without user, password and query: keys are often there.
        host = urlsplit(url).netloc.rpartition("@")[2]
        return cls(connect, where=f"at {host}{urlsplit(url).path}", **options)

    async def __aenter__(self) -> list[Tool]:
        if find_spec("mcp") is None:
            raise ConfigurationError("tools of MCP servers need the package mcp: pip install 'dspex[mcp]'")
        connection = Connection(self._connect)
        try:
            listed = await connection.open(_list, self._connect_timeout_seconds)
        except TimeoutError:
            raise self._failure(f"it did not answer within {self._connect_timeout_seconds:g} s") from None
        except Exception as error:  # noqa: BLE001 - the SDK raises errors of every layer below it
            raise self._failure(_reason(error)) from None
        self._connection = connection
        return [self._tool(connection, tool) for tool in listed]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _tool(self, connection: Connection, listed: "ListedTool") -> Tool:
        async def call(**args: Any) -> str:
            return _text(await connection.ask(partial(_call, name=listed.name, args=args)))

        return Tool.from_schema(
            call,
            name=listed.name,
            desc=listed.description or listed.title or "",
            parameters=listed.input_schema,
            timeout_seconds=self._timeout_seconds,
        )

    def _failure(self, reason: str) -> ConfigurationError:
        return ConfigurationError(redacted(f"the MCP server {self._where} cannot be used: {reason}"))


async def _list(client: "Client") -> "list[ListedTool]":
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor is not None:
        page = await client.list_tools(cursor=page.next_cursor)
        tools.extend(page.tools)
    return tools


async def _call(client: "Client", *, name: str, args: dict[str, Any]) -> "CallToolResult":
    return await client.call_tool(name, args)


def _text(result: "CallToolResult") -> str:
    """What a server answered, as text.

    Raises:
        ToolFailedError: If it says that the call failed.
    """
    blocks = [_block_text(block) for block in result.content]
    text = "\n".join(blocks) if blocks else as_text(result.structured_content)
    if result.is_error:
        raise ToolFailedError(text)
    return text


def _block_text(block: Any) -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource" and hasattr(block.resource, "text"):
        return block.resource.text
    return f"(a part of type {block.type} that is no text)"


def _reason(error: BaseException) -> str:
    """The innermost of what failed, which says what happened."""
    inner: BaseException | None = error
    while isinstance(inner, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", inner).exceptions[0]
        inner = error
    return str(error) or type(error).__name__


def _keep_secrets(named: Mapping[str, str]) -> None:
    for name, value in named.items():
        if any(word in name.lower() for word in _SECRET_WORDS):
            for part in value.split():
                keep_secret(part)

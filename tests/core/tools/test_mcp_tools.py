import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from model_servers import lm_of

from dspex_core import ReAct, using
from dspex_core.errors import ConfigurationError, ProgramError
from dspex_core.mcp import MCPTools

SERVER = str(Path(__file__).parent / "mcp_table_server.py")

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def answers(port):
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False


@contextlib.asynccontextmanager
async def http_server():
    port = free_port()
    with subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            while not await answers(port):
                assert process.poll() is None
                await asyncio.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def table(transport, **options):
    """The tools of the table's server by name."""
    async with contextlib.AsyncExitStack() as stack:
        if transport == "http":
            manager = MCPTools.http(await stack.enter_async_context(http_server()), **options)
        else:
            manager = MCPTools.stdio(sys.executable, SERVER, **options)
        yield {tool.name: tool for tool in await stack.enter_async_context(manager)}


@pytest.fixture(params=["stdio", "http"])
def transport(request):
    return request.param


async def test_the_tools_of_a_server_are_described_and_called(transport):
    async with table(transport) as tools:
        assert tools["lookup"].desc == "Look up how many people live in a country, in millions."
        assert tools["total"].parameters["required"] == ["numbers"]
        assert await tools["lookup"](country="Spain") == "48.6 million"
        assert '"total": 4.0' in (await tools["total"].invoke({"numbers": [1.5, 2.5]})).text


async def test_what_a_server_refuses_is_a_failed_result(transport):
    async with table(transport) as tools:
        unknown = await tools["lookup"].invoke({"country": "Atlantis"})
        assert unknown.failed
        assert unknown.text.endswith("Atlantis is not in the table")
        misnamed = await tools["lookup"].invoke({"town": "Paris"})
        assert "'country' is missing; there is no argument 'town'" in misnamed.text
        mistyped = await tools["total"].invoke({"numbers": "many"})
        assert mistyped.failed
        assert "numbers" in mistyped.text


async def test_an_agent_uses_a_server_from_the_loop_and_from_synchronous_code(transport, start_provider):
    final = {"when": "`[[ ## reasoning ## ]]`", "answer": {"reasoning": "It was found.", "answer": "48.6 million"}}
    finish = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}
    find = {"next_thought": "find", "next_tool_name": "lookup", "next_tool_args": {"country": "Spain"}}
    script = [final, {"when": "observation_0", "answer": finish}, {"when": "", "answer": find}]
    async with table(transport) as tools:
        agent = ReAct("question -> answer", list(tools.values()))
        with using(lm=lm_of(start_provider(script=script))):
            prediction = await agent(question="How many people live in Spain?")
            again = agent.run(question="How many people live in Spain?")
    assert prediction.trajectory["observation_0"] == "48.6 million"
    assert prediction.answer == "48.6 million"
    assert again.trajectory == prediction.trajectory


async def test_tools_of_a_connection_belong_to_this_process_and_end_with_their_block():
    async with table("stdio") as tools:
        with pytest.raises(ProgramError, match="tool lookup works in this process only"):
            ReAct("question -> answer", list(tools.values())).reference()
    late = await tools["lookup"].invoke({"country": "Spain"})
    assert (late.failed, late.text) == (True, "lookup failed: the connection to its MCP server is closed")


async def test_a_server_that_dies_is_a_failed_result():
    async with table("stdio", timeout_seconds=10) as tools:
        assert (await tools["crash"].invoke({})).failed
        assert (await tools["lookup"].invoke({"country": "Spain"})).failed


async def test_a_server_sees_no_variable_that_it_was_not_given(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-that-stays-here")
    async with table("stdio", env={"TABLE_TOKEN": "token-of-the-table"}) as tools:
        seen = await tools["variables"]()
    assert "TABLE_TOKEN" in seen
    assert "OPENAI_API_KEY" not in seen


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (lambda: MCPTools.stdio("no-such-command"), "`no-such-command` cannot be used: .*No such file"),
        (lambda: MCPTools.stdio(sys.executable, "-c", "pass"), "cannot be used: Connection closed"),
        (
            lambda: MCPTools.http(f"http://user:pass@127.0.0.1:{free_port()}/mcp?key=k"),
            r"at 127\.0\.0\.1:\d+/mcp cannot",
        ),
        (
            lambda: MCPTools.stdio(sys.executable, "-c", "input()", connect_timeout_seconds=0.2),
            r"it did not answer within 0\.2 s|Connection closed",
        ),
    ],
)
async def test_a_server_that_cannot_be_used_is_named(unusable, reason):
    with pytest.raises(ConfigurationError, match=reason):
        async with unusable():
            pass

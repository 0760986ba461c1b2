import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dspex_core import Tool
from dspex_core.errors import ConfigurationError
from dspex_core.sandbox import Sandbox, SandboxLimits, _worker
from dspex_core.seam import CodeCell

LIMITS = SandboxLimits(seconds=0.5, memory_mb=32, printed_chars=100_000, shown_chars=1_000, argument_chars=10_000)
UNDONE = "The variables are as they were before this code."


@pytest.fixture
def sandbox():
    return Sandbox(LIMITS)


@pytest.fixture
def run(sandbox):
    """Runs code on its own, with the functions given as tools."""

    async def ran(code, *tools, session=None):
        cell = CodeCell(code=code, tools=tuple(Tool(tool) for tool in tools), session=session)
        return await sandbox.run(cell)

    return ran


@pytest.fixture
def dialogue(sandbox):
    """Runs cells of one session after each other, and gives their texts."""

    async def ran(*cells, tools=()):
        texts, session = [], None
        for code in cells:
            result = await sandbox.run(CodeCell(code=code, tools=tuple(map(Tool, tools)), session=session))
            session = result.session
            texts.append(result.text)
        return texts

    return ran


def lookup(country: str, year: int = 2020) -> dict:
    """Look a country up."""
    return {"country": country, "year": year, "people": 68.4}


def worker_processes():
    """Ids of the sandbox's processes that this process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "monty" and int(rest.split()[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


async def all_ended():
    """Waits until no process of the sandbox is left; they are not ours to be told of."""
    async with asyncio.timeout(20):
        while worker_processes():
            await asyncio.sleep(0.01)


async def test_the_output_is_what_was_printed_and_the_value_of_the_last_line(run):
    result = await run("for i in range(3):\n    print(i)\n[i ** 2 for i in range(4)]")
    assert (result.text, result.failed) == ("0\n1\n2\n[0, 1, 4, 9]", False)
    assert (await run("x = 1")).text == ""


async def test_what_one_cell_defines_the_next_one_has(dialogue):
    texts = await dialogue(
        "import math\nnumbers = [3]\ndef twice(x):\n    return 2 * x",
        "class Box:\n    def __init__(self):\n        self.held = 7",
        "numbers.append(twice(4))\nbox = Box()",
        "print(numbers, box.held, math.floor(2.5))",
    )
    assert texts == ["", "", "", "[3, 8] 7 2"]


async def test_a_session_is_a_value_that_any_sandbox_goes_on_with(run):
    first = await run("x = 20")
    one, other = await run("x += 1\nx", session=first.session), await run("x += 2\nx", session=first.session)
    assert (one.text, other.text) == ("21", "22")
    program = (
        "import asyncio, sys\n"
        "from dspex_core.sandbox import Sandbox\n"
        "from dspex_core.seam import CodeCell\n"
        "cell = CodeCell(code='x * 2', session=sys.stdin.buffer.read())\n"
        "print(asyncio.run(Sandbox().run(cell)).text)\n"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], input=one.session, capture_output=True, check=True)
    assert elsewhere.stdout.decode().strip() == "42"


async def test_a_session_that_cannot_be_read_is_said_and_a_new_one_begins(run):
    lost = await run("x", session=b"written by another version")
    assert lost.failed
    assert lost.text.startswith("The variables of earlier code could not be read here")
    assert lost.session is None


async def test_chance_is_the_same_in_every_run(run):
    code = "import random\nrandom.random()"
    assert (await run(code)).text == (await run(code)).text


async def test_tools_are_called_by_place_or_name_and_give_python_values(run):
    async def shout(text: str) -> str:
        return text.upper()

    result = await run("f = lookup\nf('France', year=1999)['people'] + 1, shout(text='hey')", lookup, shout)
    assert result.text == "(69.4, 'HEY')"
    assert (await run("(await lookup('Spain'))['country']", lookup)).text == "'Spain'"


async def test_a_tool_that_is_a_variable_of_one_cell_can_be_called_in_the_next(dialogue):
    assert (await dialogue("f = lookup", "f('Spain')['country']", tools=[lookup]))[1] == "'Spain'"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("fail()", "RuntimeError: fail failed: KeyError: 'Atlantis'"),
        ("lookup()", "'country' is missing"),
        ("lookup('Spain', year='long ago')", "'year': Input should be a valid integer"),
        ("lookup('Spain', 1, 2)", "it takes 2 of them, not 3"),
        ("lookup('Spain', country='Spain')", "'country' is given twice"),
        ("class Box:\n    pass\nlookup(Box())", "a Box cannot be given to a tool"),
        ("lookup(country='x' * 20_000)", "it is too large"),
        ("nested = []\nfor _ in range(60):\n    nested = [nested]\nlookup(nested)", "more than 50 levels deep"),
        ("many = []\nfor _ in range(45):\n    many = [many, many]\nlookup(many)", "it is too large"),
        ("nothing(1)", "NameError: name 'nothing' is not defined"),
    ],
)
async def test_a_call_that_goes_wrong_is_an_error_in_the_code(call, said, run):
    def fail() -> None:
        raise KeyError("Atlantis")

    result = await run(call, lookup, fail)
    assert result.failed
    assert said in result.text
    caught = await run("try:\n    fail()\nexcept RuntimeError as error:\n    print('caught', error)", fail)
    assert caught.text == "caught fail failed: KeyError: 'Atlantis'"


async def test_a_tool_gets_the_same_key_when_its_cell_is_run_again_and_another_in_every_call(sandbox):
    def key(word: str, idempotency_key: str) -> str:
        return idempotency_key

    async def keys(code):
        return (await sandbox.run(CodeCell(code=code, tools=(Tool(key),), idempotency_key="run/7"))).text.split()

    first = await keys("print(key('a'), key('a'), key('b'))")
    assert first == await keys("print(key('a'), key('a'), key('b'))")
    assert len(set(first)) == 3
    assert all(one.startswith("run/7/") for one in first)
    assert (await keys("print(key('c'))"))[0] != first[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos.listdir('/')", "PermissionError"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open('new.txt', 'w').write('x')", "PermissionError"),
        ("from pathlib import Path\nPath('/etc/passwd').read_text()", "PermissionError"),
        ("import os\nos.environ['PATH']", "not supported in this environment"),
        ("import os\nos.getenv('HOME')", "not supported in this environment"),
        ("import os\nos.urandom(8)", "not supported in this environment"),
        ("import os\nos.fork()", "module 'os' has no attribute 'fork'"),
        ("import os\nos.kill(1, 9)", "module 'os' has no attribute 'kill'"),
        ("import os\nos.system('true')", "module 'os' has no attribute 'system'"),
        ("import subprocess", "No module named 'subprocess'"),
        ("import socket", "No module named 'socket'"),
        ("import urllib.request", "No module named 'urllib"),
        ("import ctypes", "No module named 'ctypes'"),
        ("import threading", "No module named 'threading'"),
        ("import dspex_core", "No module named 'dspex_core'"),
        ("__import__('os').system('true')", "name '__import__' is not defined"),
        ("().__class__.__bases__[0].__subclasses__()", "no attribute '__class__'"),
        ("lookup.__globals__", "no attribute '__globals__'"),
        ("lookup.__class__.__mro__", "no attribute '__class__'"),
        ("(lambda: 0).__code__", "no attribute '__code__'"),
        ("import sys\nsys.modules", "module 'sys' has no attribute 'modules'"),
        ("eval('open(\"/etc/passwd\")')", "PermissionError"),
        ("exec('import os\\nos.listdir(\".\")')", "PermissionError"),
        ("def again():\n    return again()\nagain()", "RecursionError: maximum recursion depth exceeded"),
        ("import sys\nsys.setrecursionlimit(10 ** 9)", "no attribute 'setrecursionlimit'"),
        ("input()", "name 'input' is not defined"),
        ("raise SystemExit(3)", "Error"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("x = 1 +", "SyntaxError"),
        ("raise TimeoutError('its own')", "TimeoutError: its own"),
        ("for _ in range(2000):\n    lookup('Spain')", "suspension limit 1000 exceeded"),
    ],
)
async def test_code_that_wants_out_gets_an_error_and_the_session_goes_on(code, said, run):
    result = await run(f"kept = 5\n{code}", lookup)
    assert result.failed
    assert said in result.text
    if result.session is not None and "SyntaxError" not in said:
        assert (await run("kept", session=result.session)).text == "5"
    await all_ended()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True:\n    pass", "TimeoutError: the code ran for more than 0.5 s."),
        ("sum(range(10 ** 12))", "TimeoutError: the code ran for more than 0.5 s."),
        ("try:\n    while True:\n        pass\nexcept BaseException:\n    pass", "TimeoutError"),
        ("[0] * 10 ** 10", "MemoryError: the code needed more than 32 MiB of memory."),
        ("held = []\nwhile True:\n    held.append('x' * 10 ** 6)", "MemoryError: the code needed more than 32 MiB"),
        ("10 ** 10 ** 9", "MemoryError: the code needed more than 32 MiB"),
        ("held = 'x' * 30_000_000\nheld", "MemoryError: the code needed more than 32 MiB"),
        ("while True:\n    print('x' * 1000)", "MemoryError: the code printed more than 100000 characters."),
        ("print('x' * 200_000)\nkept = 7", "MemoryError: the code printed more than 100000 characters."),
    ],
)
async def test_code_beyond_a_limit_is_ended_and_leaves_nothing_behind(code, said, run):
    before = await run("kept = 5")
    result = await run(f"kept = 6\n{code}", session=before.session)
    assert result.failed
    assert said in result.text
    assert result.text.endswith(UNDONE)
    assert len(result.text) < 2_000
    assert (await run("kept", session=result.session)).text == "5"
    await all_ended()


async def test_waiting_takes_no_time(run):
    assert (await run("import time\ntime.sleep(3600)\n'awake'")).text == "'awake'"


@pytest.mark.parametrize(
    "code",
    ["print('x' * 50_000)", "'x' * 50_000", "raise ValueError('x' * 50_000)", "list(range(50_000))",
     "many = []\nfor _ in range(45):\n    many = [many, many]\nmany",
     "many = {}\nfor i in range(45):\n    many = {i: many, -i: many}\nmany"],
)  # fmt: skip
async def test_a_long_output_is_cut_and_says_so(code, run):
    result = await run(code)
    assert len(result.text) < 5_000
    assert "…" in result.text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{'a': (1,), 'b': {2}, (3, 4): None}", "{'a': (1,), 'b': {2}, (3, 4): None}"),
        ("set(), frozenset([1]), b'x', 1.5, True", "(set(), frozenset({1}), b'x', 1.5, True)"),
        ("class Box:\n    pass\nBox()", "<Box>"),
        ("10 ** 5000", "<an integer of 16610 bits>"),
        ("round_trip = []\nround_trip.append(round_trip)\nlen(round_trip)", "1"),
    ],
)
async def test_values_are_written_as_python_writes_them(code, said, run):
    assert (await run(code)).text == said


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the process by /proc")
async def test_a_process_that_is_killed_is_replaced(run):
    def kill() -> str:
        for process in worker_processes():
            os.kill(process, signal.SIGKILL)
        return "done"

    before = await run("kept = 5")
    result = await run("kept = 6\nkill()\nprint('never said')", kill, session=before.session)
    assert result.failed
    assert result.text == f"The process that ran the code has died, and another one takes its place. {UNDONE}"
    assert (await run("kept", session=result.session)).text == "5"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the process by /proc")
async def test_a_process_that_hangs_is_ended(run):
    def stop() -> str:
        for process in worker_processes():
            os.kill(process, signal.SIGSTOP)
        return "done"

    result = await run("stop()\nwhile True:\n    pass", stop)
    assert result.text == f"TimeoutError: the code ran for more than 0.5 s. {UNDONE}"
    assert (await run("1 + 1")).text == "2"
    await all_ended()


async def test_cells_run_beside_each_other_and_see_nothing_of_each_other(run):
    results = await asyncio.gather(*(run(f"number = {number}\nnumber") for number in range(20)))
    assert [result.text for result in results] == [str(number) for number in range(20)]
    assert "not defined" in (await run("number")).text


async def test_giving_up_on_a_cell_ends_its_process(run):
    called = asyncio.Event()

    async def say() -> None:
        called.set()

    async def wait() -> None:
        called.set()
        await asyncio.Event().wait()

    for code in ("wait()", "say()\nwhile True:\n    pass"):
        called.clear()
        cell = asyncio.create_task(run(code, say, wait))
        await called.wait()
        cell.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cell
        await all_ended()


async def test_without_the_extra_it_is_said_how_to_get_it(run, monkeypatch):
    # As on a machine where no cell has run yet.
    _worker._pool.cache_clear()
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'dspex\[sandbox\]'"):
        await run("1")


async def test_a_process_that_cannot_be_started_is_said(run, monkeypatch):
    _worker._pool.cache_clear()
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with pytest.raises(ConfigurationError, match=r"cannot start a process: .*nowhere"):
        await run("1")
    _worker._pool.cache_clear()


def test_reading_the_room_needs_no_extra():
    program = "import sys, dspex_core.sandbox, dspex_core.runtime\nprint('pydantic_monty' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert said.strip() == "False"


async def test_an_integer_too_large_to_be_written_is_no_argument_and_ends_nothing(run):
    result = await run("try:\n    lookup('x', 10**5000)\nexcept RuntimeError as error:\n    print(error)", lookup)
    assert not result.failed
    assert "the arguments do not fit lookup: an integer of 16610 bits is too large" in result.text


@pytest.mark.parametrize("limit", [{"seconds": 0}, {"memory_mb": "much"}, {"minutes": 1}])
def test_a_limit_that_is_none_is_refused_by_name(limit):
    with pytest.raises(ConfigurationError, match=rf"SandboxLimits\({next(iter(limit))}=…\): "):
        SandboxLimits(**limit)

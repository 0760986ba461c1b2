import asyncio
import datetime as dt
import enum
import functools
import threading
from contextvars import ContextVar
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from dspex_core import Tool
from dspex_core.errors import ProgramError, ToolError, ToolFailedError, TrustError
from dspex_core.tools import ToolSpec, as_tool


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Place(BaseModel):
    name: str
    north: float = Field(ge=-90, le=90)


def search(
    query: str,
    limit: Annotated[int, Field(ge=1)] = 3,
    *,
    sizes: list[Size] | None = None,
    near: Place | None = None,
    copy: Literal["yes", "no"] = "no",
) -> dict:
    """Search the shelves.

    Looks at everything.

    Args:
        query: What to look for,
            in plain words.
        limit (int): Most results.
        near: Where to begin: a place.

    Returns:
        What was found.
    """
    return {"query": query, "limit": limit, "sizes": sizes, "near": near, "copy": copy}


def test_a_function_is_described_by_its_name_docstring_and_type_hints():
    tool = Tool(search)
    assert (tool.name, tool.desc) == ("search", "Search the shelves.\n\nLooks at everything.")
    properties = tool.parameters["properties"]
    assert properties["query"] == {"type": "string", "description": "What to look for, in plain words."}
    assert properties["limit"] == {"type": "integer", "minimum": 1, "default": 3, "description": "Most results."}
    assert properties["near"]["description"] == "Where to begin: a place."
    assert properties["copy"]["enum"] == ["yes", "no"]
    assert tool.parameters["required"] == ["query"]
    assert tool.describe().startswith("search: Search the shelves. Looks at everything. Arguments: {")


def test_what_is_said_of_a_function_can_be_said_otherwise():
    tool = Tool(search, name="find", desc="Find it.", args={"limit": {"type": "integer", "maximum": 9}})
    assert (tool.name, tool.desc) == ("find", "Find it.")
    assert tool.parameters["properties"]["limit"] == {"type": "integer", "maximum": 9}
    with pytest.raises(ToolError, match="args describes 'size', which is no parameter"):
        Tool(search, args={"size": {}})


async def test_arguments_arrive_as_the_types_of_the_function_and_defaults_are_its_own():
    found = await Tool(search)(query="tea", limit="2", sizes=["l"], near={"name": "Oslo", "north": 59.9})
    assert found == {
        "query": "tea", "limit": 2, "sizes": [Size.LARGE], "near": Place(name="Oslo", north=59.9), "copy": "no",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "'query' is missing"),
        ({"query": "tea", "colour": "red"}, "there is no argument 'colour'"),
        ({"query": "tea", "limit": 0}, "'limit': Input should be greater than or equal to 1, not 0"),
        ({"query": "tea", "near": {"name": "Oslo", "north": 99}}, "'near.north': Input should be less than"),
        ({"query": ["tea" * 100]}, "'query': Input should be a valid string, not ['teatea"),
    ],
)
async def test_arguments_that_do_not_fit_are_named_with_what_the_tool_takes(args, said):
    with pytest.raises(ToolError) as caught:
        await Tool(search)(**args)
    text = str(caught.value)
    assert said in text
    assert '"minimum": 1' in text
    assert text.endswith("required: query")
    result = await Tool(search).invoke(args)
    assert (result.failed, result.text) == (True, f"search failed: {text}")


async def test_a_synchronous_tool_runs_in_a_thread_under_the_callers_context():
    who = ContextVar("who", default="nobody")

    def tell() -> tuple:
        return who.get(), threading.current_thread() is threading.main_thread()

    who.set("caller")
    assert await Tool(tell)() == ("caller", False)


async def test_many_tools_that_hang_hold_up_no_other():
    released = threading.Event()
    hanging = [Tool(released.wait, name=f"hang_{number}", timeout_seconds=0.05) for number in range(60)]
    results = await asyncio.gather(*(tool.invoke({}) for tool in hanging))
    assert {result.text.partition(" ")[2] for result in results} == {"failed: no result within 0.05 s"}
    assert await Tool(lambda: "quick", name="quick")() == "quick"
    released.set()


async def test_a_tool_that_takes_too_long_is_cancelled():
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ToolFailedError, match=r"no result within 0\.01 s"):
        await Tool(hang, timeout_seconds=0.01)()
    assert cancelled.is_set()


async def test_whatever_a_tool_raises_becomes_words():
    def leave() -> None:
        raise SystemExit(3)

    async def fail(error: str) -> None:
        raise {"timeout": TimeoutError("slow backend"), "told": ToolFailedError("no such page")}[error]

    assert (await Tool(leave).invoke({})).text == "leave failed: SystemExit: 3"
    assert (await Tool(fail, timeout_seconds=5).invoke({"error": "timeout"})).text == (
        "fail failed: TimeoutError: slow backend"
    )
    assert (await Tool(fail).invoke({"error": "told"})).text == "fail failed: no such page"
    with pytest.raises(KeyError):
        await Tool(fail)(error="other")


async def test_the_strangest_errors_become_words_too():
    class MuteError(Exception):
        def __str__(self):
            raise ValueError("no words")

    def stop() -> None:
        next(iter(()))

    def mute() -> None:
        raise MuteError

    async def cancelled() -> None:
        await asyncio.wait_for(asyncio.shield(asyncio.get_running_loop().create_task(give_up())), None)

    async def give_up() -> None:
        raise asyncio.CancelledError

    assert (await Tool(stop).invoke({})).text == "stop failed: RuntimeError: StopIteration"
    assert (await Tool(mute).invoke({})).text == "mute failed: MuteError"
    assert (await Tool(cancelled).invoke({})).text == "cancelled failed: it was cancelled"


async def test_a_caller_that_gives_up_cancels_the_tool():
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    call = asyncio.create_task(Tool(hang).invoke({}))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ({"day": dt.date(2026, 1, 2), "size": Size.LARGE}, '{"day": "2026-01-02", "size": "l"}'),
        ([Place(name="Ålesund", north=62.5)], '[{"name": "Ålesund", "north": 62.5}]'),
        (b"\xff\xfe", "__4="),
        (Ellipsis, "Ellipsis"),
        ("half \ud83d", "half ?"),
    ],
)
async def test_a_result_is_text(value, text):
    assert (await Tool(lambda: value, name="give").invoke({})).text == text


async def test_no_key_gets_into_a_result(monkeypatch):
    monkeypatch.setenv("SHELF_API_KEY", "key-of-the-shelf")

    def tell(*, fail: bool) -> str:
        if fail:
            raise ValueError("401 for key-of-the-shelf")
        return "asked with key-of-the-shelf"

    assert (await Tool(tell).invoke({"fail": False})).text == "asked with [key]"
    assert (await Tool(tell).invoke({"fail": True})).text == "tell failed: ValueError: 401 for [key]"


async def test_a_parameter_for_the_idempotency_key_is_hidden_from_models_and_filled_in():
    async def pay(amount: int, idempotency_key: str) -> str:
        return f"{amount} {idempotency_key}"

    tool = Tool(pay)
    assert list(tool.parameters["properties"]) == ["amount"]
    assert (await tool.invoke({"amount": 3}, idempotency_key="run/1")).text == "3 run/1"
    assert (await tool(amount=3)) != (await tool(amount=3))
    forged = await tool.invoke({"amount": 3, "idempotency_key": "mine"})
    assert "there is no argument 'idempotency_key'" in forged.text


class Shelf:
    """A shelf."""

    def __init__(self, name: str = "top"):
        self.name = name

    def __call__(self, item: int) -> str:
        """Take from the shelf."""
        return f"{self.name} {item}"

    async def put(self, item: int) -> str:
        """Put on the shelf."""
        return f"put {item} on {self.name}"


async def test_methods_callable_objects_partials_and_classes_are_tools_too():
    shelf = Shelf("low")
    assert (Tool(shelf.put).name, Tool(shelf.put).desc) == ("put", "Put on the shelf.")
    assert await Tool(shelf.put)(item="4") == "put 4 on low"
    assert (Tool(shelf).name, Tool(shelf).desc, await Tool(shelf)(item=1)) == ("Shelf", "Take from the shelf.", "low 1")
    half = Tool(functools.partial(search, "tea"))
    assert half.name == "search"
    assert (await half(limit=1))["query"] == "tea"
    assert (await Tool(Shelf)(name="new")).name == "new"
    open_ended = Tool(lambda **extra: extra, name="echo")
    assert await open_ended(anything=1) == {"anything": 1}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, "tool '<lambda>': name it"),
        ("search", "a tool is made of a function, not of 'search'"),
        (lambda x, /: x, "parameter 'x' cannot be given by name"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(function, said):
    name = None if "lambda" in said else "tool"
    with pytest.raises(ToolError, match=said):
        Tool(function, name=name)


def test_types_that_json_cannot_hold_are_refused():
    def lock(on: threading.Thread) -> None: ...
    def lost(on: "Nowhere") -> None: ...  # noqa: F821 - there is no such type

    with pytest.raises(ToolError, match="tool lock: a parameter's type cannot be described to a model"):
        Tool(lock)
    with pytest.raises(ToolError, match="tool lost: its parameters cannot be read: name 'Nowhere'"):
        Tool(lost)
    with pytest.raises(ToolError, match="timeout_seconds is 0"):
        Tool(search, timeout_seconds=0)


async def test_a_tool_is_written_down_and_found_again():
    spec = Tool(search, name="find", timeout_seconds=5).to_spec()
    assert spec.code.path == f"{__name__}:search"
    rebuilt = Tool.from_spec(ToolSpec.model_validate_json(spec.model_dump_json()))
    assert rebuilt.to_spec() == spec
    with pytest.raises(ProgramError, match="tool find was not imported"):
        await rebuilt.invoke({"query": "tea"})
    assert (await rebuilt.imported(trust=[__name__])(query="tea"))["query"] == "tea"


async def test_a_tool_written_down_before_its_source_changed_is_sent_on_as_it_is_here():
    spec = Tool(search).to_spec()
    before = spec.model_copy(update={"code": spec.code.model_copy(update={"source_digest": "0" * 64})})
    rebuilt = Tool.from_spec(before).imported(trust=None)
    assert (await rebuilt(query="tea"))["query"] == "tea"
    assert rebuilt.to_spec() == spec
    with pytest.raises(TrustError, match="differs"):
        Tool.from_spec(before).imported(trust=[__name__])


def test_a_tool_by_its_import_path_is_that_tool():
    assert as_tool(f"{__name__}:search").to_spec() == Tool(search).to_spec()
    assert as_tool(f"{__name__}:ready") is ready
    with pytest.raises(ProgramError, match="cannot be imported"):
        as_tool(f"{__name__}:nothing")


ready = Tool(search, name="ready")

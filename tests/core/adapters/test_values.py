"""What a model wrote, as a field's type."""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Literal
from uuid import UUID

import pytest
from model_servers import written
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from dspex_core import History, Image, InputField, OutputField, Signature, Tool, ToolCalls
from dspex_core.adapters import ChatAdapter
from dspex_core.errors import AdapterParseError, FieldValueError
from dspex_core.seam import ImagePart


class Mood(Enum):
    GLAD = "very glad"
    SAD = "sad"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Visit(BaseModel):
    mood: Mood
    days: set[date]


def fails(value):
    raise KeyError(value)


def parsed(annotation, text):
    class Read(Signature):
        """Read it."""

        text: str = InputField()
        found: annotation = OutputField()

    return ChatAdapter().parse(Read, written(found=text))["found"]


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (Mood, "very glad", Mood.GLAD),
        (Mood, '"Sad"', Mood.SAD),
        (Mood, "glad", Mood.GLAD),
        (Mood | None, "SAD", Mood.SAD),
        (Mood | None, "null", None),
        (Level, "2", Level.HIGH),
        (Level, "high", Level.HIGH),
        (Literal["billing", "bug"] | None, "Billing", "billing"),
        (Literal["billing", "bug"] | None, "None", None),
        (Decimal, "0.12345678901234567890", Decimal("0.12345678901234567890")),
        (Decimal, "`1.50`", Decimal("1.50")),
        (date, "2024-01-05", date(2024, 1, 5)),
        (date | None, '"2024-01-05"', date(2024, 1, 5)),
        (datetime, "2024-01-05T06:07:08", datetime(2024, 1, 5, 6, 7, 8)),  # noqa: DTZ001 - as written
        (UUID, "12345678-1234-5678-1234-567812345678", UUID(int=0x12345678123456781234567812345678)),
        (Visit, '{"mood": "sad", "days": ["2024-01-05"]}', Visit(mood=Mood.SAD, days={date(2024, 1, 5)})),
        (list[Annotated[int, Field(ge=1)]], "[1, 2]", [1, 2]),
        (dict[Mood, tuple[int, ...]], '{"sad": [1, 2]}', {Mood.SAD: (1, 2)}),
        (Image, "https://example.com/a.png", Image("https://example.com/a.png")),
        (
            ToolCalls,
            '[{"name": "find", "args": {"q": 1}}]',
            ToolCalls(tool_calls=({"name": "find", "args": {"q": 1}},)),
        ),
    ],
)
def test_what_a_model_wrote_is_read_as_the_type_of_its_field(annotation, text, value):
    assert parsed(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "text", "complaint"),
    [
        (Mood, "angry", "should be 'very glad' or 'sad'"),
        (date, "tomorrow", "valid date"),
        (list[Annotated[int, Field(ge=1)]], "[1, 0]", "1: Input should be greater than or equal to 1"),
        (Annotated[str, AfterValidator(fails)], "x", "KeyError: 'x'"),
        (Annotated[int, Field(pattern="x")], "1", "TypeError: Unable to apply constraint 'pattern'"),
        (Image, "cat.png", "neither an http"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_how_whatever_a_validator_raises(annotation, text, complaint):
    with pytest.raises(AdapterParseError, match=complaint):
        parsed(annotation, text)


def look_up(word: str) -> str:
    """Look a word up."""
    return word


class Look(Signature):
    """Look at it."""

    pictures: list[Image] = InputField()
    tools: list[Tool] = InputField()
    history: History = InputField()
    answer: str = OutputField()


@pytest.mark.parametrize("adapter", [ChatAdapter(), ChatAdapter(native_tools=True)])
def test_inputs_that_came_as_json_are_shown_as_those_that_were_given_as_values(adapter):
    image = Image("https://example.com/a.png")
    given = {
        "pictures": [image],
        "tools": [Tool(look_up)],
        "history": History(messages=[{"pictures": [image], "answer": "a cat"}]),
    }
    types = {"pictures": list[Image], "tools": list[Tool], "history": History}
    as_json = {name: TypeAdapter(types[name]).dump_python(value, mode="json") for name, value in given.items()}
    question = adapter.question(Look, given)
    assert adapter.question(Look, as_json) == question
    assert [part.url for message in question for part in message.content if isinstance(part, ImagePart)] == [
        "https://example.com/a.png"
    ] * 2
    assert adapter.question(Look, given | {"tools": [look_up]}) == question


def test_an_input_that_is_no_image_is_named():
    with pytest.raises(FieldValueError, match=r"field 'pictures' of Look: 0\.url: 'cat\.png' is neither an http"):
        ChatAdapter().question(Look, {"pictures": ["cat.png"], "tools": [], "history": History()})

"""Signatures written as JSON and made again: models see the same, and answers become the same."""

import dataclasses
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, Optional, Required, TypeVar
from uuid import UUID

import pydantic
import pytest
from annotated_types import Interval, Predicate
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    HttpUrl,
    PositiveInt,
    RootModel,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from dspex_core import (
    ChainOfThought,
    History,
    Image,
    InputField,
    Module,
    OutputField,
    Predict,
    Signature,
    Tool,
    ToolCalls,
)
from dspex_core.adapters import ChatAdapter
from dspex_core.errors import SignatureError
from dspex_core.signature import SignatureSpec, signature_of, type_adapter, type_name

ADAPTER = ChatAdapter()


class Urgency(StrEnum):
    LOW = "low"
    HIGH = "high"


class Level(IntEnum):
    """How deep."""

    ONE = 1
    TWO = 2


class Mixed(Enum):
    A = 1
    B = "b"
    C = None


class Legacy(str, Enum):  # noqa: UP042 - people write it so
    OLD = "old"


class Person(BaseModel):
    """Somebody."""

    name: str = Field(min_length=1, description="in full")
    born: date | None = None
    tags: set[str] = Field(default_factory=set)
    urgency: Urgency = Urgency.LOW
    mood: list[Level] = [Level.ONE]
    best_friend: Optional["Person"] = None


class Money(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, title="A price")

    amount: Decimal = Field(gt=Decimal("0.5"), max_digits=6, decimal_places=2)
    currency: Annotated[str, StringConstraints(to_upper=True, pattern="^[A-Z]{3}$")] = "EUR"
    due: datetime = Field(alias="dueAt", ge=datetime(2020, 1, 1))  # noqa: DTZ001 - a constraint without a zone


class Left(BaseModel):
    side: Literal["left"]
    right: "list[Right]" = []


class Right(BaseModel):
    side: Literal["right"]
    left: Left | None = None


class Movie(TypedDict, total=False):
    """A film."""

    title: Required[str]
    year: Annotated[int, Field(ge=1888)]
    sequel: "NotRequired[Movie]"


@dataclasses.dataclass
class Point:
    x: int
    y: Annotated[float, Field(le=1)] = 0.5
    near: list["Point"] = dataclasses.field(default_factory=list)


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid"))
class Size:
    """How large."""

    width: int = Field(ge=0, description="in metres")
    unit: Urgency = Urgency.HIGH


class Names(RootModel[list[str]]):
    """Some names."""


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


class Nested(BaseModel):
    movie: Movie
    points: dict[str, Point] = {}
    both: Annotated[Left | Right, Field(discriminator="side")] | None = None
    pairs: list[tuple[int, Money]] = Field(default=[], max_length=2)
    opened: timedelta = timedelta(minutes=5)
    box: Box[int] = Box(content=3)
    sizes: list[Size] = [Size(width=1)]


UserId = NewType("UserId", int)

ANSWERS = {
    Urgency: ["low", "none", 3],
    Level: [1, "2", 3],
    Mixed: [1, "b", None, "c"],
    Legacy: ["old", "new"],
    Person: [
        {"name": "Ann", "born": "2001-02-03", "tags": ["a", "a"], "best_friend": {"name": "Bob"}},
        {"name": ""},
        {"name": "Ann", "urgency": "never"},
        {"name": "Ann", "unknown": 1},
    ],
    Money: [
        {"amount": "1.50", "currency": "usd", "dueAt": "2024-05-06T07:08:09"},
        {"amount": 0.1, "dueAt": "2024-05-06T07:08:09"},
        {"amount": 1, "due": "2024-05-06T07:08:09"},
        {"amount": 1, "dueAt": "2019-05-06T07:08:09"},
        {"amount": 1, "dueAt": "2024-05-06T07:08:09", "more": 1},
    ],
    Left: [{"side": "left", "right": [{"side": "right", "left": {"side": "left"}}]}, {"side": "right"}],
    Movie: [{"title": "Alien", "sequel": {"title": "Aliens"}}, {"year": 1979}, {"title": "x", "year": 1800}],
    Point: [{"x": 1, "near": [{"x": 2, "y": 1}]}, {"x": 1, "y": 2}, {}],
    Size: [{"width": 3}, {"width": -1}, {"width": 1, "unit": "low"}, {"width": 1, "depth": 2}],
    Names: [["a"], [1], "a"],
    Box[int]: [{"content": 1}, {"content": "one"}],
    Nested: [
        {"movie": {"title": "Alien"}},
        {"movie": {"title": "Alien"}, "points": {"a": {"x": 1}}, "both": {"side": "right"}, "opened": "PT1H"},
        {"movie": {"title": "Alien"}, "both": {"side": "up"}},
    ],
    UserId: [1, "x"],
    PositiveInt: [1, 0],
    Annotated[int, Interval(ge=1, lt=4)]: [1, 4],
    Annotated[date, Field(ge=date(2020, 1, 1))]: ["2020-01-01", "2019-12-31"],
    Annotated[timedelta, Field(le=timedelta(hours=1))]: ["PT1H", "PT2H"],
    list[Annotated[str, StringConstraints(strip_whitespace=True, max_length=2)]]: [[" ab "], ["abc"]],
    Annotated[Left | Right, Discriminator("side")]: [{"side": "right"}, {"side": "up"}],
    Urgency | Level | list[Movie]: ["low", 2, [{"title": "x"}], []],
    tuple[int, ...]: [[1, 2], ["x"]],
    tuple[Person, Literal[1, "a"]]: [[{"name": "Ann"}, "a"], [{"name": "Ann"}, 2]],
    dict[Urgency, frozenset[Level]]: [{"low": [1, 2]}, {"low": [3]}],
    UUID: ["12345678-1234-5678-1234-567812345678", "x"],
    time: ["10:11:12", "x"],
    Decimal: ["1.5", "x"],
    HttpUrl: ["https://example.com/", "x"],
    Image: ["https://example.com/a.png", "x"],
    History: [{"messages": [{"question": "a"}]}, {"messages": "x"}],
    ToolCalls: [[{"name": "search", "args": {"q": 1}}], "x"],
    Person | None: [None, {"name": "Ann"}, {}],
}


def signature_with(annotation, **constraints):
    fields = {"text": (str, InputField(desc="given")), "found": (annotation, OutputField(desc="asked", **constraints))}
    return pydantic.create_model("Find", __base__=Signature, __doc__="Find it.", **fields)


def again(signature):
    return SignatureSpec.model_validate_json(signature.to_spec().model_dump_json()).build()


def prompt(signature):
    return (*ADAPTER.prefix(signature, signature.instructions, ()), ADAPTER.question(signature, {"text": "x"}))


def verdict(signature, answer):
    """What becomes of an answer: its JSON, or what is wrong with it and where."""
    adapter = type_adapter(signature, "found")
    try:
        value = adapter.validate_python(answer)
    except ValidationError as error:
        return [(found["loc"], found["type"]) for found in error.errors()]
    return adapter.dump_python(value, mode="json"), adapter.dump_python(value, mode="json", by_alias=True)


@pytest.mark.parametrize("annotation", ANSWERS, ids=type_name)
def test_a_signature_made_again_shows_models_the_same_and_judges_answers_the_same(annotation):
    signature = signature_with(annotation)
    rebuilt = again(signature)
    assert prompt(rebuilt) == prompt(signature)
    assert rebuilt.to_spec() == signature.to_spec()
    assert rebuilt.equals(signature)
    for answer in ANSWERS[annotation]:
        assert str(verdict(rebuilt, answer)) == str(verdict(signature, answer))


@pytest.mark.parametrize(
    ("annotation", "constraints", "right", "wrong"),
    [
        (int, {"ge": 1, "le": 5}, 5, 6),
        (int, {"gt": 1, "lt": 5, "multiple_of": 2}, 4, 3),
        (float, {"allow_inf_nan": False}, 1.5, float("nan")),
        (float, {"lt": float("inf")}, 1.5, float("inf")),
        (str, {"min_length": 1, "max_length": 3}, "abc", "abcd"),
        (str, {"pattern": r"^it's \"[a-z]\"\n?$"}, 'it\'s "a"', "x"),
        (int, {"strict": True}, 1, "1"),
        (list[int], {"min_length": 1}, [1], []),
        (Decimal, {"ge": Decimal("0.10"), "decimal_places": 1}, "0.1", "0.05"),
        (Left | Right, {"discriminator": "side"}, {"side": "left"}, {"side": "up"}),
    ],
)
def test_constraints_are_enforced_on_answers_before_and_after_they_are_written_down(
    annotation, constraints, right, wrong
):
    signature = signature_with(annotation, **constraints)
    for judged in (signature, again(signature)):
        type_adapter(judged, "found").validate_python(right)
        with pytest.raises(ValidationError):
            type_adapter(judged, "found").validate_python(wrong)
    assert prompt(again(signature)) == prompt(signature)
    assert again(signature).equals(signature)


def test_two_classes_of_one_name_are_refused_and_not_taken_for_each_other():
    other = pydantic.create_model("Person", age=(int, ...))
    with pytest.raises(SignatureError, match="two of its classes are named Person"):
        signature_with(dict[str, Person | list[other]]).to_spec()


def test_a_class_named_like_a_built_in_type_is_not_taken_for_it():
    class date(Enum):  # noqa: N801 - the name is the point
        TODAY = 1

    signature = signature_with(date)
    assert prompt(again(signature)) == prompt(signature)
    assert type_name(again(signature).output_fields["found"].annotation) == "date"
    with pytest.raises(ValidationError):
        type_adapter(again(signature), "found").validate_python("2020-01-01")


def test_the_same_written_classes_are_the_same_classes():
    first, second = again(signature_with(Person)), again(signature_with(Person))
    assert first.output_fields["found"].annotation is second.output_fields["found"].annotation


def test_a_written_signature_is_readable():
    assert json.loads(signature_with(list[Movie], max_length=3).to_spec().model_dump_json())["fields"] == [
        {"name": "text", "role": "input", "type": "str", "desc": "given"},
        {
            "name": "found",
            "role": "output",
            "type": "Annotated[list[Movie], Field(max_length=3)]",
            "desc": "asked",
            "types": {
                "Movie": {
                    "kind": "typed_dict",
                    "name": "Movie",
                    "doc": "A film.",
                    "members": [
                        {"name": "title", "type": "str"},
                        {"name": "year", "type": "Annotated[int, Field(ge=1888)]", "required": False},
                        {"name": "sequel", "type": "Movie", "required": False},
                    ],
                }
            },
        },
    ]


def test_a_signature_written_before_types_could_be_declared_is_still_read():
    written = {
        "name": "Triage",
        "instructions": "Find the team.",
        "fields": [
            {"name": "text", "role": "input", "type": "str", "desc": ""},
            {"name": "team", "role": "output", "type": "Literal['a', 'b']", "desc": "who"},
        ],
    }
    spec = SignatureSpec.model_validate(written)
    assert spec.build().output_fields["team"].annotation == Literal["a", "b"]
    assert spec.model_dump() == {**written, "fields": tuple(written["fields"])}


class Validated(BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check_name(cls, name: str) -> str:
        return name


class Whole(BaseModel):
    name: str

    @pydantic.model_validator(mode="after")
    def check_all(self):
        return self


class Heir(Validated):
    more: int = 0


class Computed(BaseModel):
    name: str

    @pydantic.computed_field
    def size(self) -> int:
        return len(self.name)


class Serialized(BaseModel):
    when: date

    @pydantic.field_serializer("when")
    def as_year(self, when: date) -> int:
        return when.year


class Dynamic(BaseModel):
    name: str = Field(default_factory=lambda: "now")


class Initialised(BaseModel):
    name: str

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)


class Finished(BaseModel):
    name: str

    def model_post_init(self, context: Any, /) -> None:
        """Look at it."""


@dataclasses.dataclass
class Checked:
    name: str

    def __post_init__(self) -> None:
        self.name = self.name.upper()


class Lenient(Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":
        return cls.A


class Bits(IntFlag):
    A = 1


class Pair(Enum):
    A = (1, 2)


class Bare:
    pass


class Aliased(BaseModel):
    name: str = Field(validation_alias=AliasChoices("name", "title"))


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Validated, "Validated has the validator 'check_name', which is code"),
        (list[Whole], "Whole has the validator 'check_all', which is code"),
        (Heir, "Heir has the validator 'check_name', which is code"),
        (pydantic.create_model("Outer", inner=(Validated | None, None)), "'check_name'"),
        (Computed, "computed field 'size'"),
        (Serialized, "serializer 'as_year'"),
        (Dynamic, r"the default of Dynamic\.name is made by code"),
        (Initialised, "method '__init__'"),
        (Finished, "method 'model_post_init'"),
        (Checked, "method '__post_init__'"),
        (Lenient, "method '_missing_'"),
        (Bits, "Bits has members that JSON does not know"),
        (Pair, "Pair has members that JSON does not know"),
        (Literal[Urgency.LOW], "no choice of constants"),
        (Bare, "only its own code can read the values of Bare"),
        (Aliased, r"Aliased\.name: validation_alias=.* is no constant"),
        (Annotated[str, AfterValidator(str.upper)], "AfterValidator is code"),
        (list[Annotated[int, Predicate(bool)]], "Predicate is code"),
        (T, "no type that JSON could hold"),
    ],
)
def test_what_code_decides_is_refused_by_name_and_never_weakened(annotation, reason):
    with pytest.raises(
        SignatureError, match=rf"field 'found' of Find cannot be written down.*{reason}.*module:attribute"
    ):
        signature_with(annotation).to_spec()


@pytest.mark.parametrize(
    "types",
    [
        {"x=print(1)": {"kind": "dataclass", "name": "A", "members": []}},
        {"A": {"kind": "dataclass", "name": "A", "members": [{"name": "x=print(1)", "type": "int"}]}},
        {"A": {"kind": "model", "name": "A", "members": [{"name": "x", "type": "print(1)"}]}},
        {"A": {"kind": "model", "name": "A", "members": [{"name": "__init__", "type": "int"}]}},
        {"A": {"kind": "model", "name": "A", "members": [{"name": "x", "type": "Missing"}]}},
        {"A": {"kind": "model", "name": "A", "members": [{"name": "_x", "type": "int"}]}},
        {"A": {"kind": "dataclass", "name": "A", "members": [{"name": "class", "type": "int"}]}},
        {"class": {"kind": "model", "name": "A", "members": [{"name": "x", "type": "int"}]}},
        {"A": {"kind": "enum", "name": "A", "base": "int", "members": {"X": "one"}}},
        {"A": {"kind": "enum", "name": "A", "base": "Enum", "members": {"mro": 1}}},
        {"str": {"kind": "enum", "name": "str", "base": "str", "members": {"X": "one"}}},
    ],
)
def test_written_types_that_make_no_sense_are_a_signature_error_that_names_the_field(types):
    spec = {"name": "S", "instructions": "", "fields": [
        {"name": "text", "role": "input", "type": "str"},
        {"name": "found", "role": "output", "type": next(iter(types)), "types": types},
    ]}  # fmt: skip
    with pytest.raises(SignatureError, match="field 'found'"):
        SignatureSpec.model_validate(spec).build()


def test_a_program_over_declared_types_is_saved_and_loaded_without_the_code_of_its_types(tmp_path):
    program = ChainOfThought(signature_with(list[Person], max_length=3)) | Predict("found: list[str] -> answer: Tool")
    program.save(tmp_path / "program.json")
    loaded = Module.load(tmp_path / "program.json")
    pairs = zip(program.named_predictors().values(), loaded.named_predictors().values(), strict=True)
    for before, after in pairs:
        assert after.signature.equals(before.signature)
    assert Person.__module__ not in (tmp_path / "program.json").read_text()


def test_a_tool_is_a_value_that_is_written_as_its_spec():
    signature = signature_of("tools: list[Tool] -> tool: Tool")
    adapter = TypeAdapter(signature.input_fields["tools"].annotation)
    tools = adapter.validate_python([look_up, Tool(look_up, name="find")])
    assert [tool.name for tool in tools] == ["look_up", "find"]
    read = adapter.validate_json(adapter.dump_json(tools))
    assert [tool.to_spec() for tool in read] == [tool.to_spec() for tool in tools]
    with pytest.raises(ValidationError):
        adapter.validate_python(["look_up"])
    assert signature.equals(again(signature))


def look_up(word: str) -> str:
    """Look a word up."""
    return word


def test_two_classes_of_one_name_in_a_field_are_refused():
    one, other = pydantic.create_model("Ticket", x=(int, ...)), pydantic.create_model("Ticket", y=(int, ...))
    with pytest.raises(SignatureError, match="Ticket"):
        signature_with(tuple[one, other]).to_spec()


SCALARS = st.sampled_from([str, int, float, bool, date, Decimal, UUID, Urgency, Level, Movie, Point, Any]) | st.builds(
    lambda low, size: Annotated[int, Field(ge=low, lt=low + size)], st.integers(-9, 9), st.integers(1, 9)
)
NAMES = st.sampled_from(["name", "class_", "copy", "x", "größe"])


def models(inner):
    fields = st.dictionaries(NAMES, st.tuples(inner, st.sampled_from([..., None])), min_size=1, max_size=3)
    # A name of its own for each class: two of one name in a field are refused, as another test says.
    return st.builds(lambda name, given: pydantic.create_model(f"M{name.hex}", **given), st.uuids(), fields)


TYPES = st.recursive(
    SCALARS,
    lambda inner: (
        inner.map(lambda one: list[one])
        | inner.map(lambda one: one | None)
        | st.tuples(inner, inner).map(lambda two: tuple[two])
        | inner.map(lambda one: dict[str, one])
        | models(inner)
    ),
    max_leaves=5,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "low", "1", "2020-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.just("title"), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TYPES, st.lists(JSON, max_size=4))
@pytest.mark.filterwarnings("ignore:Field name .* shadows an attribute")
def test_any_type_made_again_shows_the_same_and_judges_the_same(annotation, answers):
    signature = signature_with(annotation)
    try:
        rebuilt = again(signature)
    except SignatureError as error:
        assume("two of its classes are named" not in str(error))
        raise
    assert prompt(rebuilt) == prompt(signature)
    for answer in answers:
        assert str(verdict(rebuilt, answer)) == str(verdict(signature, answer))

import re
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_servers import written
from pydantic import BaseModel

from dspex_core import InputField, OutputField, Signature
from dspex_core.adapters import ChatAdapter
from dspex_core.errors import AdapterParseError
from dspex_core.signature import signature_of

ADAPTER = ChatAdapter()


class Person(BaseModel):
    name: str
    age: int


class Everything(Signature):
    """Read it all."""

    text: str = InputField()
    label: Literal["billing", "Bug report"] = OutputField()
    count: int = OutputField(ge=0)
    share: float = OutputField()
    sure: bool = OutputField()
    words: list[str] = OutputField()
    table: dict[str, int] = OutputField()
    person: Person = OutputField()
    when: date | None = OutputField()
    anything: Any = OutputField()


TRIAGE = signature_of("text, tags: list[str] -> reasoning, team: Literal['billing', 'bug']")


def parse_one(annotation, text):
    signature = signature_of(f"q -> a: {annotation}")
    return ADAPTER.parse(signature, written(a=text))["a"]


def test_the_prompt_is_in_the_wire_format():
    demo = {"text": "refund me", "tags": ["x"], "reasoning": "money", "team": "billing"}
    messages = (*ADAPTER.prefix(TRIAGE, "Route it.", (demo,)), *ADAPTER.question(TRIAGE, {"text": "hi", "tags": []}))
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    system, asked, answered, question = (message.content for message in messages)
    for part in (
        "1. `text` (str):",
        "2. `tags` (list[str]):",
        "1. `reasoning` (str):",
        "2. `team` (Literal['billing', 'bug']):",
        "[[ ## text ## ]]\n{text}",
        "[[ ## completed ## ]]",
    ):
        assert part in system
    assert system.endswith("Route it.")
    assert asked == '[[ ## text ## ]]\nrefund me\n\n[[ ## tags ## ]]\n["x"]'
    assert answered == written(reasoning="money", team="billing")
    assert question.startswith("[[ ## text ## ]]\nhi\n\n[[ ## tags ## ]]\n[]\n\n")
    assert "`[[ ## reasoning ## ]]`, then `[[ ## team ## ]]`" in question


def test_descriptions_types_and_constraints_reach_the_prompt():
    class Rated(Signature):
        """Rate it."""

        text: str = InputField(desc="what the customer wrote")
        stars: int = OutputField(desc="from 1 to 5", ge=1, le=5)
        title: str = OutputField(max_length=20)
        plain: int = OutputField()

    system = ADAPTER.prefix(Rated, Rated.instructions, ())[0].content
    assert "`text` (str): what the customer wrote" in system
    assert "`stars` (int): from 1 to 5" in system
    assert re.search(r'\{stars\} +# a single int that fits the schema .*"maximum": 5', system)
    assert re.search(r'\{title\} +# text that fits the schema .*"maxLength": 20', system)
    assert re.search(r"\{plain\} +# a single int\n", system)


def test_a_demo_without_some_field_says_so_and_complete_ones_come_last():
    whole = {"text": "a", "tags": [], "reasoning": "r", "team": "bug"}
    partial = {"text": "b", "team": "billing"}
    messages = ADAPTER.prefix(TRIAGE, "Route it.", (whole, partial))
    assert "[[ ## text ## ]]\nb" in messages[1].content
    assert "[[ ## reasoning ## ]]\n(not given in this example)" in messages[2].content
    assert "[[ ## text ## ]]\na" in messages[3].content


@pytest.mark.parametrize("useless", [{"text": "only inputs"}, {"team": "bug"}, {"other": 1}, {}])
def test_a_demo_without_inputs_or_without_outputs_is_left_out(useless):
    assert len(ADAPTER.prefix(TRIAGE, "Route it.", (useless,))) == 1


def test_what_a_demo_shows_is_read_back_as_the_same_values():
    values = {
        "label": "Bug report",
        "count": 3,
        "share": 0.5,
        "sure": True,
        "words": ["a", 'b"c'],
        "table": {"x": 1},
        "person": Person(name="Ada", age=36),
        "when": date(2024, 1, 2),
        "anything": {"deep": [1, None]},
    }
    shown = ADAPTER.prefix(Everything, "Read it all.", ({"text": "t", **values},))[2].content
    assert ADAPTER.parse(Everything, shown) == values


@pytest.mark.parametrize(
    "answer",
    [
        "[[ ## reasoning ## ]]\nbecause\n\n[[ ## team ## ]]\nbug\n\n[[ ## completed ## ]]",
        "[[ ## reasoning ## ]] because [[ ## completed ## ]]\n[[ ## team ## ]] bug",
        "Sure! Here it is:\n\n  [[ ## team ## ]]\n  bug\n[[ ## reasoning ## ]]\nbecause",
        "[[ ## reasoning ## ]]\nbecause\n[[ ## team ## ]]\n`bug`\n[[ ## completed ## ]]\nAnything else?",
        "[[ ## reasoning ## ]]\r\nbecause\r\n\r\n[[ ## team ## ]]\r\n'Bug' [[ ## completed ## ]]\r\n",
        "[[ ## reasoning ## ]]\nbecause\n[[ ## team ## ]]\nbug\n[[ ## note ## ]]\nx\n[[ ## team ## ]]\nbilling",
    ],
)
def test_answers_in_odd_shapes_are_read(answer):
    assert ADAPTER.parse(TRIAGE, answer) == {"reasoning": "because", "team": "bug"}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", "42", 42),
        ("int", '"42"', 42),
        ("float", "1e3", 1000.0),
        ("bool", "True", True),
        ("bool", "false", False),
        ("bool", "yes", True),
        ("str", "42", "42"),
        ("str", '"quoted"', '"quoted"'),
        ("list[str]", '["a", "b"]', ["a", "b"]),
        ("list[str]", "['a', 'b']", ["a", "b"]),
        ("list[str]", '```json\n["a"]\n```', ["a"]),
        ("dict[str, int]", '{"a": 1}', {"a": 1}),
        ("str | None", "null", None),
        ("str | None", "None", None),
        ("str | None", "42", "42"),
        ("date", "2024-11-12", date(2024, 11, 12)),
        ("Literal[1, 2]", "2", 2),
        ("Literal['yes', 'no']", '"Yes"', "yes"),
        ("Literal['A', 'a']", "a", "a"),
    ],
)
def test_values_come_back_as_their_type(annotation, text, value):
    assert parse_one(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "text", "complaint"),
    [
        ("int", "about 40", "integer"),
        ("int", "2.5", "integer"),
        ("Literal['yes', 'no']", "maybe", "'yes' or 'no'"),
        ("Literal['A', 'a', 'b']", "AA", "'A', 'a' or 'b'"),
        ("list[int]", '["a"]', "0: "),
        ("dict[str, int]", '{{"a": 1}}', "dictionary"),
        ("float", "", "number"),
    ],
)
def test_a_value_that_does_not_fit_names_field_and_reason(annotation, text, complaint):
    with pytest.raises(AdapterParseError) as caught:
        parse_one(annotation, text)
    assert "output field 'a'" in caught.value.reason
    assert complaint in caught.value.reason


def test_a_constraint_is_enforced():
    with pytest.raises(AdapterParseError, match=r"output field 'count'.*greater than or equal to 0"):
        ADAPTER.parse(Everything, written(label="billing", count="-1"))


def test_a_missing_field_is_named_and_the_answer_quoted():
    with pytest.raises(AdapterParseError, match=r"output field 'team' is missing.*because") as caught:
        ADAPTER.parse(TRIAGE, written(reasoning="because"))
    assert caught.value.answer == written(reasoning="because")


def test_a_very_long_answer_is_kept_whole_but_quoted_in_part():
    with pytest.raises(AdapterParseError) as caught:
        ADAPTER.parse(TRIAGE, "x" * 10_000)
    assert caught.value.answer == "x" * 10_000
    assert len(str(caught.value)) < 1000


def test_the_correction_shows_the_answer_and_says_what_is_wrong_with_it():
    with pytest.raises(AdapterParseError) as caught:
        ADAPTER.parse(TRIAGE, written(reasoning="because", team="sales"))
    answer, request = ADAPTER.correction(TRIAGE, caught.value)
    assert (answer.role, answer.content) == ("assistant", written(reasoning="because", team="sales"))
    assert request.role == "user"
    assert "output field 'team'" in request.content
    assert "'billing' or 'bug'" in request.content


def test_values_are_shown_as_dspy_shows_them():
    signature = signature_of("passages, one, sure: bool, none: str | None, table: dict[str, bool] -> answer")
    values = {
        "passages": ["short", "two\nlines", "«quoted»"],
        "one": ["alone"],
        "sure": True,
        "none": None,
        "table": {"a": True},
    }
    text = ADAPTER.question(signature, values)[0].text
    assert (
        "[[ ## passages ## ]]\n[1] «short»\n[2] «««\n    two\n    lines\n»»»\n[3] «««\n    «quoted»\n»»»\n\n"
        "[[ ## one ## ]]\n«alone»\n\n[[ ## sure ## ]]\nTrue\n\n[[ ## none ## ]]\nNone\n\n"
        '[[ ## table ## ]]\n{"a": true}\n\n'
    ) in text


def test_an_input_that_a_demo_lacks_is_left_out_of_it():
    asked = ADAPTER.prefix(TRIAGE, "Route it.", ({"text": "b", "team": "billing"},))[1].text
    assert asked == "[[ ## text ## ]]\nb"


PIECES = [f"[[ ## {name} ## ]]" for name in [*Everything.model_fields, "completed"]]
JUNK = st.text() | st.sampled_from(
    [*PIECES, "\n", "{", "}", "[", "]", "'", '"', "{{}}", "{[]: 1}", "1e999", "```", "\\x"]
)
WHOLE = st.fixed_dictionaries(dict.fromkeys(Everything.output_fields, JUNK)).map(lambda values: written(**values))


@pytest.mark.slow
@given(WHOLE | st.lists(JUNK).map("".join))
def test_any_text_is_outputs_or_a_parse_error(answer):
    try:
        outputs = ADAPTER.parse(Everything, answer)
    except AdapterParseError as error:
        ADAPTER.correction(Everything, error)
    else:
        assert outputs.keys() == Everything.output_fields.keys()


@given(st.sampled_from(["int", "bool", "list[str]", "dict[str, int]", "Any", "date | None"]), JUNK)
def test_any_text_is_a_value_or_a_parse_error(annotation, text):
    try:
        parse_one(annotation, text)
    except AdapterParseError as error:
        assert "output field 'a'" in error.reason  # noqa: PT017 - either outcome is right

from contextlib import suppress
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dspex_core import InputField, OutputField, Signature
from dspex_core.errors import SignatureError
from dspex_core.signature import SignatureSpec, parse_type, signature_of, type_name


class Triage(Signature):
    """Route a customer's message
    to the team that handles it.
    """

    text: str = InputField(desc="the message")
    team: Literal["billing", "bug"] = OutputField()


def types_of(fields):
    return {name: field.annotation for name, field in fields.items()}


def test_a_class_tells_inputs_outputs_and_the_instruction():
    assert types_of(Triage.input_fields) == {"text": str}
    assert types_of(Triage.output_fields) == {"team": Literal["billing", "bug"]}
    assert Triage.instructions == "Route a customer's message\nto the team that handles it."
    assert Triage.input_fields["text"].description == "the message"


def test_a_string_tells_inputs_and_outputs_in_order_and_fields_without_a_type_are_text():
    signature = signature_of("question, context: list[str] -> reason, answer: Literal['a', 'b->c, d']")
    assert list(signature.input_fields) == ["question", "context"]
    assert list(signature.output_fields) == ["reason", "answer"]
    assert types_of(signature.model_fields) == {
        "question": str,
        "context": list[str],
        "reason": str,
        "answer": Literal["a", "b->c, d"],
    }
    assert signature.instructions == "Given the fields `question`, `context`, produce the fields `reason`, `answer`."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("question answer", "exactly one '->'"),
        ("a -> b -> c", "exactly one '->'"),
        ("question ->", "character 12: '' is not a field name"),
        ("two words -> answer", "character 1: 'two words' is not a field name"),
        ("question -> an-swer", "character 13: 'an-swer' is not a field name"),
        ("a, a -> b", "character 4: 'a' is there twice"),
        ("a, b -> b", "'b' is both an input and an output"),
        ("a -> b: Literal['x'", "a bracket is not closed"),
        ("a -> b: Literal['x]", "a quote is not closed"),
        ("a -> b: Literal[x]", "'x' needs quotes"),
        ("a -> b: open('secret')", "is not a type"),
        ("a -> b: pandas.DataFrame", "declare a class Signature"),
        ("a -> b: list[()]", "between the brackets"),
        ("a -> b: Optional[int, str]", "Optional"),
        ("a -> _b", "leading underscores"),
        ("a -> model_dump", "model_dump"),
        ("a -> b: dict[str]", "two type arguments"),
    ],
)
def test_a_string_that_makes_no_sense_is_refused_with_the_place_and_the_reason(text, complaint):
    with pytest.raises(SignatureError) as caught:
        signature_of(text)
    assert complaint in str(caught.value)


def test_a_class_field_that_is_neither_input_nor_output_is_named():
    with pytest.raises(SignatureError, match="field 'note' of Odd must be"):

        class Odd(Signature):
            text: str = InputField()
            note: str = ""
            team: str = OutputField()


def test_a_class_field_without_a_type_is_named():
    with pytest.raises(SignatureError, match=r"signature Untyped.*text"):

        class Untyped(Signature):
            text = InputField()
            team: str = OutputField()


@pytest.mark.parametrize("role", ["input", "output"])
def test_a_class_without_inputs_or_without_outputs_is_refused(role):
    field = OutputField if role == "input" else InputField
    with pytest.raises(SignatureError, match=f"signature Half has no {role} field"):
        type("Half", (Signature,), {"__annotations__": {"x": str}, "x": field(), "__module__": __name__})


@pytest.mark.parametrize("wrong", [None, 7, str, Signature, ["question"]])
def test_what_is_neither_a_class_nor_a_string_is_refused(wrong):
    with pytest.raises(SignatureError, match="a signature is a Signature class or a string"):
        signature_of(wrong)


@pytest.mark.parametrize("name", ["instructions", "input_fields", "copy", "json", "schema", "fields", "class", "usage"])
def test_any_field_name_that_python_allows_is_usable(name):
    signature = signature_of(f"{name} -> answer")
    assert list(signature.input_fields) == [name]
    assert signature.to_spec().build().to_spec() == signature.to_spec()


def test_a_signature_survives_being_written_down():
    spec = Triage.to_spec()
    again = SignatureSpec.model_validate_json(spec.model_dump_json()).build()
    assert again.to_spec() == spec
    assert again.instructions == Triage.instructions
    assert types_of(again.model_fields) == types_of(Triage.model_fields)
    assert again.input_fields["text"].description == "the message"


def test_a_type_that_cannot_be_written_down_says_what_to_do_instead():
    class Team(BaseModel):
        name: str

    class Odd(Signature):
        """Find the team."""

        text: str = InputField()
        team: Team = OutputField()

    with pytest.raises(SignatureError, match=r"field 'team' of Odd.*package\.module:attribute"):
        Odd.to_spec()


def test_a_constraint_is_never_dropped_silently_when_written_down():
    class Rated(Signature):
        """Rate it."""

        text: str = InputField()
        stars: int = OutputField(ge=1, le=5)

    with pytest.raises(SignatureError, match="stars"):
        Rated.to_spec()


def test_an_output_can_be_asked_for_before_the_others_and_the_original_stays_as_it_is():
    more = Triage.prepend_output("reasoning", str, desc="think")
    assert list(more.output_fields) == ["reasoning", "team"]
    assert list(more.input_fields) == ["text"]
    assert more.instructions == Triage.instructions
    assert list(Triage.output_fields) == ["team"]
    with pytest.raises(SignatureError, match="has a field 'team' already"):
        Triage.prepend_output("team", str)


TYPES = st.recursive(
    st.sampled_from([str, int, float, bool, date, Any])
    | st.lists(st.text(max_size=5) | st.integers() | st.booleans(), min_size=1, max_size=3).map(
        lambda values: Literal[tuple(values)]
    ),
    lambda inner: (
        inner.map(lambda one: list[one])
        | inner.map(lambda one: one | None)
        | st.tuples(inner, inner).map(lambda two: dict[two])
    ),
    max_leaves=4,
)


@given(TYPES)
def test_a_type_written_as_text_is_read_back_as_the_same_type(annotation):
    assert parse_type(type_name(annotation)) == annotation


PIECES = [*"abL[](){},.|'\"-> :0\\\n\0", "Literal", "list", "dict", "Optional", "int", "None", "->"]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_any_text_is_a_signature_or_a_signature_error(text):
    for read in (parse_type, signature_of):
        with suppress(SignatureError):
            read(text)


def test_a_type_that_only_looks_like_a_named_one_is_not_taken_for_it():
    class date(Enum):  # noqa: N801 - the name is the point
        TODAY = 1

    odd = type("Odd", (Signature,), {
        "__annotations__": {"text": str, "when": date}, "text": InputField(), "when": OutputField(), "__module__": "m",
    })  # fmt: skip
    with pytest.raises(SignatureError, match="cannot be written down"):
        odd.to_spec()

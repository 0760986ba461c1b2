from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(max_examples=40)
@given(TYPES)
def test_a_type_written_as_text_is_read_back_as_the_same_type(annotation):
    assert parse_type(type_name(annotation)) == annotation

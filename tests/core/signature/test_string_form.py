from contextlib import suppress
from enum import Enum
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dspex_core import Signature
from dspex_core.errors import SignatureError
from dspex_core.signature import parse_type, signature_of, type_adapter


class Ticket(BaseModel):
    title: str


class Color(Enum):
    RED = "red"


def types_of(fields):
    return {name: field.annotation for name, field in fields.items()}


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


def test_a_field_may_say_what_it_holds_in_quotes_after_its_type_or_its_name():
    signature = signature_of(
        """text "what they said, ->
           in full", tags: list[str] 'it\\'s known as' -> team: Literal["a", "b"] "one -> letter", why"""
    )
    assert {name: field.description for name, field in signature.model_fields.items()} == {
        "text": "what they said, -> in full",
        "tags": "it's known as",
        "team": "one -> letter",
        "why": None,
    }
    assert types_of(signature.output_fields) == {"team": Literal["a", "b"], "why": str}


def test_a_string_may_come_with_instructions():
    for signature in (signature_of("text -> team", "Find the team."), Signature("text -> team", "Find the team.")):
        assert signature.instructions == "Find the team."
        assert list(signature.model_fields) == ["text", "team"]


def test_a_string_may_name_types_that_are_given_with_it():
    signature = Signature(
        "text -> tickets: list[Ticket], color: Color | None", custom_types={"Ticket": Ticket, "Color": Color}
    )
    assert types_of(signature.output_fields) == {"tickets": list[Ticket], "color": Color | None}


def test_constraints_may_be_written_into_a_string_and_are_enforced():
    signature = signature_of(
        "text -> stars: Annotated[int, Field(ge=1, le=5)], tags: list[Annotated[str, Field(max_length=3)]]"
    )
    assert type_adapter(signature, "stars").validate_python(5) == 5
    for name, wrong in (("stars", 6), ("tags", ["long"])):
        with pytest.raises(ValidationError):
            type_adapter(signature, name).validate_python(wrong)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("question answer", "character 16: write inputs -> outputs, with exactly one '->'"),
        ("", "character 1: write inputs -> outputs"),
        ("a -> b -> c", "character 8: write inputs -> outputs, with exactly one '->'"),
        ("question ->", "character 12: '' is not a field name"),
        ("two words -> answer", "character 1: 'two words' is not a field name"),
        ("question -> an-swer", "character 13: 'an-swer' is not a field name"),
        ("a, a -> b", "character 4: 'a' is there twice"),
        ("a, b -> b", "character 9: 'b' is both an input and an output"),
        ("a -> b: Literal['x'", "character 16: a bracket is not closed"),
        ("a -> b: Literal['x]", "character 17: a quote is not closed"),
        ("a -> b: list[str)", "character 17: the bracket ')' closes nothing"),
        ("a] -> b", "character 2: the bracket ']' closes nothing"),
        ("a -> b: Literal[x]", "character 17: field 'b': Literal[…]: 'x' needs quotes"),
        ("a -> b: dict[str, Literal['ü', x]]", "character 32: field 'b': Literal[…]: 'x' needs quotes"),
        ("a -> b: open('secret')", "character 9: field 'b': \"open('secret')\" is not a type"),
        ("a -> b: list[Strng]", "character 14: field 'b': 'Strng' is not a type"),
        ("a -> b: strr", "did you mean str? give others as custom_types"),
        ("a -> b: pandas.DataFrame", "declare a class Signature"),
        ("a -> b: list[()]", "character 9: field 'b': list[…]: name a type between the brackets"),
        ("a -> b: Literal[()]", "name a value between the brackets"),
        ("a -> b: Optional[int, str]", "Optional[…] takes one type argument"),
        ("a -> b: dict[str]", "dict[…] takes two type arguments"),
        ("a -> b: int int", "character 13: field 'b': 'int int' is not a type"),
        ("a -> b:", "character 8: field 'b': its type is missing after the colon"),
        ("a -> b: 'x'", "character 8: field 'b': its type is missing after the colon"),
        ("a -> b: str 'x' 'y' z", "character 13: 'x' 'y' z is no description"),
        ("a -> _b", "character 6: '_b' is not a field name: it may not have leading underscores"),
        ("a -> model_dump", "character 6: 'model_dump' is not a field name"),
        ("a -> c, b: Annotated[int, Field(gee=1)]", "character 27: field 'b': Field(gee=1): "),
        ("a -> c, b: Annotated[int, open('x')]", "is no Field(…) with constants"),
        ("a -> c, b: Annotated[int, Field(ge=open('x'))]", "character 36: field 'b': \"open('x')\" is not a constant"),
        ("a -> c, b: Annotated[int, Field(discriminator='x')]", "character 9: field 'b': "),
    ],
)
def test_a_string_that_makes_no_sense_is_refused_with_the_place_and_the_reason(text, complaint):
    with pytest.raises(SignatureError) as caught:
        signature_of(text)
    assert complaint in str(caught.value)


def test_a_type_that_makes_no_sense_is_refused_with_the_place():
    with pytest.raises(SignatureError, match=r"type ' list\[nope\]', character 7: 'nope' is not a type"):
        parse_type(" list[nope]")


@pytest.mark.parametrize("nested", ["list[" * 5000 + "str" + "]" * 5000, " | ".join(["int"] * 5000)])
def test_a_type_nested_beyond_reason_is_refused(nested):
    with suppress(SignatureError):
        parse_type(nested)


def test_a_signature_has_no_instances():
    with pytest.raises(SignatureError, match="StringSignature is a signature, which has no instances"):
        signature_of("a -> b")(a="1", b="2")
    with pytest.raises(SignatureError, match="Signature is a signature, which has no instances"):
        Signature()


PIECES = [
    *"abL[](){},.|'\"-> :0\\\n\r\0",
    "Literal",
    "list",
    "dict",
    "Optional",
    "int",
    "None",
    "->",
    "Annotated",
    "Field",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_any_text_is_a_signature_or_a_signature_error(text):
    for read in (parse_type, signature_of):
        with suppress(SignatureError):
            read(text)

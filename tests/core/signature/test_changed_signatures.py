from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError

from dspex_core import InputField, OutputField, Signature
from dspex_core.errors import SignatureError
from dspex_core.signature import SignatureSpec, signature_of, type_adapter


class Triage(Signature):
    """Find the team."""

    text: str = InputField(desc="the message")
    product: str = InputField()
    team: Literal["billing", "bug"] = OutputField()
    stars: int = OutputField(desc="how happy", ge=1, le=5)


def names(signature):
    return list(signature.input_fields), list(signature.output_fields)


def test_a_field_is_put_before_after_or_among_those_of_its_role():
    assert names(Triage.prepend("why")) == (["text", "product"], ["why", "team", "stars"])
    assert names(Triage.append("why", OutputField(), bool)) == (["text", "product"], ["team", "stars", "why"])
    assert names(Triage.prepend("when", InputField())) == (["when", "text", "product"], ["team", "stars"])
    assert names(Triage.append("when", InputField())) == (["text", "product", "when"], ["team", "stars"])
    assert names(Triage.insert(1, "why")) == (["text", "product"], ["team", "why", "stars"])
    assert names(Triage.insert(-2, "why")) == (["text", "product"], ["team", "why", "stars"])
    assert names(Triage.insert(2, "why")) == (["text", "product"], ["team", "stars", "why"])
    assert names(Triage) == (["text", "product"], ["team", "stars"])


def test_a_new_field_has_the_type_the_description_and_the_constraints_given_and_the_instructions_stay():
    more = Triage.append("sure", OutputField(desc="how sure", le=1), float)
    field = more.output_fields["sure"]
    assert (field.annotation, field.description) == (float, "how sure")
    assert more.instructions == "Find the team."
    with pytest.raises(ValidationError):
        type_adapter(more, "sure").validate_python(1.5)
    with pytest.raises(ValidationError):
        type_adapter(more, "stars").validate_python(6)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda: Triage.prepend("team"), "has a field 'team' already"),
        (
            lambda: Triage.append("why", "a reason"),
            r"'why' must be InputField\(…\) or OutputField\(…\), not 'a reason'",
        ),
        (lambda: Triage.insert(3, "why"), "has 2 output fields: there is no place 3 for 'why'"),
        (lambda: Triage.insert(-4, "why"), "there is no place -4"),
        (lambda: Triage.append("_why"), "leading underscores"),
        (lambda: Triage.delete("tema"), "has no field 'tema'; its fields are text, product, team, stars"),
        (lambda: signature_of("a -> b").delete("b"), "has no output field"),
        (lambda: Triage.with_updated_fields("tema", desc="x"), "has no field 'tema'"),
        (lambda: Triage.with_updated_fields("team", nonsense=1), "nonsense"),
    ],
)
def test_a_change_that_cannot_be_says_why(change, complaint):
    with pytest.raises(SignatureError, match=complaint):
        change()


def test_a_field_is_deleted():
    assert names(Triage.delete("product").delete("team")) == (["text"], ["stars"])


def test_instructions_are_replaced_and_an_empty_text_stands_for_a_sentence_made_of_the_fields():
    other = Triage.with_instructions("Route it.")
    assert other.instructions == "Route it."
    assert names(other) == names(Triage)
    assert other.with_instructions("").instructions.startswith("Given the fields `text`, `product`")
    assert signature_of(Triage, "Route it.").equals(other)


def test_what_is_not_changed_of_a_field_stays():
    changed = Triage.with_updated_fields("stars", desc="how glad", le=10)
    assert changed.output_fields["stars"].description == "how glad"
    assert type_adapter(changed, "stars").validate_python(10) == 10
    with pytest.raises(ValidationError):
        type_adapter(changed, "stars").validate_python(0)
    assert Triage.with_updated_fields("stars", ge=2).output_fields["stars"].description == "how happy"
    assert list(changed.model_fields) == list(Triage.model_fields)


def test_a_new_type_comes_without_the_constraints_of_the_old_one():
    changed = Triage.with_updated_fields("stars", Literal["low", "high"])
    assert type_adapter(changed, "stars").validate_python("low") == "low"
    assert changed.output_fields["stars"].description == "how happy"


def test_constraints_that_are_code_survive_a_change():
    class Shout(Signature):
        text: str = InputField()
        cry: Annotated[str, StringConstraints(strip_whitespace=True, max_length=3), AfterValidator(str.upper)] = (
            OutputField()
        )

    changed = Shout.with_updated_fields("cry", max_length=4)
    assert type_adapter(changed, "cry").validate_python(" hey! ") == "HEY!"


def test_a_signature_is_made_of_fields_by_name():
    made = Signature(
        {
            "text": InputField(desc="the message"),
            "product": InputField(),
            "team": (Literal["billing", "bug"], OutputField()),
            "stars": (int, OutputField(desc="how happy", ge=1, le=5)),
        },
        "Find the team.",
    )
    assert made.equals(Triage)
    with pytest.raises(SignatureError, match=r"field 'b' of DeclaredSignature must be = InputField\(\)"):
        signature_of({"a": InputField(), "b": (str, "OutputField")})
    with pytest.raises(SignatureError, match="DeclaredSignature"):
        signature_of({"a": InputField(), "b": (str, OutputField(), 1)})


def test_signatures_are_equal_by_what_they_say_and_not_by_their_names():
    class Same(Signature):
        """Find the team."""

        text: str = InputField(desc="the message")
        product: str = InputField()
        team: Literal["billing", "bug"] = OutputField()
        stars: int = OutputField(desc="how happy", ge=1, le=5)

    assert Triage.equals(Same)
    assert Triage.equals(Triage.append("why").delete("why"))
    assert Triage.equals(SignatureSpec.model_validate_json(Triage.to_spec().model_dump_json()).build())
    assert Triage != Same


@pytest.mark.parametrize(
    "other",
    [
        Triage.with_instructions("Route it."),
        Triage.delete("product"),
        Triage.with_updated_fields("text", desc="other"),
        Triage.with_updated_fields("stars", le=4),
        Triage.with_updated_fields("stars", float),
        Triage.delete("team").append("team", OutputField(), Literal["billing", "bug"]),
        "text, product -> team, stars",
        None,
    ],
)
def test_signatures_that_differ_are_not_equal(other):
    assert not Triage.equals(other)


def test_signatures_with_code_in_their_types_are_compared_too():
    class Checked(BaseModel):
        name: Annotated[str, AfterValidator(str.upper)]

    class One(Signature):
        text: str = InputField()
        found: Checked = OutputField()

    assert One.equals(One.append("why").delete("why"))
    assert not One.equals(One.with_updated_fields("found", desc="it"))


def test_a_changed_signature_is_told_apart_where_signatures_are_keys():
    changed = Triage.with_instructions(Triage.instructions)
    assert len({Triage: 1, changed: 2}) == 2

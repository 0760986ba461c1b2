import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dspex_core.adapters._values import format_value, parse_value
from dspex_core.errors import AdapterParseError
from dspex_core.seam import Message
from dspex_core.signature import Signature, type_adapter, type_name

_HEADER = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\]", re.MULTILINE)
_COMPLETED = "[[ ## completed ## ]]"
_PLAIN = {"str": "", "int": "a single int", "float": "a single float", "bool": "a single bool"}
_NOT_GIVEN = "(not given in this example)"


class ChatAdapter:
    """Writes a signature as a chat and reads the answer back, in DSPy's wire format.

    Every value stands under a `[[ ## field ## ]]` line and an answer ends with `[[ ## completed ## ]]`; demos are
    pairs of a user's and an assistant's message.
    """

    def prefix(
        self, signature: type[Signature], instructions: str, demos: tuple[Mapping[str, Any], ...]
    ) -> tuple[Message, ...]:
        """System message and demos: all of the prompt that does not depend on the inputs.

        A demo that lacks some field says so; one without any input or any output is left out. Complete demos come last,
        where a model heeds them most.
        """
        complete: list[Message] = []
        partial: list[Message] = []
        for demo in demos:
            given = [name for name in signature.model_fields if demo.get(name) is not None]
            if any(name in signature.input_fields for name in given) and any(
                name in signature.output_fields for name in given
            ):
                whole = len(given) == len(signature.model_fields)
                (complete if whole else partial).extend(_demo_messages(signature, demo))
        return (_system_message(signature, instructions), *partial, *complete)

    def question(self, signature: type[Signature], inputs: Mapping[str, Any]) -> Message:
        """The user's message that asks about these inputs."""
        fields = _blocks(signature, signature.input_fields, inputs)
        return Message(role="user", content=f"{fields}\n\n{_answer_format(signature)}")

    def parse(self, signature: type[Signature], answer: str) -> dict[str, Any]:
        """Output fields of an answer, validated against their types.

        Raises:
            AdapterParseError: If a field is missing or its value does not fit; nothing else is ever raised.
        """
        found = _sections(answer)
        outputs: dict[str, Any] = {}
        for name, field in signature.output_fields.items():
            if name not in found:
                raise AdapterParseError(f"output field {name!r} is missing", answer=answer)
            try:
                outputs[name] = parse_value(found[name], field.annotation, type_adapter(signature, name))
            except ValueError as error:
                raise AdapterParseError(f"output field {name!r}: {error}", answer=answer) from None
        return outputs

    def correction(self, signature: type[Signature], error: AdapterParseError) -> tuple[Message, Message]:
        """The unreadable answer and the request to write it anew, to append to the conversation."""
        request = f"That answer cannot be read: {error.reason}. Please answer again. {_answer_format(signature)}"
        return Message(role="assistant", content=error.answer or "(empty)"), Message(role="user", content=request)


@lru_cache(maxsize=256)
def _system_message(signature: type[Signature], instructions: str) -> Message:
    parts = [
        f"Your input fields are:\n{_numbered(signature, inputs=True)}",
        f"Your output fields are:\n{_numbered(signature, inputs=False)}",
        "Every exchange has this structure, with values in place of the braces.",
        "\n\n".join(f"[[ ## {name} ## ]]\n{{{name}}}{_hint(signature, name)}" for name in signature.model_fields),
        _COMPLETED,
        f"Within this structure, your task is:\n{instructions}",
    ]
    return Message(role="system", content="\n\n".join(parts))


def _numbered(signature: type[Signature], *, inputs: bool) -> str:
    fields = signature.input_fields if inputs else signature.output_fields
    lines = [
        f"{number}. `{name}` ({type_name(field.annotation)}): {field.description or ''}".rstrip()
        for number, (name, field) in enumerate(fields.items(), start=1)
    ]
    return "\n".join(lines)


def _hint(signature: type[Signature], name: str) -> str:
    """What the model must know of an output's type, beyond its name."""
    field = signature.output_fields.get(name)
    if field is None:
        return ""
    written = type_name(field.annotation)
    if written.startswith("Literal["):
        return f"        # exactly one of the values of {written}, nothing else"
    plain = _PLAIN.get(written)
    if plain is not None and not field.metadata:
        return f"        # {plain}" if plain else ""
    schema = json.dumps(type_adapter(signature, name).json_schema(), ensure_ascii=False)
    return f"        # {plain or ('text' if written == 'str' else 'JSON')} that fits the schema {schema}"


def _answer_format(signature: type[Signature]) -> str:
    fields = ", then ".join(f"`[[ ## {name} ## ]]`" for name in signature.output_fields)
    return f"Answer with {fields}, each followed by its value, and close with `{_COMPLETED}`."


def _demo_messages(signature: type[Signature], demo: Mapping[str, Any]) -> tuple[Message, Message]:
    outputs = _blocks(signature, signature.output_fields, demo)
    return (
        Message(role="user", content=_blocks(signature, signature.input_fields, demo)),
        Message(role="assistant", content=f"{outputs}\n\n{_COMPLETED}"),
    )


def _blocks(signature: type[Signature], names: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    return "\n\n".join(
        f"[[ ## {name} ## ]]\n{_NOT_GIVEN if values.get(name) is None else format_value(values[name])}"
        for name in signature.model_fields
        if name in names
    )


def _sections(answer: str) -> dict[str, str]:
    """Text under each header; of headers that repeat, the first counts."""
    pieces = _HEADER.split(answer)
    sections: dict[str, str] = {}
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        sections.setdefault(name, text.strip().removesuffix(_COMPLETED).rstrip())
    return sections

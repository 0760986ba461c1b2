import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, cast

from pydantic_core import to_jsonable_python

from dspex_core.adapters._base import Adapter
from dspex_core.adapters._content import NOT_GIVEN, Content, bracketed
from dspex_core.adapters._layout import Layout
from dspex_core.adapters._reading import json_object, validated
from dspex_core.adapters._streaming import FieldReader, JSONReader
from dspex_core.adapters._system import hint, listed, task
from dspex_core.errors import AdapterParseError
from dspex_core.seam import ResponseFormat
from dspex_core.signature import Signature, type_adapter


class JSONAdapter(Adapter):
    """Asks for the outputs as one JSON object, and the provider to see to its schema where it can.

        with using(lm=lm, adapter=JSONAdapter()):
            prediction = await Predict("text -> people: list[str]")(text="Ada wrote to Charles.")

    A provider that refuses a JSON schema is asked for any JSON object, and one that refuses that for plain text; it is
    remembered, and told in the event `structured_output_refused`.

    Args:
        structured_output: Whether the provider is asked at all.
        native_tools: As in `Adapter`.
        fallback: As in `Adapter`.
    """

    name: ClassVar = "json"
    block = staticmethod(bracketed)

    def __init__(
        self, *, structured_output: bool = True, native_tools: bool = False, fallback: Sequence[Adapter] = ()
    ) -> None:
        super().__init__(native_tools=native_tools, fallback=fallback)
        self.config = self.config.model_copy(update={"structured_output": structured_output})

    def system(self, layout: Layout, instructions: str) -> str:
        """Fields, the structure of inputs and of the object, and the task."""
        hints = {name: hint(layout.signature, name) for name in layout.outputs}
        shape = {name: f"{{{name}}}{f'        # {hints[name]}' if hints[name] else ''}" for name in layout.outputs}
        return "\n\n".join(
            [
                *listed(layout),
                "Every exchange has this structure, with values in place of the braces.",
                "Inputs:",
                "\n\n".join(bracketed(name, f"{{{name}}}") for name in layout.inputs),
                "Outputs, as one JSON object:",
                json.dumps(shape, indent=2, ensure_ascii=False),
                task(instructions),
            ]
        )

    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> Content:
        """The outputs as a JSON object."""
        given = {name: values.get(name, NOT_GIVEN) for name in names}
        return json.dumps(to_jsonable_python(given, fallback=str), indent=2, ensure_ascii=False)

    def request(self, layout: Layout) -> str:
        """Which keys to answer with."""
        if not layout.outputs:
            return "Call the tools that you need."
        keys = ", ".join(f"`{name}`" for name in layout.outputs)
        return f"Answer with a JSON object with the keys {keys}, in this order."

    def read(self, layout: Layout, text: str) -> dict[str, Any]:
        """The values of the object's keys."""
        found = json_object(text)
        if found is None:
            raise AdapterParseError("there is no JSON object in it", answer=text)
        return validated(layout, found, answer=text)

    def reader(self, layout: Layout) -> FieldReader:
        """Tells the object's values apart."""
        return JSONReader(layout.outputs)

    def response_format(self, layout: Layout) -> ResponseFormat | None:
        """The schema of the object."""
        if not self.config.structured_output or not layout.outputs:
            return None
        return _response_format(layout.signature, tuple(layout.outputs))


@lru_cache(maxsize=1024)
def _response_format(signature: type[Signature], names: tuple[str, ...]) -> ResponseFormat:
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name in names:
        schema = type_adapter(signature, name).json_schema()
        definitions |= schema.pop("$defs", {})
        description = signature.model_fields[name].description
        # Beside a reference, some providers accept nothing else.
        properties[name] = schema | ({"description": description} if description and "$ref" not in schema else {})
    whole: dict[str, Any] = {"type": "object", "properties": properties, "required": list(names)}
    if definitions:
        whole["$defs"] = definitions
    _close(whole)
    return ResponseFormat(name=signature.__name__, json_schema=whole)


def _close(schema: Any) -> None:
    """Say of every object with known properties that it has no others."""
    if isinstance(schema, dict):
        entries = cast("dict[str, Any]", schema)
        if "properties" in entries and entries.get("type") == "object":
            entries.setdefault("additionalProperties", False)
        for entry in entries.values():
            _close(entry)
    elif isinstance(schema, list):
        for entry in cast("list[Any]", schema):
            _close(entry)

"""Programs as short JSON that people write: what `Pipeline.from_spec` reads and `Pipeline.to_spec` writes."""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pydantic

from dspex_core.errors import InputError, ProgramError, TrustError
from dspex_core.invalid import first_problem
from dspex_core.metrics import METRICS
from dspex_core.modules._build import build_program
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ImportedProgram, ProgramReference
from dspex_core.references import CodeReference, import_code
from dspex_core.signature import SignatureSpec, signature_of
from dspex_core.tools import ToolSpec, as_tool

_CODE = ("metric", "reduce_fn", "retriever", "reward_fn")
"""Options that say where code is imported from."""
_KNOWN_FROM_PARTS = {"takes", "gives"}
"""Options of a supervised part that tell a workflow what it would know if it had built the part."""
_NOT_OPTIONS = {"module", "signature", "instructions", "part", "parts"}


def part_of(item: Any, *, where: str, trust: Collection[str] | None) -> Module:
    """The module that an item describes.

    Args:
        item: The item.
        where: Which one it is, for the error.
        trust: Packages that code may come from; None trusts all.

    Raises:
        ProgramError: If it describes none; says at which key.
        TrustError: If it names code that is not trusted.
    """
    reference = _reference(item, where, trust)
    with _named(where):
        return build_program(reference, trust=trust)


def item_of(reference: ProgramReference) -> dict[str, Any]:
    """The item that describes a program."""
    if isinstance(reference, ImportedProgram):
        return {"program": reference.code.path}
    item: dict[str, Any] = {"module": reference.module}
    if reference.signature is not None:
        item |= _signature_item(reference.signature)
    for name, value in reference.options.items():
        if value is not None and name not in _KNOWN_FROM_PARTS:
            item[name] = _written(name, value)
    if reference.module in ("ensemble", "pipeline") or len(reference.parts) > 1:
        item["parts"] = [item_of(part) for part in reference.parts]
    elif reference.parts:
        item["part"] = item_of(reference.parts[0])
    return item


def _reference(item: Any, where: str, trust: Collection[str] | None) -> ProgramReference:
    if not isinstance(item, Mapping):
        raise ProgramError(
            f"{where} is a {type(item).__name__}; write {{'module': …}} or {{'program': 'package.module:name'}}"
        )
    given = cast("Mapping[str, Any]", item)
    if "program" in given:
        with _named(where, "program"):
            if unknown := [key for key in given if key != "program"]:
                raise ProgramError(f"beside it, {unknown[0]!r} is not known")
            return ImportedProgram(code=_code(given["program"]))
    with _named(where, "module"):
        module = _text(given.get("module"))
    signature = None
    if "signature" in given or "instructions" in given:
        with _named(where, "signature"):
            signature = _signature(given.get("signature"))
        with _named(where, "instructions"):
            if given.get("instructions") is not None:
                signature = signature.model_copy(update={"instructions": _text(given["instructions"])})
    options: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _NOT_OPTIONS:
            with _named(where, key):
                options[key] = _read(key, value, trust)
    return DeclaredProgram(
        module=module, signature=signature, options=options, parts=tuple(_parts(given, where, trust))
    )


def _parts(item: Mapping[str, Any], where: str, trust: Collection[str] | None) -> Generator[ProgramReference]:
    if "part" in item:
        yield _reference(item["part"], f"{where}, 'part'", trust)
    parts = item.get("parts", ())
    if isinstance(parts, str) or not isinstance(parts, Sequence):
        raise ProgramError(f"{where}, 'parts': a list of items is needed, not a {type(parts).__name__}")
    for number, part in enumerate(cast("Sequence[Any]", parts), start=1):
        yield _reference(part, f"{where}, 'parts', part {number}", trust)


def _read(key: str, value: Any, trust: Collection[str] | None) -> Any:
    if key in _CODE and value is not None:
        return _code(value).model_dump()
    if key == "tools":
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ProgramError("a list is needed, of texts such as 'package.module:function'")
        return [_tool(tool, trust).model_dump(mode="json") for tool in cast("Sequence[Any]", value)]
    return value


def _written(key: str, value: Any) -> Any:
    if key in _CODE:
        return value["path"]
    if key == "tools":
        return [_tool_item(ToolSpec.model_validate(tool)) for tool in value]
    return value


def _tool(given: Any, trust: Collection[str] | None) -> ToolSpec:
    if isinstance(given, Mapping):
        return ToolSpec.model_validate(given)
    return as_tool(import_code(_code(given), trust=trust, what="tool")).to_spec()


def _tool_item(spec: ToolSpec) -> Any:
    # The short form, unless the tool says more than its function does.
    known = as_tool(import_code(spec.code, trust=None, what="tool")).to_spec()
    return spec.code.path if known == spec else spec.model_dump(mode="json")


def _code(given: Any) -> CodeReference:
    if isinstance(given, Mapping):
        return CodeReference.model_validate(given)
    path = _text(given)
    if ":" not in path and path not in METRICS:
        raise ProgramError(f"{path!r}: write package.module:attribute")
    return CodeReference(path=path)


def _signature(given: Any) -> SignatureSpec:
    if isinstance(given, Mapping):
        return SignatureSpec.model_validate(given)
    return signature_of(_text(given)).to_spec()


def _signature_item(spec: SignatureSpec) -> dict[str, Any]:
    """A string and the instructions, if they say it all; or else the whole."""
    sides = [
        ", ".join(f"{field.name}: {field.type}" for field in spec.fields if field.role == role)
        for role in ("input", "output")
    ]
    try:
        plain = signature_of(" -> ".join(sides)).to_spec()
    except InputError:
        return {"signature": spec.model_dump(mode="json")}
    if plain.model_copy(update={"instructions": spec.instructions}) != spec:
        return {"signature": spec.model_dump(mode="json")}
    instructions = {} if plain.instructions == spec.instructions else {"instructions": spec.instructions}
    return {"signature": " -> ".join(sides), **instructions}


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ProgramError(f"a text is needed, not {'nothing' if given is None else repr(given)}")
    return given


@contextmanager
def _named(where: str, key: str | None = None) -> Generator[None]:
    """Say of every error where it is."""
    place = where if key is None else f"{where}, {key!r}"
    try:
        yield
    except pydantic.ValidationError as error:
        inner, what = first_problem(error)
        raise ProgramError(f"{place}: {inner}: {what}") from None
    except TrustError as error:
        raise TrustError(f"{place}: {error}") from error
    except InputError as error:
        raise ProgramError(f"{place}: {error}") from error

"""DSPy's saved state, as `dspy.Module.save` and `load` of version 3.4.1 write and read it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspex_core.errors import ProgramError
from dspex_core.invalid import first_problem
from dspex_core.programs._dspy_lm import lm_from_dspy, lm_to_dspy
from dspex_core.seam import PredictorState, ProgramState
from dspex_core.signature import Signature

DSPY_VERSION = "3.4.1"
_METADATA = "metadata"
_ITSELF = "self"
_PLACEHOLDER = re.compile(r"\$\{(.*)\}")
_WORD_STARTS = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=[^_])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"
)


_Form = TypeVar("_Form", bound=BaseModel)


class Anatomy(NamedTuple):
    """What of a program DSPy's file speaks of, by DSPy's names.

    Attributes:
        signatures: The signature of every predictor.
        searches: How many passages every `Retrieve` asks for.
    """

    signatures: Mapping[str, type[Signature]]
    searches: Mapping[str, int]


class _Field(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prefix: str
    description: str


class _Signature(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instructions: str
    fields: list[_Field]


class _Predictor(BaseModel):
    model_config = ConfigDict(extra="forbid")

    traces: list[Any] = Field(default=[], max_length=0)
    train: list[Any] = Field(default=[], max_length=0)
    demos: list[dict[str, Any]]
    signature: _Signature
    lm: dict[str, Any] | None = None


class _Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    k: int


def state_to_dspy(state: ProgramState, anatomy: Anatomy) -> dict[str, Any]:
    """What DSPy loads into a program whose predictors have the same names and signatures.

    Raises:
        ProgramError: If something has no place in DSPy's file; names it.
    """
    if _METADATA in state.predictors or _METADATA in anatomy.searches:
        raise ProgramError(f"DSPy keeps the name {_METADATA!r} in its files for itself: rename that part")
    written: dict[str, Any] = {
        name: _predictor_to_dspy(name, predictor, anatomy.signatures[name])
        for name, predictor in state.predictors.items()
    }
    written |= {name: {"k": k} for name, k in anatomy.searches.items()}
    if _is_one_predictor(anatomy):
        written = written[_ITSELF]
    return {**written, _METADATA: {"dependency_versions": {"dspy": DSPY_VERSION}}}


def state_from_dspy(data: Mapping[str, Any], anatomy: Anatomy, *, path: str | Path) -> ProgramState:
    """The state that DSPy saved, for a program whose predictors have the same names and signatures.

    Demos are kept whole, also the fields in them that no signature has: neither side shows those to a model. The
    `prefix` of a field is left out, because DSPy's adapters show it to none either.

    Args:
        data: What the file holds.
        anatomy: The program's parts.
        path: The file, for errors.

    Raises:
        ProgramError: If it is of another program, or something in it has no equivalent; names it.
    """
    if any(key in data for key in ("dspex_state", "dspex_program")):
        raise ProgramError(f"{path} was saved by DSPEx in its own format: load it without format='dspy'")
    try:
        parts = {name: part for name, part in data.items() if name != _METADATA}
        if {"demos", "signature"} <= parts.keys() and isinstance(parts["demos"], list):
            parts = {_ITSELF: parts}
        _check_names(parts, anatomy)
        for name, k in anatomy.searches.items():
            if name in parts:
                _check_search(name, parts[name], k)
        return ProgramState(
            predictors={
                name: _predictor_from_dspy(name, parts[name], signature)
                for name, signature in anatomy.signatures.items()
            }
        )
    except ProgramError as error:
        raise ProgramError(f"{path}, as DSPy's state, does not fit this program: {error}") from None


def _is_one_predictor(anatomy: Anatomy) -> bool:
    """Whether the program is a predictor itself: DSPy writes its state without a name around it."""
    return list(anatomy.signatures) == [_ITSELF]


def _check_names(parts: Mapping[str, Any], anatomy: Anatomy) -> None:
    # A search may be absent there: one that is no `dspy.Retrieve` has no state.
    surplus = [name for name in parts if name not in anatomy.signatures and name not in anatomy.searches]
    lacking = [name for name in anatomy.signatures if name not in parts]
    if surplus or lacking:
        odd = f"{surplus[0]!r} is there only" if surplus else f"{lacking[0]!r} is here only"
        there, here = (", ".join(names) or "none" for names in (parts, anatomy.signatures))
        raise ProgramError(
            f"its parts are others: {odd}; there are {there}, here {here}. Parts go by the attributes that hold them, "
            "and DSPy leaves out those that were compiled before the whole"
        )


def _predictor_to_dspy(name: str, state: PredictorState, signature: type[Signature]) -> dict[str, Any]:
    for option, info in PredictorState.model_fields.items():
        if option not in ("instructions", "demos", "lm") and getattr(state, option) != info.default:
            raise ProgramError(f"{name!r} has an {option} of its own, which DSPy's file has no place for")
    fields = {**signature.input_fields, **signature.output_fields}
    return {
        "traces": [],
        "train": [],
        "demos": [dict(demo) for demo in state.demos],
        "signature": {
            "instructions": state.instructions,
            "fields": [
                {"prefix": f"{_spaced(field)}:", "description": info.description or f"${{{field}}}"}
                for field, info in fields.items()
            ],
        },
        "lm": None if state.lm is None else lm_to_dspy(name, state.lm),
    }


def _predictor_from_dspy(name: str, data: Any, signature: type[Signature]) -> PredictorState:
    read = _read(name, data, _Predictor)
    _check_fields(name, read.signature.fields, signature)
    return PredictorState(
        instructions=read.signature.instructions,
        demos=tuple(read.demos),
        lm=None if read.lm is None else lm_from_dspy(name, read.lm),
    )


def _check_search(name: str, data: Any, k: int) -> None:
    found = _read(name, data, _Search).k
    if found != k:
        raise ProgramError(f"{name!r} asks for k={found} passages there and for k={k} here: change it to that")


def _check_fields(name: str, theirs: list[_Field], signature: type[Signature]) -> None:
    """Refuse another signature's state: DSPy records neither names nor types of fields, only their descriptions."""
    ours = {**signature.input_fields, **signature.output_fields}
    if len(theirs) != len(ours):
        raise ProgramError(f"{name!r} has {len(theirs)} fields there; here they are {', '.join(ours)}")
    for (field, info), there in zip(ours.items(), theirs, strict=True):
        placeholder = _PLACEHOLDER.fullmatch(there.description)
        if placeholder is not None:
            if placeholder[1].isidentifier() and placeholder[1] != field:
                raise ProgramError(f"{name!r} has a field {placeholder[1]!r} there where it has {field!r} here")
        elif there.description != (info.description or ""):
            raise ProgramError(
                f"field {field!r} of {name!r} is described as {there.description!r} there and as "
                f"{info.description or ''!r} here, and a state holds no descriptions: give the signature the same one, "
                f"with desc={there.description!r}"
            )


def _read(name: str, data: Any, form: type[_Form]) -> _Form:
    try:
        return form.model_validate(data, strict=True)
    except ValidationError as error:
        where, what = first_problem(error)
        if error.errors(include_url=False)[0]["type"] in ("extra_forbidden", "too_long"):
            raise ProgramError(f"{where!r} of {name!r} has no equivalent here") from None
        raise ProgramError(f"{name!r} is not what DSPy writes: {where}: {what}") from None


def _spaced(name: str) -> str:
    """A field's name as DSPy titles it: `top2Hits` as "Top 2 Hits"."""
    words = _WORD_STARTS.sub("_", name).split("_")
    return " ".join(word if word.isupper() else word.capitalize() for word in words)

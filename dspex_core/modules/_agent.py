"""What modules that work in steps have in common: their signatures, limits, and how they are written down."""

from collections.abc import Collection
from typing import Any, Self

import pydantic

from dspex_core.errors import ProgramError
from dspex_core.invalid import first_problem
from dspex_core.programs import DeclaredProgram
from dspex_core.signature import InputField, Signature, SignatureSpec
from dspex_core.tools import Tool, ToolSpec


class DeclaredAgent(pydantic.BaseModel):
    """The options of a declared module that works in steps, and its signature."""

    model_config = pydantic.ConfigDict(extra="forbid")

    signature: SignatureSpec
    tools: list[ToolSpec] = []
    max_iters: int

    @classmethod
    def read(cls, declared: DeclaredProgram, *, max_iters: int) -> Self:
        """The options as they were declared; `max_iters` where they name none.

        Raises:
            ProgramError: If something is missing or of the wrong kind.
        """
        if declared.signature is None:
            raise ProgramError(f"a {declared.module} is declared without its signature")
        try:
            return cls.model_validate({"max_iters": max_iters, **declared.options, "signature": declared.signature})
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"the options of a declared {declared.module} cannot be used: {where}: {what}") from None

    def imported_later(self) -> list[Tool]:
        """The tools, without their functions."""
        return [Tool.from_spec(tool) for tool in self.tools]


def derived_signature(name: str, instructions: str, fields: dict[str, Any]) -> type[Signature]:
    """A signature of these fields."""
    return pydantic.create_model(name, __base__=Signature, __doc__=instructions, **fields)


def inputs_of(signature: type[Signature]) -> dict[str, Any]:
    """A signature's inputs, to make another one of."""
    return {name: (field.annotation, field) for name, field in signature.input_fields.items()}


def outputs_of(signature: type[Signature]) -> dict[str, Any]:
    """A signature's outputs, to make another one of."""
    return {name: (field.annotation, field) for name, field in signature.output_fields.items()}


def answer_signature(signature: type[Signature]) -> type[Signature]:
    """The signature of the last question: its outputs are made of its inputs and what the steps found."""
    fields = inputs_of(signature) | {"trajectory": (str, InputField())} | outputs_of(signature)
    return derived_signature(signature.__name__, signature.instructions, fields)


def check_fields(signature: type[Signature], taken: Collection[str], *, module: str) -> None:
    """See that a signature leaves the names free that a module's steps need.

    Raises:
        ProgramError: If it does not.
    """
    if clashes := [name for name in signature.model_fields if name in taken]:
        raise ProgramError(f"{module} needs the field name {clashes[0]!r} for its steps: rename the signature's field")


def checked_limit(max_iters: int) -> int:
    """The limit itself.

    Raises:
        ProgramError: If it is below 1.
    """
    if max_iters < 1:
        raise ProgramError(f"max_iters is {max_iters}: give 1 or more")
    return max_iters

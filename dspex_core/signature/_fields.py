import difflib
from typing import Any, Literal, cast

import pydantic
from pydantic.fields import FieldInfo

from dspex_core.errors import SignatureError
from dspex_core.signature._constraints import KEYWORDS

Role = Literal["input", "output"]
_ROLE = "dspex_role"


def InputField(*, desc: str = "", **constraints: Any) -> Any:  # noqa: N802 - DSPy's name
    """Declare an input of a signature.

        class Triage(Signature):
            '''Route a message.'''
            text: str = InputField(desc="the message", max_length=2000)
            team: str = OutputField()

    Args:
        desc: What the field holds, as told to the model.
        **constraints: Any keyword of `pydantic.Field`, such as `max_length` or `ge`.

    Raises:
        SignatureError: If there is no such keyword.
    """
    return _field("input", desc, constraints)


def OutputField(*, desc: str = "", **constraints: Any) -> Any:  # noqa: N802 - DSPy's name
    """Declare an output of a signature. Constraints are enforced on the answer.

        class Rate(Signature):
            '''Say how angry a message is.'''
            text: str = InputField()
            anger: int = OutputField(desc="0 is calm", ge=0, le=10)

    Args:
        desc: What the field holds, as told to the model.
        **constraints: Any keyword of `pydantic.Field`, such as `max_length` or `ge`.

    Raises:
        SignatureError: If there is no such keyword.
    """
    return _field("output", desc, constraints)


def _field(role: Role, desc: str, constraints: dict[str, Any]) -> Any:
    if unknown := sorted(constraints.keys() - KEYWORDS):
        near = difflib.get_close_matches(unknown[0], KEYWORDS, n=1)
        raise SignatureError(
            f"{role.capitalize()}Field knows no {unknown[0]!r}{f'; did you mean {near[0]!r}?' if near else ''}"
        )
    return pydantic.Field(description=desc or None, json_schema_extra={_ROLE: role}, **constraints)


def role_of(field: FieldInfo) -> Role | None:
    """Whether a field is given or asked for; None if it is no signature's."""
    extra = field.json_schema_extra
    return cast("dict[str, Any]", extra).get(_ROLE) if isinstance(extra, dict) else None

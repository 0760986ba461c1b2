"""Classes that check, change or show their values with code of their own cannot be written down."""

import dataclasses
from enum import Enum
from typing import Any

from dspex_core.signature._constraints import Unwritable

_DECORATED = {
    "validators": "validator",
    "field_validators": "validator",
    "root_validators": "validator",
    "model_validators": "validator",
    "field_serializers": "serializer",
    "model_serializers": "serializer",
    "computed_fields": "computed field",
}
_HOOKS = ("__get_pydantic_core_schema__", "__get_pydantic_json_schema__", "model_post_init", "__post_init__",
          "__init__", "_missing_")  # fmt: skip
_LIBRARIES = {"builtins", "enum", "pydantic", "typing"}
# What pydantic, dataclasses and enum write themselves has one of these names or no file.
_GENERATED = {"init_private_attributes", "<string>"}


def refuse_code(kind: Any) -> None:
    """Refuse a class whose code would be lost.

    Raises:
        Unwritable: Naming that code.
    """
    decorators = getattr(kind, "__pydantic_decorators__", None)
    for where, what in _DECORATED.items():
        for name in getattr(decorators, where, {}):
            raise Unwritable(f"{kind.__name__} has the {what} {name!r}, which is code")
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in _LIBRARIES:
            continue
        for name in _HOOKS:
            if name in vars(base) and _by_hand(base, name):
                raise Unwritable(f"{kind.__name__} has a method {name!r}, which is code")


def _by_hand(base: type, name: str) -> bool:
    method: Any = vars(base)[name]
    if name == "__init__" and issubclass(base, Enum):
        return False  # it has run: its members have their values
    if name == "__init__" and dataclasses.is_dataclass(base) and "__pydantic_fields__" in vars(base):
        return False  # pydantic's, which calls the validator
    return not _GENERATED & {
        getattr(method, "__name__", ""),
        getattr(getattr(method, "__code__", None), "co_filename", ""),
    }

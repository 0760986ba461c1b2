import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_json

from dspex_core.errors import ToolError

KEY_PARAMETER = "idempotency_key"
"""A parameter of this name gets the call's idempotency key; models do not see it."""

_LONGEST_VALUE_SHOWN = 80


class Arguments:
    """The arguments of a function, as its type hints and docstring declare them.

    Args:
        function: Any callable with parameters that can be given by name.
        tool: The tool's name, for errors.
        descriptions: What each argument is, by name.

    Raises:
        ToolError: If a parameter cannot be given by name, or has a type that JSON cannot hold.
    """

    def __init__(self, function: Callable[..., Any], tool: str, descriptions: Mapping[str, str]) -> None:
        self._tool = tool
        self._names: dict[str, str] = {}
        parameters, hints = _parameters(function, tool)
        self.takes_key = any(parameter.name == KEY_PARAMETER for parameter in parameters)
        fields: dict[str, Any] = {}
        for parameter in parameters:
            unnamed = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if unnamed or parameter.name == KEY_PARAMETER:
                continue
            # A field's own name may clash with pydantic's methods; its alias is free.
            field = f"argument_{len(fields)}"
            self._names[field] = parameter.name
            fields[field] = (
                hints.get(parameter.name, Any),
                _field(parameter, descriptions.get(parameter.name)),
            )
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self._model = _model(tool, fields, open_ended=open_ended)
        self.schema = _schema(self._model, tool)

    def validate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function's types; those left out are left to its defaults.

        Raises:
            ToolError: If they do not fit; names each argument that does not, and how.
        """
        try:
            model = self._model.model_validate(dict(args))
        except ValidationError as error:
            raise unfit(self._tool, _problems(error), self.schema) from None
        given = {self._names[field]: getattr(model, field) for field in self._names if field in model.model_fields_set}
        return {**given, **(model.model_extra or {})}


def check_names(tool: str, args: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Compare the names of arguments with a schema whose values somebody else checks.

    Raises:
        ToolError: If one is missing, or there is none of that name.
    """
    properties = schema.get("properties", {})
    problems = [f"{name!r} is missing" for name in schema.get("required", ()) if name not in args]
    # A schema that lists arguments means those, even if it does not say that there are no others.
    if schema.get("additionalProperties", not properties) is False:
        problems += [f"there is no argument {name!r}" for name in args if name not in properties]
    if problems:
        raise unfit(tool, problems, schema)


def unfit(tool: str, problems: list[str], schema: Mapping[str, Any]) -> ToolError:
    """The error that tells a model what to mend."""
    wanted = json.dumps(schema.get("properties", {}), ensure_ascii=False)
    required = ", ".join(schema.get("required", ())) or "none"
    return ToolError(f"the arguments do not fit {tool}: {'; '.join(problems)}. It takes {wanted}; required: {required}")


def _parameters(function: Callable[..., Any], tool: str) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = get_type_hints(written_in(function), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise ToolError(f"tool {tool}: its parameters cannot be read: {error}") from None
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ToolError(f"tool {tool}: parameter {parameter.name!r} cannot be given by name; wrap it in a function")
    return parameters, hints


def written_in(function: Any) -> Any:
    """The function that has the type hints of a callable: that of a partial, a class's `__init__` or a `__call__`."""
    if isinstance(function, partial):
        return written_in(cast("partial[Any]", function).func)
    if isinstance(function, type):
        return function.__init__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return function if inspect.isroutine(function) else type(function).__call__


def _field(parameter: inspect.Parameter, description: str | None) -> Any:
    if parameter.default is parameter.empty:
        return Field(alias=parameter.name, description=description)
    if _is_json(parameter.default):
        return Field(default=parameter.default, alias=parameter.name, description=description)
    return Field(default_factory=lambda: parameter.default, alias=parameter.name, description=description)


def _is_json(value: Any) -> bool:
    try:
        to_json(value)
    except PydanticSerializationError:
        return False
    return True


def _model(tool: str, fields: dict[str, Any], *, open_ended: bool) -> type[BaseModel]:
    config = ConfigDict(extra="allow" if open_ended else "forbid")
    try:
        return create_model(f"Arguments of {tool}", __config__=config, **fields)
    except (PydanticUserError, TypeError) as error:
        raise _indescribable(tool, error) from None


def _schema(model: type[BaseModel], tool: str) -> dict[str, Any]:
    try:
        schema = model.model_json_schema()
    except PydanticUserError as error:
        raise _indescribable(tool, error) from None
    schema.pop("title", None)
    schema.setdefault("properties", {})
    for described in schema["properties"].values():
        described.pop("title", None)
    return schema


def _problems(error: ValidationError) -> list[str]:
    problems: list[str] = []
    for found in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in found["loc"])
        if found["type"] == "missing":
            problems.append(f"{where!r} is missing")
        elif found["type"] == "extra_forbidden":
            problems.append(f"there is no argument {where!r}")
        else:
            given = repr(found["input"])
            shown = given if len(given) <= _LONGEST_VALUE_SHOWN else given[:_LONGEST_VALUE_SHOWN] + " …"
            problems.append(f"{where!r}: {found['msg']}, not {shown}")
    return problems


def _indescribable(tool: str, error: Exception) -> ToolError:
    reason = str(error).strip().partition("\n")[0]
    return ToolError(f"tool {tool}: a parameter's type cannot be described to a model: {reason}")

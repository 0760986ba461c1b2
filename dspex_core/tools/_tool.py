import asyncio
import re
import sys
import uuid
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, Self, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import (
    dict_schema,
    no_info_wrap_validator_function,
    plain_serializer_function_ser_schema,
)

from dspex_core.errors import ProgramError, ToolError, ToolFailedError
from dspex_core.redaction import redacted
from dspex_core.references import CodeReference, import_code, reference_to
from dspex_core.seam import ToolResult
from dspex_core.tools._arguments import KEY_PARAMETER, Arguments, check_names, written_in
from dspex_core.tools._calling import as_text, call_function, described
from dspex_core.tools._docstring import read_docstring

_NAME = re.compile(r"[\w.-]{1,128}")


class ToolSpec(BaseModel):
    """A tool, written down: what a saved program and a workflow hold of it.

    Attributes:
        name: What models call it.
        desc: What it does, as told to models.
        parameters: JSON schema of its arguments.
        code: Where a process that may call it imports it from.
        timeout_seconds: Longest that a call may take; None sets no limit.
        needs_approval: Whether a person must approve each call that a model makes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    desc: str
    parameters: dict[str, Any]
    code: CodeReference
    timeout_seconds: float | None = None
    needs_approval: bool = False


class Tool:
    """A function that a model may call.

        def capital(country: str) -> str:
            '''Find a country's capital.'''

        tool = Tool(capital, timeout_seconds=10)

    What each argument is, models learn from the docstring's section `Args:`.

    Arguments are checked against the type hints before the function is called. A synchronous function runs in a thread
    of its own. A parameter named `idempotency_key` is hidden from models and gets a text that is the same whenever the
    same call is made again, as a durable run does after a crash.

    Args:
        function: Sync or async; takes its arguments by name.
        name: What models call it; by default the function's name.
        desc: What it does; by default the docstring up to its first section.
        args: JSON schemas of arguments by name, which win over those made from type hints and docstring.
        timeout_seconds: Longest that a call may take; None sets no limit.
        needs_approval: Have each call that a model makes wait until a person approves it: in a durable run through
            `dspex runs approve`, in one process by the function that `using(approve=…)` names.

    Raises:
        ToolError: If the function cannot be a tool.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        desc: str | None = None,
        args: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
        needs_approval: bool = False,
    ) -> None:
        if not callable(function):
            raise ToolError(f"a tool is made of a function, not of {function!r}")
        self.name = _checked_name(name or _name_of(function))
        summary, descriptions = read_docstring(_docstring_of(function))
        self.desc = summary if desc is None else desc
        self.timeout_seconds = _checked_timeout(self.name, timeout_seconds)
        self.needs_approval = needs_approval
        arguments = Arguments(function, self.name, descriptions)
        self.parameters: dict[str, Any] = _with_overrides(self.name, arguments.schema, args or {})
        self._callee: _Callee | None = _Callee(function, arguments)
        self._reference: CodeReference | None = None

    @classmethod
    def from_schema(
        cls,
        function: Callable[..., Any],
        *,
        name: str,
        desc: str,
        parameters: Mapping[str, Any],
        timeout_seconds: float | None = None,
        needs_approval: bool = False,
    ) -> Self:
        """A tool whose arguments a JSON schema describes, and the function itself checks.

        Args:
            function: Takes the arguments by name.
            name: What models call it.
            desc: What it does.
            parameters: JSON schema of an object. Only missing and unknown names are refused before the call.
            timeout_seconds: Longest that a call may take; None sets no limit.
            needs_approval: Whether a person must approve each call that a model makes.
        """
        tool = cls.__new__(cls)
        tool.name, tool.desc = _checked_name(name), desc
        tool.timeout_seconds = _checked_timeout(name, timeout_seconds)
        tool.needs_approval = needs_approval
        tool.parameters = {"properties": {}, **parameters}
        tool._callee, tool._reference = _Callee(function, None), None  # noqa: SLF001 - the same class
        return tool

    @classmethod
    def from_spec(cls, spec: ToolSpec) -> Self:
        """The tool that a spec describes, without its function: it can be shown to models, and not be called here."""
        tool = cls.__new__(cls)
        tool.name, tool.desc, tool.parameters = spec.name, spec.desc, spec.parameters
        tool.timeout_seconds, tool.needs_approval = spec.timeout_seconds, spec.needs_approval
        tool._callee, tool._reference = None, spec.code  # noqa: SLF001 - the same class
        return tool

    def imported(self, *, trust: Collection[str] | None) -> Self:
        """This tool, ready to be called here: its function is imported if it was not at hand.

        Args:
            trust: Packages that it may come from; None trusts all, in whatever version is here.

        Raises:
            TrustError: If it comes from another package, or its source has changed.
            ProgramError: If there is no such function.
        """
        if self._callee is not None or self._reference is None:
            return self
        found = import_code(self._reference, trust=trust, what="tool")
        source = found if isinstance(found, Tool) else Tool(found, name=self.name)
        # What is sent on from here is the version that is here.
        code = self._reference if trust is not None else reference_to(self._reference.path, what="tool")
        tool = type(self).from_spec(self.to_spec().model_copy(update={"code": code}))
        # Whoever writes a run's request cannot do away with what the tool's author asks for.
        tool.needs_approval = self.needs_approval or source.needs_approval
        tool._callee = source._callee  # noqa: SLF001 - the same class
        return tool

    def to_spec(self) -> ToolSpec:
        """The tool, written down.

        Raises:
            ProgramError: If no other process could import its function.
        """
        return ToolSpec(
            name=self.name,
            desc=self.desc,
            parameters=self.parameters,
            code=self._reference or self._found_reference(),
            timeout_seconds=self.timeout_seconds,
            needs_approval=self.needs_approval,
        )

    async def __call__(self, /, **args: Any) -> Any:
        """What the function returns for these arguments.

        Raises:
            ToolError: If the arguments do not fit.
            ToolFailedError: If it took too long.
            Exception: Whatever the function raises.
        """
        return await self._call(args, idempotency_key=None)

    async def invoke(self, args: dict[str, Any], *, idempotency_key: str | None = None) -> ToolResult:
        """Call it and put whatever comes of it into words; nothing that goes wrong in the tool is raised.

        Raises:
            ProgramError: If this tool was read from a spec and not imported.
        """
        self._at_hand()
        try:
            value = await self._call(args, idempotency_key=idempotency_key)
            return ToolResult(text=redacted(as_text(value)), structured=not isinstance(value, str))
        except (ToolError, ToolFailedError) as error:
            return self._failed(as_text(str(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool may raise anything
            return self._failed(described(error))
        except asyncio.CancelledError:
            # Either whoever waits for this gives up, or something within the tool was cancelled.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed("it was cancelled")

    def describe(self) -> str:
        """The tool in one line for a model: its name, what it does, and the schema of its arguments."""
        desc = "".join(f" {line}" for line in self.desc.split())
        return f"{self.name}:{desc} Arguments: {as_text(self.parameters)}"

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """As a field's type: a Tool, a function, or a spec; in JSON, its spec."""

        def read(value: Any, as_spec: ValidatorFunctionWrapHandler) -> Tool:
            if isinstance(value, Tool):
                return value
            if not callable(value):
                return Tool.from_spec(as_spec(value))
            try:
                return cls(value)
            except ToolError as error:
                raise ValueError(str(error)) from None

        written = plain_serializer_function_ser_schema(
            lambda tool: tool.to_spec().model_dump(mode="json"), return_schema=dict_schema()
        )
        return no_info_wrap_validator_function(read, handler(ToolSpec), serialization=written)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A tool never changes, and what its function holds, such as a connection, is meant to be this one.
        return self

    def _failed(self, reason: str) -> ToolResult:
        return ToolResult(text=redacted(f"{self.name} failed: {reason}"), failed=True)

    async def _call(self, args: dict[str, Any], *, idempotency_key: str | None) -> Any:
        function, arguments = self._at_hand()
        if arguments is None:
            check_names(self.name, args, self.parameters)
            given = dict(args)
        else:
            given = arguments.validate(args)
            if arguments.takes_key:
                given[KEY_PARAMETER] = idempotency_key or uuid.uuid4().hex
        return await call_function(function, given, timeout_seconds=self.timeout_seconds)

    def _at_hand(self) -> "_Callee":
        if self._callee is None:
            raise ProgramError(f"tool {self.name} was not imported: build the program with the packages you trust")
        return self._callee

    def _found_reference(self) -> CodeReference:
        function: Any = self._at_hand().function
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        holder = getattr(sys.modules.get(module or ""), name or "", None)
        # The name of a decorated function leads to the tool that was made of it.
        decorated = isinstance(holder, Tool) and holder._callee == self._callee  # noqa: SLF001 - the same class
        try:
            return reference_to(f"{module}:{name}" if decorated else function, what="tool")
        except ProgramError as error:
            raise ProgramError(
                f"tool {self.name} works in this process only, so a program with it can neither be saved nor run "
                f"durably: {error}"
            ) from None


class _Callee(NamedTuple):
    """What a tool calls; without arguments of its own, the function checks what it gets."""

    function: Callable[..., Any]
    arguments: Arguments | None


def as_tool(given: "Tool | Callable[..., Any] | str") -> Tool:
    """A tool from a tool, a function, or where to import either from.

    Args:
        given: A text is "package.module:attribute"; it is imported here and now.

    Raises:
        ToolError: If it cannot be a tool.
        ProgramError: If it cannot be imported.
    """
    if isinstance(given, Tool):
        return given
    if isinstance(given, str):
        return as_tool(import_code(CodeReference(path=given), trust=None, what="tool"))
    return Tool(given)


def _name_of(function: Any) -> str:
    if isinstance(function, partial):
        return _name_of(cast("partial[Any]", function).func)
    return getattr(function, "__name__", None) or type(function).__name__


def _docstring_of(function: Any) -> str | None:
    written = written_in(function).__doc__
    # What every object's `__init__` and `__call__` say of themselves is no description.
    return function.__doc__ if isinstance(function, type) or not written else written


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ToolError(f"tool {name!r}: name it with 1 to 128 letters, digits, '_', '.' or '-': Tool(…, name='…')")
    return name


def _checked_timeout(name: str, timeout_seconds: float | None) -> float | None:
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise ToolError(f"tool {name}: timeout_seconds is {timeout_seconds}: give more than 0, or None for no limit")
    return timeout_seconds


def _with_overrides(name: str, schema: dict[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema["properties"]
    if unknown := [key for key in args if key not in properties and not schema.get("additionalProperties")]:
        raise ToolError(f"tool {name}: args describes {unknown[0]!r}, which is no parameter of the function")
    return {**schema, "properties": {**properties, **args}}

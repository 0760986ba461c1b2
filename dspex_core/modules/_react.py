from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, cast

import pydantic
from pydantic_core import to_jsonable_python

from dspex_core.adapters import Adapter
from dspex_core.errors import AdapterParseError, LMContextLengthError, ProgramError, ToolError
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, Predict
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import ToolCall, current_runtime
from dspex_core.signature import InputField, OutputField, Signature, signature_of
from dspex_core.tools import Tool, ToolSpec, as_text, as_tool

FINISH = "finish"
SHORTEST_OBSERVATION = 200
"""Characters of an observation that are shown whatever the context's length."""

STEP_FIELDS = ("thought", "tool_name", "tool_args", "observation")
_OWN_FIELDS = ("trajectory", "next_thought", "next_tool_name", "next_tool_args")


class ReAct(Module):
    """Reasons and acts in turns: the model calls tools until it knows enough, and then gives the outputs.

        agent = ReAct("question -> answer", tools=[search, calculator])
        prediction = await agent(question="…")    # prediction.answer, prediction.trajectory

    A step is a thought, a tool's name, its arguments and what came of the call. A tool that raises, takes too long or
    is called wrongly ends nothing: the observation says so, and the model goes on. If the steps outgrow the model's
    context, it is no longer shown the oldest ones, nor all of an observation that alone is too long. They are all in
    `prediction.trajectory`, as `thought_0`, `tool_name_0`, `tool_args_0`, `observation_0`, `thought_1` …

    Args:
        signature: A Signature class, or a string such as "question -> answer".
        tools: Functions, `Tool`s, or where to import either from as "package.module:attribute".
        max_iters: Most steps; then the outputs are made of what is known. `agent(…, max_iters=3)` sets it for one call.

    Raises:
        ToolError: If something among the tools cannot be a tool, or two have one name.
        ProgramError: If the signature has a field of a name that the steps need, or `max_iters` is below 1.
        LMContextLengthError: When called, if not even the beginning of one step fits.

    Source: Yao et al. 2022, "ReAct: Synergizing Reasoning and Acting in Language Models". Predictors and their fields
    go by DSPy's names, so that states can be exchanged.
    """

    def __init__(
        self,
        signature: type[Signature] | str,
        tools: Sequence[Tool | Callable[..., Any] | str],
        max_iters: int = 20,
    ) -> None:
        self.signature = signature_of(signature)
        self.max_iters = _checked_limit(max_iters)
        _check_fields(self.signature)
        self.tools = _by_name([as_tool(tool) for tool in tools])
        self.react = Predict(_step_signature(self.signature, self.tools))
        self.extract = ChainOfThought(_answer_signature(self.signature))

    async def forward(self, **inputs: Any) -> Prediction:
        """Take steps until the model is done, and then ask for the outputs."""
        limit = (
            self.max_iters if "max_iters" in self.signature.input_fields else inputs.pop("max_iters", self.max_iters)
        )
        trajectory = _Trajectory()
        for _ in range(_checked_limit(limit)):
            if await self._step(trajectory, inputs) == FINISH:
                break
        answer = await self._ask(self.extract, trajectory, inputs)
        return Prediction({"trajectory": trajectory.fields(), **answer.to_dict()})

    def input_names(self) -> dict[str, bool]:
        """The signature's inputs, all of which must be given."""
        return dict.fromkeys(self.signature.input_fields, True)

    def output_names(self) -> set[str]:
        """The trajectory, the reasoning and the signature's outputs."""
        return {"trajectory", "reasoning", *self.signature.output_fields}

    def reference(self) -> ProgramReference:
        """Module, signature and tools, written out; for a subclass, where it is imported from.

        Raises:
            ProgramError: If a tool cannot be imported by another process.
        """
        if type(self) is not ReAct:
            return super().reference()
        specs = [tool.to_spec().model_dump(mode="json") for name, tool in self.tools.items() if name != FINISH]
        return DeclaredProgram(
            module="react",
            signature=self.signature.to_spec(),
            options={"tools": specs, "max_iters": self.max_iters},
        )

    @classmethod
    def from_declaration(cls, declared: DeclaredProgram) -> "ReAct":
        """The module that `reference` wrote out. Its tools are not yet imported, so that only a workflow can run it.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        options = _Options.read(declared)
        if declared.signature is None:
            raise ProgramError("a react is declared without its signature")
        tools = [Tool.from_spec(tool) for tool in options.tools]
        return cls(declared.signature.build(), tools, max_iters=options.max_iters)

    def import_tools(self, trust: Collection[str] | None) -> None:
        """Make every tool ready to be called in this process.

        Args:
            trust: Packages that tools may come from; None trusts all.

        Raises:
            TrustError: If a tool comes from elsewhere, or its source has changed.
            ProgramError: If there is no such tool.
        """
        self.tools = {name: tool.imported(trust=trust) for name, tool in self.tools.items()}

    async def _step(self, trajectory: "_Trajectory", inputs: dict[str, Any]) -> str:
        try:
            step = await self._ask(self.react, trajectory, inputs)
        except AdapterParseError as error:
            thought, name, args = _what_was_meant(self.react.adapter, self.react.signature, error)
            problem = f"This step cannot be carried out: {error.reason}. The tools are {', '.join(self.tools)}."
            trajectory.add(thought, name, args, problem)
            return ""
        args = cast("dict[str, Any]", to_jsonable_python(step.next_tool_args, fallback=str, bytes_mode="base64"))
        tool = self.tools[step.next_tool_name]
        if tool.name == FINISH:
            observation = "Completed."
        else:
            observation = (await current_runtime().call_tool(ToolCall(tool=tool, args=args))).text
        trajectory.add(step.next_thought, tool.name, args, observation)
        return tool.name

    async def _ask(self, module: Module, trajectory: "_Trajectory", inputs: dict[str, Any]) -> Prediction:
        while True:
            try:
                return await module(**inputs, trajectory=trajectory.text())
            except LMContextLengthError:
                if not trajectory.show_less():
                    raise


class _Trajectory:
    """The steps so far, of which the model sees the latest."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, ...]] = []
        self._first_shown = 0
        self._forgotten_at_once = 1
        self._longest_shown: int | None = None

    def add(self, *step: Any) -> None:
        """One more step, in the order of `STEP_FIELDS`."""
        self._steps.append(step)

    def show_less(self) -> bool:
        """Leave out the oldest step, and twice as many each time that this is not enough.

        Of the last one, what was observed is cut in half. False if there is little left to cut.
        """
        last = len(self._steps) - 1
        if self._first_shown < last:
            self._first_shown = min(last, self._first_shown + self._forgotten_at_once)
            self._forgotten_at_once *= 2
            return True
        longest = self._longest_shown or (len(self._steps[last][-1]) if self._steps else 0)
        if longest < 2 * SHORTEST_OBSERVATION:
            return False
        self._longest_shown = longest // 2
        return True

    def fields(self) -> dict[str, Any]:
        """All steps."""
        return self._fields(0)

    def text(self) -> str:
        """What is shown of the steps, in the wire format of fields."""
        shown = self._fields(self._first_shown)
        return "\n\n".join(f"[[ ## {name} ## ]]\n{self._cut(as_text(value))}" for name, value in shown.items())

    def _cut(self, text: str) -> str:
        longest = self._longest_shown
        if longest is None or len(text) <= longest:
            return text
        return f"{text[:longest]} … ({len(text) - longest} more characters are not shown)"

    def _fields(self, first: int) -> dict[str, Any]:
        return {
            f"{name}_{number}": value
            for number, step in enumerate(self._steps)
            if number >= first
            for name, value in zip(STEP_FIELDS, step, strict=True)
        }


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    tools: list[ToolSpec]
    max_iters: int = 20

    @classmethod
    def read(cls, declared: DeclaredProgram) -> "_Options":
        try:
            return cls.model_validate(declared.options)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ProgramError(f"the options of a declared react cannot be used: {where}: {first['msg']}") from None


def _by_name(tools: list[Tool]) -> dict[str, Tool]:
    named: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in named or tool.name == FINISH:
            raise ToolError(f"there are two tools named {tool.name!r}: rename one with Tool(function, name='…')")
        named[tool.name] = tool
    named[FINISH] = Tool(_finish, name=FINISH, desc="Say that you know all that the outputs need.")
    return named


def _finish() -> str:
    return "Completed."


def _step_signature(signature: type[Signature], tools: dict[str, Tool]) -> type[Signature]:
    inputs = ", ".join(f"`{name}`" for name in signature.input_fields)
    outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
    listed = "\n".join(f"({number}) {tool.describe()}" for number, tool in enumerate(tools.values(), start=1))
    instructions = (
        f"{signature.instructions}\n\n"
        f"Work towards this in steps: you get {inputs} and the `trajectory` of your steps so far, and plan the next "
        f"one. Gather with the tools whatever you need to know to give {outputs}.\n"
        "Write in `next_thought` what you know and what to find out next, in `next_tool_name` the tool to call, and in "
        "`next_tool_args` its arguments as a JSON object. What the tool answers is added to the trajectory as an "
        f"observation. When nothing is missing, call `{FINISH}` with {{}}.\n\n"
        f"The tools:\n{listed}"
    )
    return _signature(
        f"{signature.__name__}Step",
        instructions,
        {name: (field.annotation, field) for name, field in signature.input_fields.items()}
        | {
            "trajectory": (str, InputField()),
            "next_thought": (str, OutputField()),
            "next_tool_name": (cast("Any", Literal)[tuple(tools)], OutputField()),
            "next_tool_args": (dict[str, Any], OutputField()),
        },
    )


def _answer_signature(signature: type[Signature]) -> type[Signature]:
    inputs = {name: (field.annotation, field) for name, field in signature.input_fields.items()}
    outputs = {name: (field.annotation, field) for name, field in signature.output_fields.items()}
    return _signature(
        signature.__name__, signature.instructions, inputs | {"trajectory": (str, InputField())} | outputs
    )


def _signature(name: str, instructions: str, fields: dict[str, Any]) -> type[Signature]:
    return pydantic.create_model(name, __base__=Signature, __doc__=instructions, **fields)


def _what_was_meant(adapter: Adapter, signature: type[Signature], error: AdapterParseError) -> tuple[str, str, Any]:
    """Thought, tool and arguments of an answer that could not be taken as it is, as far as they can be read."""
    loose = _signature(
        signature.__name__,
        signature.instructions,
        {"trajectory": (str, InputField())} | {name: (str, OutputField()) for name in _OWN_FIELDS[1:]},
    )
    try:
        said = adapter.parse(loose, error.answer)
    except AdapterParseError:
        return "", "", {}
    return said["next_thought"], said["next_tool_name"], said["next_tool_args"]


def _check_fields(signature: type[Signature]) -> None:
    if taken := [name for name in signature.model_fields if name in _OWN_FIELDS]:
        raise ProgramError(f"ReAct needs the field name {taken[0]!r} for its steps: rename the signature's field")


def _checked_limit(max_iters: int) -> int:
    if max_iters < 1:
        raise ProgramError(f"max_iters is {max_iters}: give 1 or more")
    return max_iters

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, cast

from pydantic_core import to_jsonable_python

from dspex_core.adapters import Adapter
from dspex_core.errors import AdapterParseError, ToolError
from dspex_core.modules._agent import DeclaredAgent, answer_signature, check_fields, checked_limit, derived_signature
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, Predict, check_inputs
from dspex_core.modules._trajectory import Trajectory
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import ToolCall, current_runtime
from dspex_core.signature import InputField, OutputField, Signature, signature_of
from dspex_core.tools import Tool, as_tool

FINISH = "finish"
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
        self.max_iters = checked_limit(max_iters)
        check_fields(self.signature, _OWN_FIELDS, module="ReAct")
        self.tools = _by_name([as_tool(tool) for tool in tools])
        self.react = Predict(_step_signature(self.signature, self.tools))
        self.extract = ChainOfThought(answer_signature(self.signature))

    async def forward(self, **inputs: Any) -> Prediction:
        """Take steps until the model is done, and then ask for the outputs."""
        limit = (
            self.max_iters if "max_iters" in self.signature.input_fields else inputs.pop("max_iters", self.max_iters)
        )
        check_inputs(self.signature, inputs)
        trajectory = Trajectory()
        for _ in range(checked_limit(limit)):
            if await self._step(trajectory, inputs) == FINISH:
                break
        answer = await trajectory.ask(self.extract, inputs)
        return Prediction({"trajectory": trajectory.fields(), **answer.to_dict()})

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """A step or more, up to `max_iters`."""
        return {"react": (1, self.max_iters)}

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
        agent = DeclaredAgent.read(declared, max_iters=20)
        return cls(agent.signature.build(), agent.imported_later(), agent.max_iters)

    def import_tools(self, trust: Collection[str] | None) -> None:
        """Make every tool ready to be called in this process.

        Args:
            trust: Packages that tools may come from; None trusts all.

        Raises:
            TrustError: If a tool comes from elsewhere, or its source has changed.
            ProgramError: If there is no such tool.
        """
        self.tools = {name: tool.imported(trust=trust) for name, tool in self.tools.items()}

    async def _step(self, trajectory: Trajectory, inputs: dict[str, Any]) -> str:
        try:
            step = await trajectory.ask(self.react, inputs)
        except AdapterParseError as error:
            thought, name, args = _what_was_meant(self.react.adapter, self.react.signature, error)
            problem = f"This step cannot be carried out: {error.reason}. The tools are {', '.join(self.tools)}."
            trajectory.add(_step(thought, name, args, problem))
            return ""
        args = cast("dict[str, Any]", to_jsonable_python(step.next_tool_args, fallback=str, bytes_mode="base64"))
        tool = self.tools[step.next_tool_name]
        if tool.name == FINISH:
            observation = "Completed."
        else:
            observation = (await current_runtime().call_tool(ToolCall(tool=tool, args=args))).text
        trajectory.add(_step(step.next_thought, tool.name, args, observation))
        return tool.name


def _by_name(tools: list[Tool]) -> dict[str, Tool]:
    named: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in named or tool.name == FINISH:
            raise ToolError(f"there are two tools named {tool.name!r}: rename one with Tool(function, name='…')")
        named[tool.name] = tool
    named[FINISH] = Tool(_finish, name=FINISH, desc="Say that you know all that the outputs need.")
    return named


def _step(*values: Any) -> dict[str, Any]:
    return dict(zip(STEP_FIELDS, values, strict=True))


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
    return derived_signature(
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


def _what_was_meant(adapter: Adapter, signature: type[Signature], error: AdapterParseError) -> tuple[str, str, Any]:
    """Thought, tool and arguments of an answer that could not be taken as it is, as far as they can be read."""
    loose = derived_signature(
        signature.__name__,
        signature.instructions,
        {"trajectory": (str, InputField())} | {name: (str, OutputField()) for name in _OWN_FIELDS[1:]},
    )
    try:
        said = adapter.parse(loose, error.answer)
    except AdapterParseError:
        return "", "", {}
    return said["next_thought"], said["next_tool_name"], said["next_tool_args"]

import builtins
import keyword
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dspex_core.errors import AdapterParseError, ToolError
from dspex_core.modules._agent import (
    DeclaredAgent,
    answer_signature,
    check_fields,
    checked_limit,
    derived_signature,
    inputs_of,
)
from dspex_core.modules._code import SANDBOX_RULES, code_in
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, Predict, check_inputs
from dspex_core.modules._trajectory import Trajectory
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import CodeCell, CodeResult, current_runtime
from dspex_core.signature import InputField, OutputField, Signature, signature_of
from dspex_core.tools import Tool, as_tool

_OWN_FIELDS = ("trajectory", "generated_code", "finished")


class CodeAct(Module):
    """Acts by writing Python: the model's code calls the tools, until it knows enough to give the outputs.

        agent = CodeAct("question -> answer", tools=[search])
        prediction = await agent(question="…")    # prediction.answer, prediction.trajectory

    The code runs in a sandbox (`pip install 'dspex[sandbox]'`): no files, no network, no environment, limits on time
    and memory, and the tools as its only way out. A step's variables are there in the next one. Code that raises, or
    goes beyond a limit, ends nothing: the model reads what happened, and goes on. Steps that outgrow the model's
    context are dealt with as by `ReAct`; they are all in `prediction.trajectory`, as `generated_code_0` with
    `code_output_0`, or with `observation_0` if something went wrong.

    Args:
        signature: A Signature class, or a string such as "question -> answer".
        tools: Functions, `Tool`s, or where to import either from as "package.module:attribute".
        max_iters: Most steps; then the outputs are made of what is known. `agent(…, max_iters=3)` sets it for one call.

    Raises:
        ToolError: If something among the tools cannot be a tool, or two have one name, or one has a name that code
            cannot call it by.
        ProgramError: If the signature has a field of a name that the steps need, or `max_iters` is below 1.
        ConfigurationError: When called, if the sandbox is not installed.
        LMContextLengthError: When called, if not even the beginning of one step fits.

    Source: Wang et al. 2024, "Executable Code Actions Elicit Better LLM Agents". Predictors and their fields go by
    DSPy's names, so that states can be exchanged.
    """

    def __init__(
        self,
        signature: type[Signature] | str,
        tools: Sequence[Tool | Callable[..., Any] | str],
        max_iters: int = 5,
    ) -> None:
        self.signature = signature_of(signature)
        self.max_iters = checked_limit(max_iters)
        check_fields(self.signature, _OWN_FIELDS, module="CodeAct")
        self.tools = _by_name([as_tool(tool) for tool in tools])
        self.codeact = Predict(_step_signature(self.signature, self.tools))
        self.extractor = ChainOfThought(answer_signature(self.signature))

    async def forward(self, **inputs: Any) -> Prediction:
        """Run code until the model is done, and then ask for the outputs."""
        limit = (
            self.max_iters if "max_iters" in self.signature.input_fields else inputs.pop("max_iters", self.max_iters)
        )
        check_inputs(self.signature, inputs)
        trajectory = Trajectory()
        session: bytes | None = None
        for _ in range(checked_limit(limit)):
            try:
                step = await trajectory.ask(self.codeact, inputs)
            except AdapterParseError as error:
                trajectory.add({"observation": f"This step cannot be carried out: {error.reason}."})
                continue
            code = code_in(step.generated_code)
            result = await self._run(code, session)
            session = result.session
            trajectory.add({"generated_code": code, "observation" if result.failed else "code_output": result.text})
            if step.finished and not result.failed:
                break
        answer = await trajectory.ask(self.extractor, inputs)
        return Prediction({"trajectory": trajectory.fields(), **answer.to_dict()})

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """A step or more, up to `max_iters`."""
        return {"codeact": (1, self.max_iters)}

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
        if type(self) is not CodeAct:
            return super().reference()
        return DeclaredProgram(
            module="code_act",
            signature=self.signature.to_spec(),
            options={
                "tools": [tool.to_spec().model_dump(mode="json") for tool in self.tools.values()],
                "max_iters": self.max_iters,
            },
        )

    @classmethod
    def from_declaration(cls, declared: DeclaredProgram) -> "CodeAct":
        """The module that `reference` wrote out. Its tools are not yet imported, so that only a workflow can run it.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        agent = DeclaredAgent.read(declared, max_iters=5)
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

    async def _run(self, code: str, session: bytes | None) -> CodeResult:
        if not code:
            return CodeResult(text="There is no code in this step.", failed=True, session=session)
        cell = CodeCell(code=code, tools=tuple(self.tools.values()), session=session)
        return await current_runtime().run_code(cell)


def _by_name(tools: list[Tool]) -> dict[str, Tool]:
    named: dict[str, Tool] = {}
    for tool in tools:
        name = tool.name
        if name in named:
            raise ToolError(f"there are two tools named {name!r}: rename one with Tool(function, name='…')")
        if not name.isidentifier() or keyword.iskeyword(name) or hasattr(builtins, name):
            raise ToolError(f"code cannot call a tool by the name {name!r}: rename it with Tool(function, name='…')")
        named[name] = tool
    return named


def _step_signature(signature: type[Signature], tools: dict[str, Tool]) -> type[Signature]:
    inputs = ", ".join(f"`{name}`" for name in signature.input_fields)
    outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
    listed = "\n".join(f"({number}) {tool.describe()}" for number, tool in enumerate(tools.values(), start=1))
    instructions = (
        f"{signature.instructions}\n\n"
        f"Work towards this by writing Python in steps: you get {inputs} and the `trajectory` of your steps so far, "
        f"and write in `generated_code` the code of the next one. Find out with it whatever you need to know to give "
        f"{outputs}.\n"
        f"{SANDBOX_RULES} What one step defines, the next one has. Set `finished` to True with the code after which "
        "nothing is missing.\n\n"
        f"The functions that the code may call, besides Python's own, without importing them:\n{listed or 'none'}"
    )
    return derived_signature(
        f"{signature.__name__}Step",
        instructions,
        inputs_of(signature)
        | {
            "trajectory": (str, InputField()),
            "generated_code": (str, OutputField(desc="Python code of the next step")),
            "finished": (bool, OutputField(desc="whether nothing is missing once this code has run")),
        },
    )

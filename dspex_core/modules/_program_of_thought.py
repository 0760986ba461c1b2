from typing import Any

from dspex_core.modules._agent import (
    DeclaredAgent,
    check_fields,
    checked_limit,
    derived_signature,
    inputs_of,
    outputs_of,
)
from dspex_core.modules._code import SANDBOX_RULES, code_in
from dspex_core.modules._module import Module
from dspex_core.modules._predict import ChainOfThought, check_inputs
from dspex_core.modules._trajectory import Trajectory, ask_with_less
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.seam import CodeCell, CodeResult, current_runtime
from dspex_core.signature import InputField, OutputField, Signature, signature_of

_OWN_FIELDS = (
    "generated_code", "previous_code", "error", "final_generated_code", "code_output", "reasoning", "trajectory",
)  # fmt: skip

# States that DSPy compiled tell the model to hand its result to a function of this name.
_SUBMIT = "def SUBMIT(*values, **fields): print(*values, *([fields] if fields else []))\n"


class ProgramOfThought(Module):
    """Answers by computing: the model writes a Python program, and makes the outputs of what the program finds.

        solve = ProgramOfThought("question -> answer: int")
        prediction = await solve(question="What is the sum of the primes below 100?")    # prediction.answer

    The program runs in a sandbox (`pip install 'dspex[sandbox]'`), as `CodeAct`'s code does, without tools. If it
    raises, goes beyond a limit, or shows nothing, the model writes another one, knowing what was wrong. All programs
    are in `prediction.trajectory`, as `generated_code_0` with `code_output_0`, or with `observation_0` for a failure.

    Args:
        signature: A Signature class, or a string such as "question -> answer".
        max_iters: Most programs. If the last one fails too, the outputs are made with its failure in view, where
            DSPy raises.

    Raises:
        ProgramError: If the signature has a field of a name that the steps need, or `max_iters` is below 1.
        ConfigurationError: When called, if the sandbox is not installed.

    Source: Chen et al. 2022, "Program of Thoughts Prompting: Disentangling Computation from Reasoning for Numerical
    Reasoning Tasks". Predictors and their fields go by DSPy's names, so that states can be exchanged.
    """

    def __init__(self, signature: type[Signature] | str, max_iters: int = 3) -> None:
        self.signature = signature_of(signature)
        self.max_iters = checked_limit(max_iters)
        check_fields(self.signature, _OWN_FIELDS, module="ProgramOfThought")
        self.code_generate = ChainOfThought(_writing(self.signature))
        self.code_regenerate = ChainOfThought(_mending(self.signature))
        self.generate_output = ChainOfThought(_answering(self.signature))

    async def forward(self, **inputs: Any) -> Prediction:
        """Have programs written until one works, and then ask for the outputs."""
        check_inputs(self.signature, inputs)
        trajectory = Trajectory()
        written = await self.code_generate(**inputs)
        code, result = await self._run(written.generated_code, trajectory)
        for _ in range(self.max_iters - 1):
            if not result.failed:
                break
            written = await ask_with_less(self.code_regenerate, {**inputs, "previous_code": code}, error=result.text)
            code, result = await self._run(written.generated_code, trajectory)
        answer = await ask_with_less(
            self.generate_output, {**inputs, "final_generated_code": code}, code_output=result.text
        )
        return Prediction({"trajectory": trajectory.fields(), **answer.to_dict()})

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """As many new programs as were wrong, up to `max_iters` in all."""
        return {"code_regenerate": (0, self.max_iters - 1)}

    def input_names(self) -> dict[str, bool]:
        """The signature's inputs, all of which must be given."""
        return dict.fromkeys(self.signature.input_fields, True)

    def output_names(self) -> set[str]:
        """The trajectory, the reasoning and the signature's outputs."""
        return {"trajectory", "reasoning", *self.signature.output_fields}

    def reference(self) -> ProgramReference:
        """The module, its signature and its limit, written out; for a subclass, where it is imported from."""
        if type(self) is not ProgramOfThought:
            return super().reference()
        return DeclaredProgram(
            module="program_of_thought", signature=self.signature.to_spec(), options={"max_iters": self.max_iters}
        )

    @classmethod
    def from_declaration(cls, declared: DeclaredProgram) -> "ProgramOfThought":
        """The module that `reference` wrote out.

        Raises:
            ProgramError: If the declaration lacks something.
        """
        agent = DeclaredAgent.read(declared, max_iters=3)
        return cls(agent.signature.build(), agent.max_iters)

    async def _run(self, written: str, trajectory: Trajectory) -> tuple[str, CodeResult]:
        code = code_in(written)
        result = CodeResult(text="There is no code in this answer.", failed=True)
        if code:
            given = _SUBMIT + code if "SUBMIT" in code else code
            result = await current_runtime().run_code(CodeCell(code=given))
        if not result.text:
            result = CodeResult(text="The program showed nothing: print the result.", failed=True)
        trajectory.add({"generated_code": code, "observation" if result.failed else "code_output": result.text})
        return code, result


def _writing(signature: type[Signature]) -> type[Signature]:
    return derived_signature(
        f"{signature.__name__}Program",
        f"{signature.instructions}\n\n"
        f"Do not answer yet: write in `generated_code` a Python program that computes {_listed(signature)}, and prints "
        f"the result.\n{SANDBOX_RULES}",
        inputs_of(signature) | {"generated_code": (str, OutputField(desc="the whole program"))},
    )


def _mending(signature: type[Signature]) -> type[Signature]:
    return derived_signature(
        f"{signature.__name__}BetterProgram",
        f"{signature.instructions}\n\n"
        f"A Python program was to compute {_listed(signature)} and print the result, and failed. Write in "
        f"`generated_code` one that works.\n{SANDBOX_RULES}",
        inputs_of(signature)
        | {
            "previous_code": (str, InputField(desc="the program that failed")),
            "error": (str, InputField(desc="what went wrong in it")),
            "generated_code": (str, OutputField(desc="the whole program")),
        },
    )


def _answering(signature: type[Signature]) -> type[Signature]:
    return derived_signature(
        signature.__name__,
        f"{signature.instructions}\n\nA program was run for this. Make {_listed(signature)} of what it put out.",
        inputs_of(signature)
        | {
            "final_generated_code": (str, InputField(desc="the program")),
            "code_output": (str, InputField(desc="what it put out")),
        }
        | outputs_of(signature),
    )


def _listed(signature: type[Signature]) -> str:
    return ", ".join(f"`{name}`" for name in signature.output_fields)

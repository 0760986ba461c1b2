import copy
import hashlib
import inspect
import json
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, cast

import pydantic
from pydantic_core import to_jsonable_python

from dspex_core.errors import AdapterParseError, InputError, ProgramError
from dspex_core.invalid import first_problem
from dspex_core.metrics import majority
from dspex_core.modules._bounded import bounded
from dspex_core.modules._module import Module
from dspex_core.programs import DeclaredProgram, ProgramReference
from dspex_core.record import Prediction
from dspex_core.references import CodeReference, import_code, reference_to
from dspex_core.seam import current_rollout
from dspex_core.synchronous import in_thread

Reduce = Callable[[list[Prediction]], Prediction | Awaitable[Prediction]]
"""Makes one prediction of many; it may be async; one that is not runs in a thread."""

_WHAT = "reduce function"


class EnsembledProgram(Module):
    """Runs several programs on the same inputs, side by side, and makes one prediction of theirs.

        vote = EnsembledProgram([Predict("text -> team"), ChainOfThought("text -> team")])

    Args:
        programs: What to run; programs of one structure in several states, as an optimizer finds them, or any others
            that take the same inputs.
        reduce_fn: Makes one prediction of a list of them, in the order of the programs; None takes `majority`. For
            programs that are sent to workers it must be importable: a function of a module, or where it is imported
            from as 'package.module:function'.
        size: Programs drawn for each call; None runs all.
        deterministic: Whether equal inputs always draw the same programs. Otherwise the sample in force has its say:
            a `BestOfN` around the ensemble has other programs drawn in each of its tries.

    A program whose answer cannot be read has no vote; if none can be, the first one's error is raised.

    Raises:
        InputError: If there is no program, `size` is not between 1 and their number, or `reduce_fn` is no function.
        ProgramError: When called, if `reduce_fn` gives no Prediction.
    """

    def __init__(
        self,
        programs: Sequence[Module],
        *,
        reduce_fn: Reduce | CodeReference | str | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        if not programs:
            raise InputError("an ensemble needs at least one program")
        if size is not None and not 1 <= size <= len(programs):
            raise InputError(f"an ensemble of {len(programs)} programs cannot draw size={size} of them")
        # Copies, because the same object given twice would be one program with one state.
        self.programs = [copy.deepcopy(program) for program in programs]
        self.size = size
        self.deterministic = deterministic
        self.reduce_fn = _checked(reduce_fn)

    async def forward(self, **inputs: Any) -> Prediction:
        """Run the programs, and reduce what they give."""
        programs = self._drawn(inputs)
        answers = await bounded([partial(_vote, program, inputs) for program in programs], concurrency=len(programs))
        votes = [answer for answer in answers if isinstance(answer, Prediction)]
        lost = [answer for answer in answers if isinstance(answer, AdapterParseError)]
        if not votes:
            raise lost[0]
        return await self._reduced(votes)

    def input_names(self) -> dict[str, bool] | None:
        """What the programs take: those of the first that says so."""
        return next((names for program in self.programs if (names := program.input_names()) is not None), None)

    def output_names(self) -> set[str]:
        """The outputs that all programs give."""
        names, *others = (program.output_names() for program in self.programs)
        return names.intersection(*others)

    def reference(self) -> ProgramReference:
        """The programs and options, written out; for a subclass, where it is imported from.

        Raises:
            ProgramError: If no other process could rebuild a program, or import the reduce function.
        """
        if type(self) is not EnsembledProgram:
            return super().reference()
        options: dict[str, Any] = {"size": self.size, "deterministic": self.deterministic}
        if self.reduce_fn is not None:
            path = self.reduce_fn.path if isinstance(self.reduce_fn, CodeReference) else self.reduce_fn
            options["reduce_fn"] = reference_to(path, what=_WHAT).model_dump()
        return DeclaredProgram(
            module="ensemble", options=options, parts=tuple(program.reference() for program in self.programs)
        )

    @staticmethod
    def from_declaration(declared: DeclaredProgram, build: Callable[[ProgramReference], Module]) -> "EnsembledProgram":
        """The module that `reference` wrote out. Its reduce function is not yet imported.

        Raises:
            ProgramError: If the declaration does not fit.
        """
        try:
            options = _Options.model_validate(declared.options)
        except pydantic.ValidationError as error:
            where, what = first_problem(error)
            raise ProgramError(f"an ensemble cannot be made: option {where!r}: {what}") from None
        return EnsembledProgram([build(part) for part in declared.parts], **dict(options))

    def import_reduce(self, trust: Collection[str] | None) -> None:
        """Make the reduce function ready to be called in this process.

        Raises:
            TrustError: If it comes from a package that is not trusted, or its source has changed.
            ProgramError: If there is no such function.
        """
        if isinstance(self.reduce_fn, CodeReference):
            self.reduce_fn = _checked(import_code(self.reduce_fn, trust=trust, what=_WHAT))

    def _drawn(self, inputs: dict[str, Any]) -> list[Module]:
        if self.size is None:
            return self.programs
        told = json.dumps(to_jsonable_python(inputs, fallback=str), sort_keys=True, ensure_ascii=False)
        sample = 0 if self.deterministic else current_rollout()
        digest = hashlib.blake2b(f"{sample}\n{told}".encode(), digest_size=8).digest()
        rng = random.Random(int.from_bytes(digest))  # noqa: S311 - repeatable by design
        drawn = sorted(rng.sample(range(len(self.programs)), self.size))
        return [self.programs[at] for at in drawn]

    async def _reduced(self, votes: list[Prediction]) -> Prediction:
        function = self.reduce_fn
        if function is None:
            return majority(votes)
        if isinstance(function, CodeReference):
            raise ProgramError(f"the {_WHAT} {function.path} was not imported: build the program where it is to run")
        if inspect.iscoroutinefunction(function):
            return await function(votes)
        found = await in_thread(lambda: function(votes))
        return await found if inspect.isawaitable(found) else found


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    size: int | None = None
    deterministic: bool = False
    reduce_fn: CodeReference | None = None


async def _vote(program: Module, inputs: dict[str, Any]) -> Prediction | AdapterParseError:
    try:
        return await program(**inputs)
    except AdapterParseError as error:
        return error


def _checked(reduce_fn: Any) -> Reduce | CodeReference | None:
    if reduce_fn is None or reduce_fn is majority or isinstance(reduce_fn, CodeReference):
        return None if reduce_fn is majority else reduce_fn
    if isinstance(reduce_fn, str):
        if reduce_fn == "majority":
            return None
        reduce_fn = import_code(CodeReference(path=reduce_fn), trust=None, what=_WHAT)
    if not callable(reduce_fn):
        raise InputError(f"the {_WHAT} is a {type(reduce_fn).__name__}: give a function of a list of predictions")
    return cast("Reduce", reduce_fn)

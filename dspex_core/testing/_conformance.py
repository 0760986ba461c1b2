"""What every optimizer must hold to, checked by running it: yours too."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dspex_core.errors import DatasetError
from dspex_core.lm import LM
from dspex_core.modules import Module, Predict
from dspex_core.optimizers import CompileResult, Optimizer
from dspex_core.record import Example
from dspex_core.runtime import InProcessRuntime, using
from dspex_core.seam import ProgramState

TOPICS = {
    "billing": ("invoice", "charged", "refund", "payment", "receipt"),
    "shipping": ("parcel", "courier", "delivery", "tracking", "address"),
    "account": ("password", "login", "email", "profile", "username"),
    "bug": ("crash", "error", "freezes", "broken", "screen"),
}
"""Labels of the conformance task, and the words that tell them apart."""


@dataclass(frozen=True)
class Trajectory:
    """What a compile did: every candidate with its score, in order, and the winner."""

    candidates: tuple[tuple[str, ProgramState, float], ...]
    winner: ProgramState
    score: float | None

    @classmethod
    def of(cls, result: CompileResult[Module]) -> "Trajectory":
        """The trajectory that a result tells of."""
        candidates = tuple((c.label, c.state, c.score) for c in result.candidates)
        return cls(candidates, result.program.get_state(), result.score)


Compile = Callable[[Optimizer, Module, Sequence[Example], Sequence[Example]], Awaitable[CompileResult[Module]]]
"""Compiles a program elsewhere: optimizer, program, trainset, valset."""


def conformance_rows(count: int, *, start: int = 0) -> list[Example]:
    """Rows of the conformance task: short messages and the topic each is about."""
    rows: list[Example] = []
    for number in range(start, start + count):
        topics = list(TOPICS)
        topic = topics[number % len(topics)]
        words = TOPICS[topic]
        first, second = words[number % len(words)], words[(number // len(words)) % len(words)]
        text = f"message {number}: something about the {first} and my {second}"
        rows.append(Example(text=text, topic=topic).with_inputs("text"))
    return rows


def conformance_program() -> Module:
    """The program of the conformance task."""
    return Predict(f"text -> topic: Literal[{', '.join(map(repr, TOPICS))}]")


async def check_optimizer(optimizer: Optimizer, lm: LM, *, elsewhere: Compile | None = None) -> Trajectory:
    """Check that an optimizer is deterministic, refuses an empty trainset, and does the same on another runtime.

    Args:
        optimizer: What to check, with its metric and its options.
        lm: A model that always answers the same; `FakeProvider` serves one.
        elsewhere: Compiles on the other runtime.

    Returns:
        What it did, the same in every run.

    Raises:
        AssertionError: If it does not hold to something; says what.
    """
    trainset, valset = conformance_rows(40), conformance_rows(20, start=40)
    program = conformance_program()
    before = program.get_state()
    trajectories: list[Trajectory] = []
    for concurrency in (1, 16):
        with using(runtime=InProcessRuntime(lm, concurrency=concurrency)):
            result = await optimizer.compile(program, trainset=trainset, valset=valset)
        trajectories.append(Trajectory.of(result))
        best = max(candidate.score for candidate in result.candidates if candidate.rows is None)
        _hold(result.score == best, "the result is the best of the candidates that were scored on all rows")
    first, second = trajectories
    _hold(first == second, "one seed gives one result, however many rows are in flight")
    _hold(program.get_state() == before, "the student stays as it was given")
    _hold(bool(first.candidates) and first.candidates[0][1] == before, "the first candidate is the student as given")
    with using(lm=lm):
        try:
            await optimizer.compile(program, trainset=[], valset=valset)
        except DatasetError:
            pass
        else:
            _hold(False, "an empty trainset is refused")  # noqa: FBT003 - the check itself failed
    if elsewhere is not None:
        other = Trajectory.of(await elsewhere(optimizer, program, trainset, valset))
        _hold(other == first, "the other runtime gives the same candidates, scores and winner")
    return first


def _hold(holds: bool, rule: str) -> None:  # noqa: FBT001 - what is checked
    if not holds:
        raise AssertionError(f"the optimizer breaks a rule: {rule}")

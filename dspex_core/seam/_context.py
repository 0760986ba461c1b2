import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from dspex_core.errors import ConfigurationError
from dspex_core.seam._adapter import AdapterConfig
from dspex_core.seam._runtime import Runtime
from dspex_core.seam._score import TraceStep
from dspex_core.seam._tools import Approve
from dspex_core.usage import Usage

_scoped: ContextVar[Runtime | None] = ContextVar("dspex_runtime", default=None)
_default: list[Runtime] = []
_adapter: ContextVar[AdapterConfig | None] = ContextVar("dspex_adapter", default=None)
_default_adapter: list[AdapterConfig] = []
_approver: ContextVar[Approve | None] = ContextVar("dspex_approver", default=None)
_default_approver: list[Approve] = []
_trace: ContextVar[list[TraceStep] | None] = ContextVar("dspex_trace", default=None)
_rollout: ContextVar[int] = ContextVar("dspex_rollout", default=0)
_rollout_temperature: ContextVar[float] = ContextVar("dspex_rollout_temperature", default=1.0)
_payer: ContextVar["Payer | None"] = ContextVar("dspex_payer", default=None)
_caller: ContextVar["object | None"] = ContextVar("dspex_caller", default=None)
_meters: ContextVar[tuple["UsageMeter", ...]] = ContextVar("dspex_usage_meters", default=())

_compiling: ContextVar[bool] = ContextVar("dspex_compiling", default=False)

_adding = threading.Lock()

ROLLOUTS_WITHIN = 1_000
"""Samples that one sample may take within itself without meeting another's."""


class UsageMeter:
    """Adds up what the calls made under it take; see `metered`."""

    def __init__(self) -> None:
        self.usage = Usage()


@contextmanager
def compiling(*, really: bool = True) -> Generator[None]:
    """Say that calls of the block belong to a compile, so that they measure the model asked for and no other."""
    token = _compiling.set(really)
    try:
        yield
    finally:
        _compiling.reset(token)


def is_compiling() -> bool:
    """Whether calls made now belong to a compile."""
    return _compiling.get()


def current_rollout() -> int:
    """Which sample calls made now are: 0 is the ordinary answer."""
    return _rollout.get()


def current_rollout_temperature() -> float:
    """The temperature of calls made now, if they are a fresh sample."""
    return _rollout_temperature.get()


@contextmanager
def rolled_out(rollout: int, *, temperature: float = 1.0) -> Generator[None]:
    """Make the calls of the block a fresh sample, with a place of its own in the cache.

    Args:
        rollout: The sample's number; 0 is the ordinary answer. Within another sample it counts anew, and 0 is the first
            part of that sample.
        temperature: The sample's temperature; of 0 within another sample, it is that one's.
    """
    token = _rollout.set(_rollout.get() * ROLLOUTS_WITHIN + rollout)
    token_of_temperature = _rollout_temperature.set(temperature if rollout else _rollout_temperature.get())
    try:
        yield
    finally:
        _rollout_temperature.reset(token_of_temperature)
        _rollout.reset(token)


class Payer:
    """A piece of work that is tried again if its process dies, such as an activity, and what it has paid for.

    An answer that an earlier try paid for comes from the cache in the next one; booked to the same payer, it still
    counts as the call it was, and a run's usage is that of an undisturbed one.

    Args:
        name: The same in every try of this work, and of no other.
        heir_of: Names of work that ended without telling what it had paid, and whose place this work takes.
    """

    def __init__(self, name: str, *, heir_of: Collection[str] = ()) -> None:
        self.name = name
        self._names = {name, *heir_of}
        self._booked: set[str] = set()

    def books(self, key: str, *, paid_by: str) -> bool:
        """Whether an answer is to be booked as a call of this work: it paid for it, and has not booked it yet."""
        if paid_by not in self._names or key in self._booked:
            return False
        self._booked.add(key)
        return True


def current_payer() -> Payer | None:
    """Who pays for calls made now."""
    return _payer.get()


@contextmanager
def paying(payer: Payer) -> Generator[Payer]:
    """Book the calls of the block to a payer."""
    token = _payer.set(payer)
    try:
        yield payer
    finally:
        _payer.reset(token)


def current_caller() -> object | None:
    """The evaluation or run that calls made now belong to, if they belong to one; callers take turns at a model."""
    return _caller.get()


@contextmanager
def calling() -> Generator[None]:
    """Let the calls of the block be one caller's, unless they are already part of one.

    Such calls wait for a provider that is down; others fail at once.
    """
    token = _caller.set(_caller.get() or object())
    try:
        yield
    finally:
        _caller.reset(token)


def current_runtime() -> Runtime:
    """The runtime in force for the running task.

    Raises:
        ConfigurationError: If none was set.
    """
    runtime = _scoped.get() or (_default[0] if _default else None)
    if runtime is None:
        raise ConfigurationError(
            "no LM is set: call configure(lm=LM('openai/gpt-4o-mini')) once, or wrap the call in `with using(lm=…):`"
        )
    return runtime


def set_default_runtime(runtime: Runtime) -> None:
    """Make a runtime the process-wide default."""
    _default[:] = [runtime]


@contextmanager
def scoped_runtime(runtime: Runtime) -> Generator[Runtime]:
    """Put a runtime in force for the block, and for the tasks started in it."""
    token = _scoped.set(runtime)
    try:
        yield runtime
    finally:
        _scoped.reset(token)


def current_adapter() -> AdapterConfig | None:
    """The adapter in force for predictors that have none of their own; None if none was set."""
    return _adapter.get() or (_default_adapter[0] if _default_adapter else None)


def set_default_adapter(adapter: AdapterConfig | None) -> None:
    """Make an adapter the process-wide default."""
    _default_adapter[:] = [adapter] if adapter else []


@contextmanager
def scoped_adapter(adapter: AdapterConfig) -> Generator[AdapterConfig]:
    """Put an adapter in force for the block, and for the tasks started in it."""
    token = _adapter.set(adapter)
    try:
        yield adapter
    finally:
        _adapter.reset(token)


def current_approver() -> Approve | None:
    """Who is asked, in this process, about calls of tools that need approval; None if nobody is."""
    return _approver.get() or (_default_approver[0] if _default_approver else None)


def set_default_approver(approve: Approve | None) -> None:
    """Let this be asked process-wide."""
    _default_approver[:] = [approve] if approve else []


@contextmanager
def scoped_approver(approve: Approve) -> Generator[None]:
    """Let this be asked in the block, and in the tasks started in it."""
    token = _approver.set(approve)
    try:
        yield
    finally:
        _approver.reset(token)


@contextmanager
def recorded_trace() -> Generator[list[TraceStep]]:
    """Collect what every predictor called in the block saw and said, in the order of their answers."""
    steps: list[TraceStep] = []
    token = _trace.set(steps)
    try:
        yield steps
    finally:
        _trace.reset(token)


def record_step(step: TraceStep) -> None:
    """Add a predictor's step to the trace being recorded, if there is one."""
    steps = _trace.get()
    if steps is not None:
        steps.append(step)


@contextmanager
def metered() -> Generator[UsageMeter]:
    """Measure the usage of the block, tasks and threads started in it included."""
    meter = UsageMeter()
    token = _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:
        _meters.reset(token)


def add_usage(usage: Usage) -> None:
    """Add a call's usage to every meter in force."""
    meters = _meters.get()
    # A program's calls may be made in several threads at once, and an addition takes more than one step.
    with _adding:
        for meter in meters:
            meter.usage = meter.usage + usage

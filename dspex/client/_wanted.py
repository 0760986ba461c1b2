import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, cast

from temporalio.common import Priority

from dspex import settings
from dspex._rooms import workflows
from dspex.client._prices import require_prices
from dspex_core.artifacts import ArtifactStore, store_dataset
from dspex_core.budget import Budget
from dspex_core.errors import ConfigurationError, ProgramError, UnknownNameError
from dspex_core.lm import LM
from dspex_core.metrics import metric_reference
from dspex_core.modules import Module, Pipeline, as_program, build_program
from dspex_core.optimizers import OPTIMIZERS, Ensemble, KNNFewShot, Optimizer, require_program, require_rows
from dspex_core.programs import ImportedProgram
from dspex_core.record import Example
from dspex_core.references import reference_to
from dspex_core.requests import ProgramOutline
from dspex_core.seam import LMConfig

PRIORITIES = range(1, 6)
LONGEST_TENANT_BYTES = 64
LONGEST_ID_BYTES = 900
"""Temporal takes 1,000; evaluations of a run add theirs."""


@dataclass(frozen=True)
class CompileOptions:
    """What else a compile may be given; see `Client.compile`."""

    id: str | None = None
    resume: bool = False
    chunk_rows: int | None = None
    budget: Budget | None = None
    environment: str | None = None
    priority: int | None = None
    tenant: str | None = None
    folds: int | None = None

    @classmethod
    def given(cls, options: Mapping[str, Any], *, but: Collection[str] = ()) -> Self:
        """The options that somebody wrote.

        Args:
            options: By name.
            but: Those that have no meaning there.

        Raises:
            UnknownNameError: If there is no such option.
            ConfigurationError: If a value cannot be.
        """
        known = {field.name for field in fields(cls)}.difference(but)
        for name in options:
            if name not in known:
                raise UnknownNameError("option of a compile", name, known)
        return cls(**options)

    def __post_init__(self) -> None:
        if self.id is not None:
            require_id(self.id)
        if self.priority is not None and self.priority not in PRIORITIES:
            raise ConfigurationError(f"a priority is 1 (first) to 5 (last), not {self.priority}")
        if self.tenant is not None and not 0 < len(self.tenant.encode()) <= LONGEST_TENANT_BYTES:
            raise ConfigurationError(f"a tenant's name has 1 to {LONGEST_TENANT_BYTES} bytes: {self.tenant[:80]!r}")
        if self.chunk_rows is not None and self.chunk_rows < 1:
            raise ConfigurationError(f"chunk_rows is how many rows an activity takes, 1 or more, not {self.chunk_rows}")
        if self.environment is not None:
            settings.environment_queue(self.environment)

    @property
    def temporal_priority(self) -> Priority:
        """Whose turn it is; children and activities of a run inherit it."""
        return Priority(priority_key=self.priority, fairness_key=self.tenant)


def require_id(run_id: str) -> None:
    """Refuse a run's id that could not be told from others, or stand in an address.

    Raises:
        ConfigurationError: Saying what an id may be.
    """
    if not isinstance(cast("Any", run_id), str) or not run_id.strip() or "/" in run_id:
        raise ConfigurationError(
            f"the id {run_id!r:.80} cannot be a run's: write a text without '/', which is for the evaluations of a run"
        )
    if len(run_id.encode()) > LONGEST_ID_BYTES:
        raise ConfigurationError(f"the id {run_id[:40]!r}… is too long: {LONGEST_ID_BYTES} bytes at most")


def require_known_inputs(program: Module, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that a program cannot be run with, as far as that can be seen without running it.

    Raises:
        ProgramError: If one is missing or unknown; names it.
    """
    if not isinstance(cast("Any", inputs), Mapping):
        raise ProgramError(f"inputs are to be a mapping of names to values, not {inputs!r:.80}")
    names = program.input_names()
    if names is None:
        return
    takes = f"{type(program).__name__} takes {', '.join(names)}"
    unknown = [] if isinstance(program, Pipeline) else [name for name in inputs if name not in names]
    for name, is_needed in names.items():
        if is_needed and name not in inputs:
            given = f", and {unknown[0]!r} is no input of it" if unknown else ""
            raise ProgramError(f"input {name!r} is missing{given}; {takes}")
    if unknown:
        raise ProgramError(f"there is no input {unknown[0]!r}; {takes}")


@dataclass(frozen=True)
class WantedCompile:
    """A compile that was asked for: checked, and not yet started."""

    program: Module
    optimizer: Optimizer
    trainset: Sequence[Example]
    valset: Sequence[Example] | None
    lm: LM
    teacher: Module | None
    teacher_lm: LM | None
    options: CompileOptions

    def __post_init__(self) -> None:
        self._require_kinds()
        folds = self.options.folds
        if folds is not None and self.valset is None:
            self.optimizer.check_folds(self.program, self.trainset, folds=folds, teacher=self.teacher)
        elif folds is None and self.valset is not None:
            self.optimizer.check(self.program, self.trainset, self.valset, self.teacher)
        else:
            raise ConfigurationError("a durable compile scores on a valset or in folds: give one of the two")
        require_prices(
            self.options.budget,
            program=self.program,
            optimizer=self.optimizer,
            lm=self.lm,
            teacher_lm=self.teacher_lm,
        )

    def _require_kinds(self) -> None:
        """Refuse what is none of what is asked for, before anything else looks at it."""
        require_optimizer(self.optimizer)
        if self.teacher is not None:
            require_program(self.teacher, what="teacher")
        require_lm(self.lm)
        if self.teacher_lm is not None:
            require_lm(self.teacher_lm, what="teacher_lm")
        require_rows(self.trainset, what="training set")
        if self.valset is not None:
            require_rows(self.valset, what="validation set")

    async def warn(self) -> None:
        """Warn the caller's caller of a budget that buys no search."""
        if self.options.budget is None:
            return
        shortfall = await self.optimizer.shortfall(
            self.program,
            budget=self.options.budget,
            trainset=self.trainset,
            valset=self.valset,
            teacher=self.teacher,
            lm=self.lm,
            teacher_lm=self.teacher_lm,
            folds=self.options.folds,
        )
        if shortfall is not None:
            warnings.warn(shortfall, stacklevel=3)

    @property
    def workflow_type(self) -> str:
        """The type of its workflow: its optimizer's name, or what all of users' own have in common."""
        return workflows.OWN_OPTIMIZER if self._is_own else type(self.optimizer).__name__

    @property
    def _is_own(self) -> bool:
        return type(self.optimizer) not in OPTIMIZERS.values()

    @property
    def summary(self) -> str:
        """What it is, in a line for the Web UI."""
        scored = f"scored in {self.options.folds} folds" if self.valset is None else f"{len(self.valset)} to score on"
        return f"{len(self.trainset)} rows to learn from, {scored}, {self.lm.config.model}"

    async def request(self, store: ArtifactStore, *, searchable: bool) -> "workflows.CompileInput":
        """What its workflow is started with; the data sets are stored then."""
        optimizer, environment = self.optimizer, self.options.environment
        return workflows.CompileInput(
            optimizer=optimizer.name,
            optimizer_code=reference_to(type(optimizer), what="optimizer") if self._is_own else None,
            options=optimizer.written_options(),
            program=ProgramOutline.of(self.program),
            metric=metric_reference(optimizer.metric if optimizer.metric is not None else ""),
            lm=config_of(self.lm),
            trainset=await store_dataset(store, self.trainset),
            valset=await store_dataset(store, self.trainset if self.valset is None else self.valset),
            teacher=None if self.teacher is None else ProgramOutline.of(self.teacher),
            teacher_lm=None if self.teacher_lm is None else config_of(self.teacher_lm),
            chunk_rows=self.options.chunk_rows,
            searchable=searchable,
            folds=self.options.folds,
            budget=self.options.budget,
            resumed=self.options.resume,
            activity_queue=None if environment is None else settings.environment_queue(environment),
        )


def program_of(given: Module | str) -> Module:
    """The program given, which may be a `dspy.Module`, or be named by its import path.

    Raises:
        InputError: If it is none.
    """
    if isinstance(given, str):
        return build_program(ImportedProgram(code=reference_to(given, what="program")), trust=None)
    program = as_program(given)
    require_program(program)
    return program


def require_optimizer(given: Any) -> None:
    """Refuse what is no optimizer.

    Raises:
        ConfigurationError: Saying what to write.
    """
    if isinstance(given, Optimizer):
        return
    if isinstance(given, type):
        raise ConfigurationError(f"the optimizer is the class {given.__name__}: make one, {given.__name__}(metric=…)")
    if isinstance(given, KNNFewShot | Ensemble):
        raise ConfigurationError(
            f"{type(given).__name__} searches nothing, so there is nothing to run durably: await its compile(…) here, "
            "and run the program that it makes with client.run_program or client.evaluate"
        )
    raise ConfigurationError(f"the optimizer is to be one, such as BootstrapFewShot(metric=…), not {given!r:.80}")


def require_lm(given: Any, *, what: str = "lm") -> None:
    """Refuse what is no LM.

    Raises:
        ConfigurationError: Saying what to write.
    """
    if not isinstance(given, LM):
        example = f"LM({given!r:.80})" if isinstance(given, str) else "LM('openai/gpt-4o-mini')"
        raise ConfigurationError(f"{what} is to be an LM, such as {example}, not {given!r:.80}")


def config_of(lm: LM) -> LMConfig:
    """An LM as workers make it again: without its key.

    Raises:
        ConfigurationError: If it was given one in code, or is no LM.
    """
    require_lm(lm)
    if lm.has_own_key:
        raise ConfigurationError(
            f"{lm!r} was given its key in code, and a key never leaves its process: "
            "set it in the workers' environment, and make the LM without api_key"
        )
    return lm.config

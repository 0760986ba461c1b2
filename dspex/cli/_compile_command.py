from dataclasses import dataclass

from dspex.cli._compile import CompileJob, compile_program
from dspex.cli._dry_run import tell_plan
from dspex.cli._inputs import (
    Task,
    TaskOptions,
    budget_of,
    named_optimizer,
    optimizer_options,
    read_task,
    ready_lm,
    refuse_contradictions,
    trusted_packages,
)
from dspex_core.lm import LM
from dspex_core.metrics import metric_reference
from dspex_core.optimizers import Optimizer


@dataclass(frozen=True)
class CompileCommand:
    """The options of `compile`, as the command line has them."""

    train: str
    lm: str
    val: str | None
    inputs: str | None
    outputs: str | None
    instructions: str
    signature: str | None
    program: str | None
    module: str
    metric: str
    optimizer: str
    settings: list[str] | None
    seed: int
    folds: int | None
    api_base: str | None
    teacher_lm: str | None
    concurrency: int | None
    run_id: str | None
    environment: str | None
    priority: int | None
    tenant: str | None
    resume: bool
    budget_usd: float | None
    budget_calls: int | None
    on_limit: str
    detach: bool
    in_process: bool
    mlflow: str | None
    dry_run: bool
    output: str | None
    as_json: bool

    async def carry_out(self) -> None:
        """Compile, or say what it would take.

        Raises:
            InputError: If an option cannot be heeded; nothing was started then.
        """
        refuse_contradictions(
            in_process=self.in_process,
            detach=self.detach,
            resume=self.resume,
            run_id=self.run_id,
            output=self.output,
            mlflow=self.mlflow,
        )
        options = optimizer_options(self.settings or [], metric=self.metric, seed=self.seed)
        optimizer = named_optimizer(self.optimizer).from_options(options)
        metric_reference(self.metric)
        task = read_task(self._task_options())
        if self.dry_run:
            await self._tell_plan(task, optimizer)
        else:
            await compile_program(await self._job(task, optimizer))

    def _task_options(self) -> TaskOptions:
        return TaskOptions(
            train=self.train,
            val=self.val,
            inputs=self.inputs,
            outputs=self.outputs,
            instructions=self.instructions,
            signature=self.signature,
            program=self.program,
            module=self.module,
            seed=self.seed,
            folds=self.folds,
        )

    async def _tell_plan(self, task: Task, optimizer: Optimizer) -> None:
        teacher_lm = None if self.teacher_lm is None else LM(self.teacher_lm, api_base=self.api_base)
        lm = LM(self.lm, api_base=self.api_base)
        budget = budget_of(self.budget_usd, self.budget_calls, self.on_limit)
        await tell_plan(
            task, optimizer, lm=lm, teacher_lm=teacher_lm, folds=self.folds, budget=budget, as_json=self.as_json
        )

    async def _job(self, task: Task, optimizer: Optimizer) -> CompileJob:
        teacher_lm = None if self.teacher_lm is None else await ready_lm(self.teacher_lm, api_base=self.api_base)
        return CompileJob(
            task=task,
            optimizer=optimizer,
            lm=await ready_lm(self.lm, api_base=self.api_base, concurrency=self.concurrency),
            teacher_lm=teacher_lm,
            id=self.run_id,
            resume=self.resume,
            detach=self.detach,
            in_process=self.in_process,
            output=self.output,
            placement={"environment": self.environment, "priority": self.priority, "tenant": self.tenant},
            trust=trusted_packages(self.program, self.metric, self.optimizer, *optimizer.imported_paths()),
            as_json=self.as_json,
            mlflow=self.mlflow,
            folds=self.folds,
            budget=budget_of(self.budget_usd, self.budget_calls, self.on_limit),
        )

import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from dspex import settings
from dspex._rooms import workflows
from dspex.client._connection import Connection
from dspex.client._evaluations import Evaluations
from dspex.client._pollers import is_polled
from dspex.client._run import Run
from dspex.client._schedule import Schedule, Scheduled, ScheduleSummary, schedules_of
from dspex.client._starting import COMPILE_TYPES, Starting
from dspex.client._status import RunSummary, summary_of
from dspex.client._wanted import (
    CompileOptions,
    WantedCompile,
    config_of,
    program_of,
    require_id,
    require_known_inputs,
)
from dspex.devserver import Server, configured_server, connect_to, dev_server, running_dev_server
from dspex.worker import DSPExPlugin, WorkerProcess, register_search_attributes
from dspex_core.artifacts import store_dataset
from dspex_core.errors import ServerUnavailableError
from dspex_core.lm import LM
from dspex_core.metrics import metric_reference
from dspex_core.modules import Module, as_program, as_rows
from dspex_core.optimizers import Optimizer, require_rows
from dspex_core.record import Example, Prediction, require_inputs
from dspex_core.requests import ProgramOutline
from dspex_core.seam import Evaluation, MetricLike


class Client:
    """Starts and finds durable runs.

        async with await Client.connect() as client:
            optimizer = BootstrapFewShot(metric="exact_match")
            run = await client.compile(program, optimizer=optimizer, trainset=trainset, valset=valset, lm=lm)
            result = await run.result()
            print(result.baseline_score, "->", result.score)

    Made by `Client.connect` or `Client.dev`; close it, or use `async with`.
    """

    def __init__(self, connection: Connection, plugin: DSPExPlugin, task_queue: str) -> None:
        self._connection = connection
        self._plugin = plugin
        self._task_queue = task_queue
        self._owned = AsyncExitStack()
        self._searchable: bool | None = None

    @classmethod
    async def connect(cls, server: Server | None = None) -> Self:
        """A client of the server that TEMPORAL_ADDRESS or a profile names, or of the dev server that is running.

        Args:
            server: A server to use instead.

        Raises:
            ServerUnavailableError: If there is none, or it does not answer.
        """
        found = server or await configured_server() or await running_dev_server()
        if found is None:
            raise ServerUnavailableError(
                "no Temporal server: set TEMPORAL_ADDRESS, or start one with `dspex up` (in code: Client.dev())"
            )
        plugin = DSPExPlugin()
        temporal = await connect_to(found, plugins=[plugin])
        return cls(Connection(temporal, found, plugin.store), plugin, settings.task_queue())

    @classmethod
    async def dev(
        cls,
        *,
        trust: Collection[str] = (),
        trust_api_base: Collection[str] = (),
        say: Callable[[str], None] | None = None,
    ) -> Self:
        """A client of a dev server of its own, with a worker; both end when the client is closed.

        Args:
            trust: Packages that the worker may import programs and metrics from.
            trust_api_base: Addresses that the worker's keys may be sent to; see `DSPExPlugin`.
            say: Told, in one line each, what is done.

        Raises:
            ServerSetupError: If no Temporal server can be had.
        """
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(dev_server(say or _silent))
            client = await cls.connect(server)
            await stack.enter_async_context(WorkerProcess(server, trust=trust, trust_api_base=trust_api_base))
            client._owned = stack.pop_all()  # noqa: SLF001 - the same class
            return client

    @property
    def server(self) -> Server:
        """The server in use."""
        return self._connection.server

    @property
    def task_queue(self) -> str:
        """Where its runs wait for workers."""
        return self._task_queue

    async def compile(
        self,
        program: Module | str,
        *,
        optimizer: Optimizer,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
        lm: LM,
        teacher: Module | None = None,
        teacher_lm: LM | None = None,
        **options: Any,
    ) -> Run:
        """Start a durable compile, or attach to the one of that id that still goes on, if it is the same.

        Args:
            program: The program, which may be a `dspy.Module`, or where it is imported from, as
                "package.module:attribute".
            optimizer: What searches.
            trainset: Rows to learn from.
            valset: Rows to score candidates on; None with `folds`.
            lm: The model in force. Its key is not sent: workers use their own environment's.
            teacher: A program of the same structure to learn from.
            teacher_lm: The model the teacher runs on.
            **options: `id` (default: made up), `resume` (start again under the id of a run that ended; what it finished
                is found in the cache), `chunk_rows` (rows an evaluation activity takes), `budget` (a `Budget`: what the
                run may take), `environment` (its work is done by workers of that environment), `priority` (1 goes
                first, 5 last; 3 if not given), `tenant` (whom it is for: tenants whose tasks wait on one queue get
                their turn alike), `folds` (in place of a valset: see `Optimizer.compile`).

        Warns:
            UserWarning: If the budget is used up before the optimizer can have tried a second proposal.

        Raises:
            InputError: If something given cannot be used; nothing was started then. A `RunConflictError` if a run of
                that id has ended and is not to be resumed, or is under way and was given something else.
        """
        given, teacher = CompileOptions.given(options), as_program(teacher)
        rows = as_rows(trainset), as_rows(valset)
        wanted = WantedCompile(program_of(program), optimizer, *rows, lm, teacher, teacher_lm, given)
        run_id = given.id or f"{optimizer.name.replace('_', '-')}-{uuid.uuid4().hex[:8]}"
        await wanted.warn()
        request = await wanted.request(self._plugin.store, searchable=await self._register())
        starting = Starting(self._connection.temporal, self._task_queue)
        await starting.start(
            wanted.workflow_type,
            request,
            run_id,
            summary=wanted.summary,
            resume=given.resume,
            priority=given.temporal_priority,
        )
        run = Run(self._connection, run_id, program=wanted.program, attached=starting.attached)
        run.resumed = starting.resumed
        return run

    async def schedule(
        self,
        program: Module | str,
        *,
        id: str,  # noqa: A002
        optimizer: Optimizer,
        trainset: Sequence[Example],
        valset: Sequence[Example],
        lm: LM,
        cron: str | None = None,
        every: timedelta | None = None,
        **options: Any,
    ) -> Schedule:
        """Start a compile again and again, for instance every night; each is a run of its own.

            schedule = await client.schedule(triage, id="nightly", cron="0 2 * * *", optimizer=optimizer, ...)
            await schedule.trigger()        # also pause, unpause, describe and delete

        A run is named after the schedule and the time, such as "nightly-2026-11-23T02:00:00Z"; `list_runs` has them.
        One that is due while the last still goes is left out. The rows are those given now.

        Args:
            program: As for `compile`, and so `optimizer`, `trainset`, `valset` and `lm`.
            id: The schedule's name.
            optimizer: What searches.
            trainset: Rows to learn from.
            valset: Rows to score candidates on.
            lm: The model in force.
            cron: When, as a cron expression; in UTC, unless it begins with "CRON_TZ=Europe/Berlin " or the like.
            every: Or how long from one start to the next.
            **options: Those of `compile` but `id` and `resume`; `teacher` and `teacher_lm`.

        Raises:
            InputError: If something given cannot be used.
            RunConflictError: If there is a schedule of that name.
        """
        teacher, teacher_lm = as_program(options.pop("teacher", None)), options.pop("teacher_lm", None)
        given = CompileOptions.given(options, but={"id", "resume"})
        rows = as_rows(trainset), as_rows(valset)
        wanted = WantedCompile(program_of(program), optimizer, *rows, lm, teacher, teacher_lm, given)
        schedule = Scheduled(id=id, cron=cron, every=every, task_queue=self._task_queue)
        request = await wanted.request(self._plugin.store, searchable=await self._register())
        return Schedule(await schedule.create(self._connection.temporal, wanted, request))

    def get_schedule(self, id: str) -> Schedule:  # noqa: A002
        """A schedule by its name: to trigger, pause, unpause, describe or delete it."""
        return Schedule(self._connection.temporal.get_schedule_handle(id))

    async def list_schedules(self) -> list[ScheduleSummary]:
        """Schedules of compiles on this server."""
        return await schedules_of(self._connection.temporal, COMPILE_TYPES)

    def get_run(self, run_id: str, *, trust: Collection[str] = ()) -> Run:
        """A run by its id.

        Args:
            run_id: The id.
            trust: Packages that the run's program may be imported from, to build its result.
        """
        return Run(self._connection, run_id, trust=trust)

    def evaluations(self, run_id: str) -> Evaluations:
        """The evaluations of a run's candidates, down to each row."""
        return Evaluations(self._connection.temporal, self._connection.store, run_id)

    async def list_runs(self, *, limit: int = 100) -> list[RunSummary]:
        """Compiles on this server, the newest first; of several runs of one id, the last."""
        types = ", ".join(f"'{name}'" for name in COMPILE_TYPES)
        return await self._listed(f"WorkflowType IN ({types})", limit)

    async def list_waiting(self, *, limit: int = 100) -> list[RunSummary]:
        """Runs of programs that stand still until a person decides something or resumes them, the newest first.

        A server that does not know our search attributes lists none.
        """
        if not await self._register():
            return []
        of_programs = f"WorkflowType = '{workflows.PROGRAM_RUN}' AND ExecutionStatus = 'Running'"
        return await self._listed(f"{of_programs} AND {workflows.STATUS.name} = 'parked'", limit)

    async def _listed(self, query: str, limit: int) -> list[RunSummary]:
        found: dict[str, RunSummary] = {}
        listing: AsyncIterator[Any] = self._connection.temporal.list_workflows(query)
        async for execution in listing:
            found.setdefault(execution.id, summary_of(execution))
            if len(found) == limit:
                break
        return list(found.values())

    async def evaluate(
        self,
        program: Module | str,
        dataset: Sequence[Example],
        *,
        metric: MetricLike,
        lm: LM,
        id: str | None = None,  # noqa: A002
    ) -> Evaluation:
        """Score a program in a durable evaluation of its own.

        Raises:
            InputError: If something given cannot be used.
            RunFailedError: If it failed, or is parked; a run that is parked is kept, and can be resumed.
        """
        rows = as_rows(dataset)
        require_rows(rows, what="data set")
        require_inputs(rows, what="data set")
        if id is not None:
            require_id(id)
        request = workflows.EvaluationInput(
            program=ProgramOutline.of(program_of(program)),
            metric=metric_reference(metric),
            lm=config_of(lm),
            dataset=await store_dataset(self._plugin.store, rows),
            searchable=await self._register(),
        )
        run_id = id or f"evaluation-{uuid.uuid4().hex[:8]}"
        starting = Starting(self._connection.temporal, self._task_queue)
        await starting.start(workflows.EVALUATION, request, run_id, summary=f"{len(dataset)} rows")
        return await self.get_run(run_id).evaluation()

    async def run_program(
        self,
        program: Module | str,
        *,
        inputs: Mapping[str, Any],
        lm: LM,
        id: str | None = None,  # noqa: A002
    ) -> Prediction:
        """Run a program once, as a durable workflow, and wait for its answer.

        Calls of tools that need approval wait for a person: `dspex runs approve`, or `approve` of `get_run(id)`.

        Raises:
            InputError: If something given cannot be used.
            RunFailedError: If it failed, or is parked; a run that is parked is kept, and can be resumed.
        """
        return await (await self.start_program(program, inputs=inputs, lm=lm, id=id)).prediction()

    async def start_program(
        self,
        program: Module | str,
        *,
        inputs: Mapping[str, Any],
        lm: LM,
        id: str | None = None,  # noqa: A002
        stream: bool = False,
    ) -> Run:
        """Start a durable run of a program, and do not wait: `await run.prediction()` gives its answer, also later.

        Args:
            program: The program, or where it is imported from, as "package.module:attribute".
            inputs: Its inputs by name.
            lm: The model in force.
            id: The run's id; made up if not given.
            stream: Whether its outputs are to be read while they are written: `async for piece in run.stream()`.

        Raises:
            InputError: If something given cannot be used.
        """
        if id is not None:
            require_id(id)
        asked = program_of(program)
        require_known_inputs(asked, inputs)
        request = workflows.ProgramRunInput(
            program=ProgramOutline.of(asked),
            lm=config_of(lm),
            inputs=dict(inputs),
            searchable=await self._register(),
            stream=stream,
        )
        run_id = id or f"program-{uuid.uuid4().hex[:8]}"
        starting = Starting(self._connection.temporal, self._task_queue)
        await starting.start(workflows.PROGRAM_RUN, request, run_id, summary=lm.config.model)
        return Run(self._connection, run_id, attached=starting.attached)

    async def has_worker(self) -> bool:
        """Whether a worker polls the task queue; one that was killed counts for a few minutes more."""
        return await is_polled(self._connection.temporal, self._task_queue)

    async def close(self) -> None:
        """End what `Client.dev` started."""
        await self._owned.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _register(self) -> bool:
        if self._searchable is None:
            self._searchable = await register_search_attributes(self._connection.temporal)
        return self._searchable


def _silent(line: str) -> None:
    del line

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from typing import Any, cast

from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from dspex import settings
from dspex._rooms import activities, workflows
from dspex.encryption import PayloadReader, SealedWorkflowRunner
from dspex.worker._options import Role
from dspex.worker._payloads import ArtifactDriver, data_converter
from dspex.worker._tracing import tracing_interceptor
from dspex.worker._trusted_code import TrustedCode
from dspex_core.artifacts import ArtifactStore, Keyring
from dspex_core.errors import DSPExError
from dspex_core.telemetry import to_opentelemetry

PASSED_THROUGH = ("dspex_core", workflows.__name__, "pydantic", "pydantic_core", "annotated_types", "opentelemetry")
"""Not imported anew for each workflow, which is quicker; our own keep nothing there, and are replayed in tests."""


class DSPExPlugin(SimplePlugin):
    """Everything DSPEx needs of a Temporal worker, in one line.

        worker = Worker(temporal, task_queue="mine", plugins=[DSPExPlugin(trust=["my_app"])])

    On a client it makes payloads readable, and works for every worker made with that client; one given to the worker
    itself wins over it.

    Args:
        trust: Packages that programs and metrics may be imported from; built-in ones need none.
        artifacts: URL of the artifact store; by default DSPEX_ARTIFACTS or a folder in DSPEX_HOME.
        trust_api_base: Addresses that this worker's keys may be sent to when a run names them, besides the providers'
            own, those in the providers' variables, loopback, and those in DSPEX_TRUSTED_API_BASES.
        encryption_key: Keys that payloads and artifacts are encrypted with, as DSPEX_ENCRYPTION_KEY, the default, has
            them: "ID:BASE64,ID:BASE64". Without any, nothing is encrypted.
        tracing: Whether runs are traced with OpenTelemetry, from the client that starts one to each call of a model; by
            default if an OTLP endpoint is set, as in OTEL_EXPORTER_OTLP_ENDPOINT. Spans go where this process's tracer
            provider sends them.
        role: "workflow" leaves the activities out of the worker, "eval" the workflows; see `WorkerOptions`.

    Raises:
        ConfigurationError: If there is no store at that URL, or an address is none.
        EncryptionError: If the keys are malformed.
    """

    def __init__(
        self,
        *,
        trust: Collection[str] = (),
        artifacts: str | None = None,
        trust_api_base: Collection[str] = (),
        encryption_key: str | None = None,
        tracing: bool | None = None,
        role: Role = "all",
    ) -> None:
        keys = encryption_key or settings.encryption_key()
        keyring = Keyring.parse(keys) if keys else None
        store = ArtifactStore(artifacts or settings.artifacts_url(), keyring=keyring)
        addresses = (*trust_api_base, *settings.trusted_api_bases())
        shells = activities.Activities(
            store, trust=tuple(trust), trust_api_base=addresses, outage_seconds=settings.park_after_seconds()
        )

        traced = settings.tracing() if tracing is None else tracing

        @asynccontextmanager
        async def closing() -> AsyncGenerator[None]:
            with to_opentelemetry() if traced else nullcontext():
                try:
                    yield
                finally:
                    await shells.close()

        self._converter = data_converter(store, keyring, outage_seconds=settings.park_after_seconds())
        every: list[Callable[..., Any]] = [
            shells.evaluate_chunk,
            shells.find_rows,
            shells.trace_rows,
            shells.read_rows,
            shells.check_code,
            shells.suggest,
            shells.generate,
            shells.retrieve,
            shells.call_tool,
            shells.run_code,
            shells.run_program,
            shells.start_fine_tuning,
            shells.follow_fine_tuning,
            shells.cancel_fine_tuning,
        ]
        self._names = {_name_of(shell) for shell in every}
        self._shells = [] if role == "workflow" else every
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - the SDK leaves its callables untyped
            "dspex",
            data_converter=self._converter,
            workflows=[] if role == "eval" else workflows.WORKFLOWS,
            activities=self._shells,
            workflow_runner=_runner,
            # Any other exception would be retried as a bug of the workflow's code, for ever.
            workflow_failure_exception_types=[DSPExError],
            run_context=closing,
            interceptors=[TrustedCode(tuple(trust)), *([tracing_interceptor()] if traced else [])],
        )
        self.store = store
        self.turns = shells.turns
        self._keyring = keyring

    def payload_reader(self) -> PayloadReader:
        """What makes payloads of a history readable again, large and encrypted ones."""
        return PayloadReader(ArtifactDriver(self.store), self._keyring)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Add workflows and activities, in place of those that a plugin on the client has added, and our payloads."""
        given = cast("dict[str, Any]", config)
        config["activities"] = [other for other in given.get("activities", ()) if _name_of(other) not in self._names]
        config["interceptors"] = [other for other in given.get("interceptors", ()) if type(other) is not TrustedCode]
        config["workflows"] = [other for other in given.get("workflows", ()) if other not in workflows.WORKFLOWS]
        if "client" in config:
            options = config["client"].config()
            options["data_converter"] = self._converter
            config["client"] = Client(**options)
        return super().configure_worker(config)


def _name_of(shell: Callable[..., Any]) -> str | None:
    """The name under which a function is an activity; None for a team's dynamic one."""
    definition = getattr(shell, "__temporal_activity_definition", None)
    return getattr(definition, "name", None)


def _runner(existing: WorkflowRunner | None) -> WorkflowRunner:
    """The sandbox, with the deciding code passed through: it is the same for all, and loading it takes long.

    A runner of another kind that a team chose for its worker is left as it is.
    """
    runner = existing or SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    restrictions = runner.restrictions.with_passthrough_modules(*PASSED_THROUGH)
    return SealedWorkflowRunner(restrictions=restrictions, runner_class=runner.runner_class)

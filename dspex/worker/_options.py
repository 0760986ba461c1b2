from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    FixedSizeSlotSupplier,
    ResourceBasedSlotConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
)

from dspex import settings
from dspex.worker._slots import FairSlots
from dspex_core.errors import ConfigurationError, UnknownNameError

Role = Literal["all", "workflow", "eval"]
ROLES: tuple[Role, ...] = ("all", "workflow", "eval")

CONCURRENT_ACTIVITIES = 200
"""More than a few runs ask for at once: chunks wait in the worker for their turn, and must keep out nothing else."""
OTHER_TASKS = 100
BETWEEN_SLOTS = timedelta(milliseconds=50)


@dataclass(frozen=True)
class WorkerOptions:
    """What part a worker takes in a fleet.

        WorkerOptions(role="eval", environment="gpu", activities_per_second=20)

    Attributes:
        role: "workflow" decides and does no work, "eval" works and decides nothing, "all" does both.
        environment: With "eval", the environment whose activities it takes: those of runs started for it. None takes
            those of all other runs.
        activities_per_second: Most activities that this worker begins in a second.
        queue_activities_per_second: Most activities that all workers of its queue together begin in a second. The
            server holds to what the worker that started last said.
        target_load: Share of the machine's CPU and memory, above 0 to 1, up to which further activities are begun. None
            begins up to 200 whatever the load.
        metrics_port: Port of this host where it serves metrics for Prometheus; None serves none.
        build_id: Version of the code that this worker runs. A run started on one build ends on it; None is no version.

    Raises:
        ConfigurationError: If they contradict each other, or a number is out of range.
    """

    role: Role = "all"
    environment: str | None = None
    activities_per_second: float | None = None
    queue_activities_per_second: float | None = None
    target_load: float | None = None
    build_id: str | None = None
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UnknownNameError("role of a worker", self.role, ROLES)
        if self.environment is not None and self.role != "eval":
            raise ConfigurationError(f"a worker of an environment has the role 'eval', not {self.role!r}")
        for name in ("activities_per_second", "queue_activities_per_second"):
            rate: float | None = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise ConfigurationError(f"{name} must be a number above 0, not {rate}")
        if self.target_load is not None and not 0 < self.target_load <= 1:
            raise ConfigurationError(f"target_load is a share, above 0 to 1, not {self.target_load}")

    def task_queue(self) -> str:
        """The task queue that it polls."""
        return settings.task_queue() if self.environment is None else settings.environment_queue(self.environment)

    def tuner(self, slots: FairSlots) -> WorkerTuner:
        """What decides how many tasks it takes at once; without a target load, the slots for activities."""
        if self.target_load is None:
            others = FixedSizeSlotSupplier(OTHER_TASKS)
            return WorkerTuner.create_composite(
                workflow_supplier=others,
                activity_supplier=slots,
                local_activity_supplier=others,
                nexus_supplier=others,
            )
        return WorkerTuner.create_resource_based(
            target_cpu_usage=self.target_load,
            target_memory_usage=self.target_load,
            activity_config=ResourceBasedSlotConfig(
                minimum_slots=1, maximum_slots=CONCURRENT_ACTIVITIES, ramp_throttle=BETWEEN_SLOTS
            ),
        )

    def deployment(self) -> WorkerDeploymentConfig | None:
        """Its version, to which runs are pinned; None if it has none."""
        build_id = self.build_id or settings.build_id()
        if build_id is None:
            return None
        return WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=settings.deployment(), build_id=build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )

    def arguments(self) -> list[str]:
        """The options of `dspex worker` that say the same."""
        given = {
            "--environment": self.environment,
            "--activities-per-second": self.activities_per_second,
            "--queue-activities-per-second": self.queue_activities_per_second,
            "--target-load": self.target_load,
            "--build-id": self.build_id,
            "--metrics-port": self.metrics_port,
        }
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        return ["--role", self.role, *options]

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dspex.client import Run
from dspex_core.errors import ConfigurationError, RunFailedError, TrackingError
from dspex_core.events import CandidateEvaluated, CandidateProposed, Event, RunFinished
from dspex_core.programs import ProgramFile, write_program
from dspex_core.progress import Progress

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

RUN_TAG = "dspex.run_id"
CANDIDATE_TAG = "dspex.candidate"
LONGEST_WAIT_SECONDS = 30.0
"""How long one request may take; MLflow itself would try again for minutes."""

_ENDED = {"completed": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


async def log_to_mlflow(run: Run, *, tracking_uri: str | None = None, experiment: str = "dspex") -> str:
    """Show a durable run in MLflow while it goes: a parent run, and a child run for every candidate.

    The parent has the score of each candidate, the best one so far, LM calls, tokens and cost, and in the end the
    program and the report page; a child has its score and its state. The durable run does not notice. Called again
    for the same run, be it that this process was killed, it goes on in the same MLflow runs.

        run = client.get_run("triage-1")
        await log_to_mlflow(run, tracking_uri="http://localhost:5000")

    Args:
        run: The durable run; it is followed to its end.
        tracking_uri: Where MLflow is; by default what MLFLOW_TRACKING_URI says.
        experiment: Name of the experiment, made if there is none.

    Returns:
        Id of the parent run in MLflow.

    Raises:
        ConfigurationError: If the extra `mlflow` is not installed.
        TrackingError: If MLflow does not take what it is told.
        RunNotFoundError: If there is no such durable run.
    """
    await run.status()  # a run that does not exist leaves nothing behind
    tracked = await _Tracked.of(run.id, tracking_uri=tracking_uri, experiment=experiment)
    async with aclosing(run.events()) as events:
        async for event in events:
            await tracked.take(event)
            if isinstance(event, RunFinished) and event.status != "failed":
                await tracked.keep_result(run)
    await tracked.end()
    return tracked.parent_id


class _Tracked:
    """The MLflow runs of a durable run."""

    def __init__(self, client: "MlflowClient", experiment_id: str, run_id: str) -> None:
        self._client: Any = client  # some of its methods have no types
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._children: dict[int, str] = {}
        self._finished: set[int] = set()
        self._progress = Progress()
        self._status: str | None = None
        self.parent_id = ""

    @classmethod
    async def of(cls, run_id: str, *, tracking_uri: str | None, experiment: str) -> "_Tracked":
        """Those there are already, or a new parent."""
        try:
            client = await asyncio.to_thread(_client, tracking_uri)
        except ImportError:
            raise ConfigurationError('MLflow is not installed: pip install "dspex[mlflow]"') from None
        found = await _asked(client.get_experiment_by_name, experiment)
        experiment_id = found.experiment_id if found else await _asked(client.create_experiment, experiment)
        tracked = cls(client, experiment_id, run_id)
        await tracked._find()
        return tracked

    async def take(self, event: Event) -> None:
        """Tell MLflow of an event, if it is one that is shown there."""
        self._progress = self._progress.after(event)
        match event:
            case CandidateProposed():
                await self._child(event)
            case CandidateEvaluated():
                await self._score(event)
            case RunFinished():
                self._status = _ENDED[event.status]
            case _:
                pass

    async def keep_result(self, run: Run) -> None:
        """Keep the program and the report, if the run ended with any: one that was cancelled at once did not."""
        try:
            output = await run.output()
        except RunFailedError:
            return
        with tempfile.TemporaryDirectory() as folder:
            program, report = Path(folder, "program.json"), Path(folder, "report.html")
            write_program(str(program), ProgramFile(structure=output.program.structure, state=output.program.state))
            await run.report(report)
            for path in (program, report):
                await _asked(self._client.log_artifact, self.parent_id, str(path))

    async def end(self) -> None:
        """Say how the run ended; a candidate that was not scored by then never will be."""
        status = self._status or "KILLED"
        for index, child_id in self._children.items():
            if index not in self._finished:
                await _asked(self._client.set_terminated, child_id, "KILLED")
        await _asked(self._client.set_terminated, self.parent_id, status)

    async def _find(self) -> None:
        query = f"tags.`{RUN_TAG}` = '{self._run_id}'"
        known = await _asked(self._client.search_runs, [self._experiment_id], query, max_results=1000)
        for each in known:
            if CANDIDATE_TAG not in each.data.tags:
                self.parent_id = each.info.run_id
                continue
            index = int(each.data.tags[CANDIDATE_TAG])
            self._children[index] = each.info.run_id
            if each.info.status == "FINISHED":
                self._finished.add(index)
        if not self.parent_id:
            self.parent_id = await self._create(self._run_id, {RUN_TAG: self._run_id})
        else:
            await _asked(self._client.update_run, self.parent_id, "RUNNING")

    async def _create(self, name: str, tags: dict[str, str]) -> str:
        made = await _asked(self._client.create_run, self._experiment_id, tags=tags, run_name=name)
        return made.info.run_id

    async def _child(self, event: CandidateProposed | CandidateEvaluated) -> str:
        if event.index not in self._children:
            tags = {RUN_TAG: self._run_id, CANDIDATE_TAG: str(event.index), "mlflow.parentRunId": self.parent_id}
            tags["dspex.made"] = event.label
            if event.parent is not None:
                tags["dspex.made_from"] = str(event.parent)
            name = f"candidate {event.index}: {event.label}"
            child_id = self._children[event.index] = await self._create(name, tags)
            if isinstance(event, CandidateProposed):
                await _asked(self._client.log_dict, child_id, event.state, "state.json")
        return self._children[event.index]

    async def _score(self, event: CandidateEvaluated) -> None:
        child_id = await self._child(event)
        moment = int((event.at or datetime.now(UTC)).timestamp() * 1000)
        scored = {"score": event.score, "failed_rows": event.failed}
        if event.rows is not None:
            scored["rows"] = event.rows
        await self._log(child_id, scored, moment=moment)
        usage = self._progress.usage_so_far
        told: dict[str, float] = {
            "score": event.score,
            "lm_calls": usage.lm_calls,
            "cached_calls": usage.cached_calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        }
        if self._progress.best_score is not None:
            told["best_score"] = self._progress.best_score
        if usage.cost_usd is not None:
            told["cost_usd"] = usage.cost_usd
        await self._log(self.parent_id, told, moment=moment, step=event.index)
        if event.index not in self._finished:
            await _asked(self._client.set_terminated, child_id, "FINISHED")
            self._finished.add(event.index)

    async def _log(self, mlflow_run_id: str, told: dict[str, float], *, moment: int, step: int = 0) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415 - an extra, and slow to import

        metrics = [Metric(name, float(value), moment, step) for name, value in told.items()]
        await _asked(self._client.log_batch, mlflow_run_id, metrics)


def _client(tracking_uri: str | None) -> "MlflowClient":
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - an extra, and slow to import

    return MlflowClient(tracking_uri)


async def _asked(call: Callable[..., T], *given: Any, **options: Any) -> T:
    """What MLflow answers; its client blocks, so it is asked in a thread."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra, and slow to import

    try:
        return await asyncio.wait_for(asyncio.to_thread(partial(call, *given, **options)), LONGEST_WAIT_SECONDS)
    except TimeoutError:
        raise TrackingError(f"MLflow did not answer within {LONGEST_WAIT_SECONDS:g} s; is its server up?") from None
    except MlflowException as error:
        raise TrackingError(f"MLflow refuses, or is not there: {str(error)[:300]}") from None

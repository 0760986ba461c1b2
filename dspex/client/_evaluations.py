from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from dspex._rooms import workflows
from dspex.client._patience import rpc_error
from dspex.client._starting import started_with
from dspex_core.artifacts import ArtifactStore, DatasetReader
from dspex_core.evaluate import RowResult
from dspex_core.record import Example
from dspex_core.seam import ProgramState, StoredDataset

_RESULTS = TypeAdapter(list[RowResult])
_CANDIDATES_KEPT = 4


@dataclass(frozen=True)
class ScoredRows:
    """What became of the rows that one candidate was scored on, as far as its evaluations are done.

    Attributes:
        evaluation: What was asked for: program, model, metric; that of its last evaluation.
        results: One a row, by index in the data set.
    """

    evaluation: "workflows.EvaluationInput"
    results: tuple[RowResult, ...]


class Evaluations:
    """The evaluations of one run, read from the server and the artifact store: no worker takes part, and none is asked.

    What was read once is kept: an evaluation that is done does not change.

    Args:
        temporal: The client to read with.
        store: Where row results and data sets are.
        run_id: The run.
    """

    def __init__(self, temporal: TemporalClient, store: ArtifactStore, run_id: str) -> None:
        self._temporal = temporal
        self._store = store
        self._datasets = DatasetReader(store)
        self._run_id = run_id
        self._asked: list[workflows.EvaluationInput] = []
        self._done: dict[str, workflows.EvaluationOutput] = {}
        self._kept: OrderedDict[tuple[int | str, ...], ScoredRows] = OrderedDict()

    async def scored_rows(self, state: ProgramState) -> ScoredRows | None:
        """What became of the rows that this state was scored on; None if no evaluation of it is known.

        Raises:
            ArtifactError: If the artifact store cannot be read.
            ServerUnavailableError: If the server does not answer.
        """
        await self._look_for_more()
        mine = [number for number, asked in enumerate(self._asked) if asked.program.state == state]
        if not mine:
            return None
        done = {each: output for number in mine for each, output in (await self._outputs(number)).items()}
        key = (mine[-1], *done)
        if key not in self._kept:
            found = {row.row: row for output in done.values() for row in await self._rows(output)}
            self._kept[key] = ScoredRows(self._asked[mine[-1]], tuple(found[row] for row in sorted(found)))
            while len(self._kept) > _CANDIDATES_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    async def examples(self, dataset: StoredDataset, rows: Sequence[int]) -> list[Example]:
        """Rows of a data set of the run.

        Raises:
            ArtifactError: If the artifact store cannot be read.
        """
        return (await self._datasets.read(dataset, rows)).examples()

    async def _look_for_more(self) -> None:
        # Evaluations are numbered from one on, so the first that is not there ends the search.
        while (asked := await self._input(len(self._asked) + 1)) is not None:
            self._asked.append(asked)

    async def _input(self, number: int) -> "workflows.EvaluationInput | None":
        handle = self._temporal.get_workflow_handle(workflows.evaluation_id(self._run_id, number))
        try:
            return await started_with(self._temporal, handle, workflows.EvaluationInput)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise rpc_error(error, self._run_id) from None

    async def _outputs(self, number: int) -> "dict[str, workflows.EvaluationOutput]":
        """What an evaluation ended with, by workflow id; one that was cut short by a pause is followed by another."""
        first = workflows.evaluation_id(self._run_id, number + 1)
        found: dict[str, workflows.EvaluationOutput] = {}
        while (output := await self._output(part := first if not found else f"{first}.{len(found) + 1}")) is not None:
            found[part] = output
            if output.indices is None:
                break
        return found

    async def _output(self, workflow_id: str) -> "workflows.EvaluationOutput | None":
        if workflow_id not in self._done:
            handle = self._temporal.get_workflow_handle(workflow_id, result_type=workflows.EvaluationOutput)
            try:
                if (await handle.describe()).status is not WorkflowExecutionStatus.COMPLETED:
                    return None
                self._done[workflow_id] = await handle.result()
            except (WorkflowFailureError, RPCError):
                return None
        return self._done[workflow_id]

    async def _rows(self, output: "workflows.EvaluationOutput") -> list[RowResult]:
        found: list[RowResult] = []
        for digest in output.rows:
            found += _RESULTS.validate_json(await self._store.get(digest))
        return found

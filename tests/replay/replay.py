"""Replays recorded histories against today's workflows; a program of its own, so that each hash seed gets a process."""

import asyncio
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from dspex import DSPExPlugin

HISTORIES = Path(__file__).parent / "histories"
USER_CODE = Path(__file__).parents[1] / "user_code"


async def replay(paths):
    """Replay each; names the first that today's code would have done differently."""
    with tempfile.TemporaryDirectory() as empty:
        replayer = Replayer(workflows=[], plugins=[DSPExPlugin(artifacts=Path(empty).as_uri(), trust=["shop_app"])])
        for path in paths:
            history = WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))
            # Ids of parts and evaluations are made of it.
            workflow_id = history.events[0].workflow_execution_started_event_attributes.workflow_id
            await replayer.replay_workflow(WorkflowHistory(workflow_id, history.events))
            print(f"replayed {path.stem}")  # noqa: T201 - what the test counts


if __name__ == "__main__":
    sys.path.insert(0, str(USER_CODE))
    asyncio.run(replay([Path(argument) for argument in sys.argv[1:]]))

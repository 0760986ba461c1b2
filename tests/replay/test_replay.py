"""Runs that users have under way go on with today's code: recorded histories replay, whatever the hash seed."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import workflows

FOLDER = Path(__file__).parent
HISTORIES = sorted((FOLDER / "histories").glob("*.json"))
MACHINE_PATH = re.compile(rb"/(home|root|tmp|usr|Users|work)/")


def replayed(*paths, seed):
    return subprocess.run(
        [sys.executable, str(FOLDER / "replay.py"), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "4242"])
def test_recorded_histories_replay_with_todays_workflows(seed):
    done = replayed(*HISTORIES, seed=seed)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("replayed ") == len(HISTORIES)


@pytest.mark.slow
def test_a_history_that_todays_workflows_would_not_have_made_is_found_out(tmp_path):
    history = json.loads((FOLDER / "histories" / "labeled-few-shot.json").read_text())
    for event in history["events"]:
        scheduled = event.get("activityTaskScheduledEventAttributes")
        if scheduled:
            scheduled["activityType"]["name"] = "trace_rows"
    altered = tmp_path / "altered.json"
    altered.write_text(json.dumps(history))
    done = replayed(altered, seed="0")
    assert done.returncode != 0
    assert "NondeterminismError" in done.stderr


def test_every_kind_of_run_has_a_history():
    recorded = {type_of(path) for path in HISTORIES}
    assert recorded == {workflow.__name__ for workflow in workflows.WORKFLOWS}


def test_histories_hold_what_persons_parts_and_models_say_to_a_run_and_runs_of_several_legs():
    said, ends = set(), set()
    for path in HISTORIES:
        for event in json.loads(path.read_text())["events"]:
            accepted = event.get("workflowExecutionUpdateAcceptedEventAttributes")
            signalled = event.get("workflowExecutionSignaledEventAttributes")
            said |= {accepted["acceptedRequest"]["input"]["name"]} if accepted else set()
            said |= {signalled["signalName"]} if signalled else set()
            ends.add(event["eventType"].removeprefix("EVENT_TYPE_"))
    assert {"pause", "resume", "raise_budget", "approve", "reject"} <= said
    assert {"hold", "go_on", "part_stands", "streamed", "streamed_pieces"} <= said
    assert {"WORKFLOW_EXECUTION_CONTINUED_AS_NEW", "CHILD_WORKFLOW_EXECUTION_COMPLETED"} <= ends


def test_no_history_holds_a_path_of_the_machine_that_made_it():
    for path in HISTORIES:
        for content in contents_of(json.loads(path.read_text())):
            assert not MACHINE_PATH.search(content), path.name


def type_of(path):
    first = json.loads(path.read_text())["events"][0]
    return first["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]


def contents_of(value):
    """Every text in a history, those inside payloads decoded."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (base64.b64decode(item),) if key == "data" and isinstance(item, str) else contents_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from contents_of(item)
    elif isinstance(value, str):
        yield value.encode()

"""A program written with DSPy is compiled durably, as its author wrote it."""

import asyncio
import json
import os

import pytest
from real_parts import API_KEY, USER_CODE, own_platform

from dspex import Client
from dspex_core import using
from dspex_core.optimizers import BootstrapFewShot
from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

TRAIN, DEV = conformance_rows(24), conformance_rows(24, start=30)
IN_FLIGHT = 4


async def test_a_killed_worker_changes_nothing_and_costs_only_the_calls_in_flight(background, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(USER_CODE)
    import dspy_app

    optimizer = BootstrapFewShot(metric="exact_match")
    with own_platform(background, tmp_path, latency_ms=40) as platform, platform.worker(trust=("dspy_app",)) as worker:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)
        with using(lm=platform.lm(concurrency=16, cache=False)):
            here = await optimizer.compile(dspy_app.router, trainset=TRAIN, valset=DEV)
        calls = platform.provider.stats().requests
        platform.provider.reset()
        async with await Client.connect() as client:
            run = await client.compile(
                "dspy_app:router",
                optimizer=optimizer,
                trainset=TRAIN,
                valset=DEV,
                lm=platform.lm(concurrency=IN_FLIGHT),
            )
            while (await asyncio.to_thread(platform.provider.stats)).requests < calls / 2:
                await asyncio.sleep(0.02)
            before = worker.pid
            worker.kill()
            while worker.pid == before:
                await asyncio.sleep(0.02)
            there = await run.result()
            handle = client._connection.temporal.get_workflow_handle(run.id)
            history = await handle.fetch_history()
            assert API_KEY not in history.to_json()
        stats = platform.provider.stats()
    assert there.candidates == here.candidates
    assert there.score == here.score > here.baseline_score
    assert stats.requests <= calls + IN_FLIGHT
    module = there.program.to_dspy()
    assert isinstance(module, dspy_app.Router)
    assert len(module.topic.demos) == len(here.program.get_state().predictors["topic"].demos) > 0


def files(folder):
    for name, rows in (("train", TRAIN), ("dev", DEV)):
        lines = [json.dumps(row.to_dict()) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return ["--train", folder / "train.jsonl", "--val", folder / "dev.jsonl"]


def test_the_command_line_compiles_it_by_its_import_path(platform, tmp_path):
    result = platform.cli(
        "compile", "--program", "dspy_app:router", *files(tmp_path), "--optimizer", "labeled_few_shot", "--in-process",
        "--lm", "openai/fake", "--api-base", platform.provider.base_url, "-o", tmp_path / "best.json", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["score"] > told["baseline_score"]
    asked = platform.cli(
        "predict", "--program", tmp_path / "best.json", "--lm", "openai/fake",
        "--api-base", platform.provider.base_url, "text=about the invoice", "--json",
    )  # fmt: skip
    assert "topic" in json.loads(asked.stdout), asked.stderr


def test_where_dspy_is_not_installed_the_error_names_the_extra(platform, tmp_path):
    (tmp_path / "dspy.py").write_text("raise ModuleNotFoundError(\"No module named 'dspy'\", name='dspy')\n")
    path = os.pathsep.join([str(tmp_path), platform.variables["PYTHONPATH"]])
    result = platform.cli(
        "compile", "--program", "dspy_app:router", *files(tmp_path), "--in-process", "--lm", "openai/fake",
        PYTHONPATH=path,
    )  # fmt: skip
    assert result.returncode == 2
    assert "pip install 'dspex[dspy]'" in result.stderr

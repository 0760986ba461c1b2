"""The main job, as `make demo` runs it, and what becomes of it where no Temporal server can be had."""

import json
import os
import subprocess
import sys

import pytest
from real_parts import USERS_HOME

from dspex_core.testing import FakeProviderProcess

pytestmark = pytest.mark.slow


def dspex(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    environment |= {"TEMPORAL_CONFIG_FILE": os.devnull, **variables}
    command = [sys.executable, "-m", "dspex", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def test_the_demo_gets_better_on_rows_never_seen_though_its_worker_is_killed(shared_platform, tmp_path):
    # The shared platform has found or built the temporal command by now; the demo's own home borrows it.
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bin").symlink_to(USERS_HOME / "bin")
    done = dspex("demo", "--json", DSPEX_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["test_score"] > told["test_baseline_score"] + 10
    assert told["kill"]["finished_calls"] > 200
    assert told["kill"]["finished_sent_again"] == 0
    assert told["kill"]["sent_again"] <= told["kill"]["calls_in_flight"] <= 8
    assert "killed the worker (kill -9" in done.stderr
    assert (tmp_path / "home" / "demo-program.json").exists()


def test_a_compile_without_any_server_says_so_and_runs_right_here(tmp_path):
    data = tmp_path / "rows.csv"
    data.write_text(
        "text,label\n" + "".join(f"row {n} of {n % 2},{'even' if n % 2 == 0 else 'odd'}\n" for n in range(20))
    )
    with FakeProviderProcess() as model:
        done = dspex(
            *("compile", "--train", data, "--input", "text", "--output", "label", "--json"),
            *("--lm", "openai/fake", "--api-base", model.base_url, "-o", tmp_path / "p.json"),
            DSPEX_HOME=str(tmp_path / "home"),
            OPENAI_API_KEY="sk-any",
            PATH=str(tmp_path),
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS="",
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"
    assert "no Temporal server could be set up" in done.stderr
    assert "going on in this process" in done.stderr
    assert "install the Temporal CLI" in done.stderr
    assert (tmp_path / "p.json").exists()

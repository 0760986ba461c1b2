"""What users install: the wheel, beside the distribution that owns the name `workflows`."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
TOP_LEVEL = {"dspex", "dspex_core"}
IMPORTS = """
import workflows, dspex.workflows, dspex.activities, dspex_core.testing
from dspex import Client, DSPExPlugin
print(workflows.__file__, dspex.workflows.__file__)
assert hasattr(workflows, "Workflow") and not hasattr(workflows, "COMPILE_WORKFLOWS")
assert "BootstrapFewShot" in {found.__name__ for found in dspex.workflows.WORKFLOWS}
DSPExPlugin()
"""


@dataclass(frozen=True)
class Installation:
    folder: Path

    def run(self, *command, **variables):
        environment = {**os.environ, "PYTHONPATH": "", **variables}
        program, *arguments = map(str, command)
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=environment,
        )


def call(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed") / "venv"
    uv = Path(sys.executable).parent / "uv"
    call(uv, "venv", "--python", sys.executable, folder)
    # The lock decides the versions of what it knows; the machine decides whom it trusts, as it does for pip.
    known = ("--constraint", CHECKOUT / "requirements.lock", "--link-mode", "copy", "--system-certs")
    call(uv, "pip", "install", "--python", folder, *known, wheel, "llama-index-workflows")
    return Installation(folder)


def test_the_wheel_holds_our_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == TOP_LEVEL
    assert "dspex_core/py.typed" in names
    assert any(".dist-info/licenses/LICENSE" in name for name in names)
    for room in ("workflows", "activities"):
        inside = {name for name in names if name.startswith(f"dspex/{room}/")}
        assert inside == {f"dspex/{room}/{path.name}" for path in (CHECKOUT / room).glob("*.py")}


def test_it_works_beside_the_distribution_that_owns_the_name_workflows(installed, platform, tmp_path):
    home = {"DSPEX_HOME": str(tmp_path), "DSPEX_TASK_QUEUE": "wheel"}
    imported = installed.run("python", "-c", IMPORTS, **home)
    assert imported.returncode == 0, imported.stderr
    assert str(installed.folder) in imported.stdout
    assert str(CHECKOUT) not in imported.stdout

    doctor = installed.run("dspex", "doctor", "--json", **home)
    assert doctor.returncode == 0, doctor.stderr
    assert json.loads(doctor.stdout)["ok"] is True

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row.to_dict()) + "\n" for row in conformance_rows(20)))
    task = ("compile", "--train", rows, "--input", "text", "--output", "topic", "--json")
    model = ("--lm", "openai/fake", "--api-base", platform.provider.base_url)
    here = installed.run("dspex", *task, *model, "--in-process", "-o", tmp_path / "here.json", **home)
    assert here.returncode == 0, here.stderr
    worker = subprocess.Popen(
        [installed.folder / "bin" / "dspex", "worker"],
        cwd=installed.folder,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **home, "PYTHONPATH": ""},
    )
    try:
        durable = installed.run("dspex", *task, *model, "-o", tmp_path / "durable.json", **home)
    finally:
        worker.terminate()
        worker.wait(60)
    assert durable.returncode == 0, durable.stderr
    assert (tmp_path / "durable.json").read_bytes() == (tmp_path / "here.json").read_bytes()

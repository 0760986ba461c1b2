"""docker-compose.yml, as far as it can be checked where no container runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dspex.cli import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
ONCE = {"schema", "namespace"}
SECRETS = {
    "POSTGRES_PASSWORD": "a",
    "DSPEX_DASHBOARD_TOKEN": "b",
    "OPENAI_API_KEY": "c",
    "PATH": os.environ["PATH"],
}


def test_the_platform_is_whole():
    assert set(SERVICES) == {
        "postgres", "schema", "temporal", "namespace", "web-ui", "worker", "dashboard", "codec-server",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_what_serves_is_watched_and_started_again(name):
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(ONCE))
def test_what_is_done_once_is_tried_again_until_it_is_done(name):
    assert SERVICES[name]["restart"].startswith("on-failure")
    assert "healthcheck" not in SERVICES[name]


@pytest.mark.parametrize(("name", "service"), SERVICES.items())
def test_everything_waits_for_what_it_needs(name, service):
    for needed, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
        assert how["condition"] == wanted, f"{name} needs {needed}"


@pytest.mark.parametrize(("name", "service"), SERVICES.items())
def test_ports_are_open_to_this_machine_only_and_images_have_a_version(name, service):
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert re.search(r":(\d+\.\d+|local$)", service["image"])


def test_no_secret_is_in_the_file():
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|PWD|TOKEN|KEY", variable):
                assert re.fullmatch(r"\$\{[A-Z_]+:(-|\?[^}]*)\}", value), variable


def test_the_worker_can_be_scaled():
    assert "ports" not in SERVICES["worker"]
    assert "container_name" not in SERVICES["worker"]


def test_every_command_and_option_of_ours_is_one_there_is():
    for name in ("dashboard", "codec-server"):
        command, *options = SERVICES[name]["command"]
        said = CliRunner().invoke(app, [command, "--help"]).output
        assert all(option in said for option in options if option.startswith("--")), name


def test_scripts_in_it_are_proper_shell():
    for name in sorted(ONCE):
        [script] = SERVICES[name]["command"]
        subprocess.run(["sh", "-n", "-c", script.replace("$$", "$")], check=True)
        assert shlex.split(script, comments=True)


@pytest.mark.slow
def test_docker_compose_takes_the_file():
    docker = shutil.which("docker-compose") or (shutil.which("docker") and "docker compose")
    if not docker or subprocess.run([*docker.split(), "version"], check=False, capture_output=True).returncode:
        pytest.skip("there is no docker compose here")
    command = [*docker.split(), "--file", str(ROOT / "docker-compose.yml"), "--profile", "encryption", "config"]
    done = subprocess.run([*command, "--format", "json"], env=SECRETS, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)
    without = subprocess.run(command, env={"PATH": SECRETS["PATH"]}, check=False, capture_output=True, text=True)
    assert "POSTGRES_PASSWORD" in without.stderr, "a password that is not set is asked for by name"

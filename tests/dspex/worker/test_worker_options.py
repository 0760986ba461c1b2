import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from dspex import DSPExPlugin
from dspex.cli import app
from dspex.worker import WorkerOptions
from dspex_core.errors import ConfigurationError, UnknownNameError


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("DSPEX_TASK_QUEUE", "DSPEX_BUILD_ID", "DSPEX_DEPLOYMENT"):
        monkeypatch.delenv(name, raising=False)


def test_an_environment_has_a_queue_of_its_own_beside_everybodys(monkeypatch):
    assert WorkerOptions().task_queue() == "dspex"
    assert WorkerOptions(role="workflow").task_queue() == "dspex"
    assert WorkerOptions(role="eval").task_queue() == "dspex"
    assert WorkerOptions(role="eval", environment="gpu").task_queue() == "dspex-eval-gpu"
    monkeypatch.setenv("DSPEX_TASK_QUEUE", "team-a")
    assert WorkerOptions(role="eval", environment="gpu").task_queue() == "team-a-eval-gpu"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"environment": "gpu"}, "has the role 'eval', not 'all'"),
        ({"role": "workflow", "environment": "gpu"}, "has the role 'eval', not 'workflow'"),
        ({"activities_per_second": 0}, "activities_per_second must be a number above 0"),
        ({"queue_activities_per_second": float("nan")}, "queue_activities_per_second must be a number above 0"),
        ({"target_load": 80}, "a share, above 0 to 1, not 80"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, said):
    with pytest.raises(ConfigurationError, match=said):
        WorkerOptions(**given)


def test_an_unknown_role_names_those_there_are():
    with pytest.raises(UnknownNameError, match=r"evall.*eval"):
        WorkerOptions(role="evall")


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x"])
def test_an_environment_without_a_proper_name_is_refused(name):
    with pytest.raises(ConfigurationError, match="is no name"):
        WorkerOptions(role="eval", environment=name).task_queue()


def test_the_build_comes_from_the_environment_unless_given(monkeypatch):
    assert WorkerOptions().deployment() is None
    monkeypatch.setenv("DSPEX_BUILD_ID", "2026-11")
    assert WorkerOptions().deployment().version.build_id == "2026-11"
    assert WorkerOptions(build_id="x").deployment().version.to_canonical_string() == "dspex.x"
    monkeypatch.setenv("DSPEX_DEPLOYMENT", "team-a")
    assert WorkerOptions().deployment().version.deployment_name == "team-a"


def test_a_worker_process_is_started_with_the_same_options():
    options = WorkerOptions(role="eval", environment="gpu", activities_per_second=2.5, target_load=0.5, build_id="b")
    assert options.arguments() == [
        "--role", "eval", "--environment", "gpu", "--activities-per-second", "2.5", "--target-load", "0.5",
        "--build-id", "b",
    ]  # fmt: skip
    assert all(part in CliRunner().invoke(app, ["worker", "--help"]).output for part in options.arguments()[::2])


async def test_a_role_leaves_out_what_others_do(tmp_path):
    client = await Client.connect("127.0.0.1:1", lazy=True)
    parts = {role: DSPExPlugin(artifacts=tmp_path.as_uri(), role=role) for role in ("all", "workflow", "eval")}
    given = {role: plugin.configure_worker({"client": client}) for role, plugin in parts.items()}
    assert [bool(given[role]["workflows"]) for role in parts] == [True, True, False]
    assert [bool(given[role]["activities"]) for role in parts] == [True, False, True]

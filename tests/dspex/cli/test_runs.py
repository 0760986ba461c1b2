"""Runs that outlive the command that started them: left, found, watched, exported, resumed."""

import asyncio
import json

import pytest
from real_parts import HeldProvider

from dspex_core.testing import FakeProviderProcess, conformance_program, conformance_rows

pytestmark = pytest.mark.slow

TOPICS = ("compile", "--train", "topics.jsonl", "--input", "text", "--output", "topic")


@pytest.fixture
def topics(folder):
    rows = [json.dumps(row.to_dict()) + "\n" for row in conformance_rows(150)]
    (folder / "topics.jsonl").write_text("".join(rows))


@pytest.fixture
def held():
    with HeldProvider() as provider:
        provider.hold()
        yield provider


@pytest.fixture
def compile_it(topics, held):
    return (*TOPICS, "--lm", "openai/fake", "--api-base", held.base_url)


async def test_a_run_that_was_left_goes_on_and_is_watched_listed_shown_and_exported_from_elsewhere(
    dspex, compile_it, held, folder
):
    left = await dspex(*compile_it, "--id", "left-alone", "--detach", "--json")
    assert left.code == 0, left.err
    assert left.document["id"] == "left-alone"
    watch = await dspex.start("runs", "watch", "left-alone", "--json")
    again = await dspex.start(*compile_it, "--id", "left-alone", "-o", "again.json", "--json")
    await watch.until_said("evaluating baseline")
    await again.until_said("attached", "evaluating baseline")
    shown, listed = await asyncio.gather(dspex("runs", "show", "left-alone", "--json"), dspex("runs", "list", "--json"))
    assert (shown.document["status"], shown.document["phase"]) == ("running", "bootstrapping demos")
    assert {"id": "left-alone", "optimizer": "bootstrap_few_shot"}.items() <= listed.document[0].items()

    held.let_go()
    watched, again = await asyncio.gather(watch.end(), again.end())
    for done in (watched, again):
        assert done.code == 0, done.err
        assert done.document["status"] == "completed"
        assert done.document["score"] > done.document["baseline_score"]
    assert again.document["lm_calls"] == watched.document["lm_calls"] == held.stats().requests
    assert "baseline: " in watched.err

    exported, shown, in_use = await asyncio.gather(
        dspex("runs", "export", "left-alone", "-o", "exported.json", "--json"),
        dspex("runs", "show", "left-alone", "--report", "report.html", "--json"),
        dspex(*compile_it, "--id", "left-alone"),
    )
    assert exported.document["program"] == "exported.json"
    assert (folder / "exported.json").read_bytes() == (folder / "again.json").read_bytes()
    page = (folder / "report.html").read_text(encoding="utf-8")
    # The rows' own values are there, read from where the run kept them.
    assert "Rows won" in page
    assert "&#34;topic&#34;" in page
    ended = ("id", "status", "score", "baseline_score", "trials", "lm_calls", "seconds", "optimizer")
    assert [shown.document[name] for name in ended] == [watched.document[name] for name in ended]
    assert in_use.code == 2
    assert in_use.err.startswith("error: a run 'left-alone' has ended already (completed)")
    assert "--resume" in in_use.err

    calls = held.stats().requests
    resumed = await dspex(*compile_it, "--id", "left-alone", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["score"] == watched.document["score"]
    assert resumed.document["lm_calls"] == 0
    assert held.stats().requests == calls


async def test_a_run_is_paused_resumed_and_cancelled_from_another_terminal(dspex, compile_it, held, folder):
    command = await dspex.start(*compile_it, "--id", "told", "-o", "told.json", "--json")
    await command.until_said("evaluating baseline")
    paused = await dspex("runs", "pause", "told", "--json")
    assert paused.document["status"] == "paused"
    await command.until_said("paused; the run goes on with: dspex runs resume")
    resumed = await dspex("runs", "resume", "told")
    assert resumed.out.startswith("told is running")
    await command.until_said("resumed")
    cancelled, command = await asyncio.gather(dspex("runs", "cancel", "told", "--json"), command.end())
    assert cancelled.code == 0, cancelled.err
    assert command.code == 0, command.err
    for done in (cancelled, command):
        assert (done.document["status"], done.document["score"]) == ("cancelled", None)
    assert "ended early: cancelled, before anything was scored" in command.err
    exported, again = await asyncio.gather(
        dspex("runs", "export", "told", "-o", "told.json"), dspex("runs", "pause", "told")
    )
    assert (exported.code, again.code) == (2, 2)
    assert "cancelled before anything was scored" in exported.err
    assert "has ended already (cancelled)" in again.err
    assert not (folder / "told.json").exists()


async def test_a_command_that_is_interrupted_leaves_its_run_going_and_says_how_to_come_back(dspex, compile_it, held):
    command = await dspex.start(*compile_it, "--id", "interrupted")
    await command.until_said("evaluating baseline")
    command.tell()
    left = await command.end()
    assert left.code == 130
    assert "dspex runs watch interrupted" in left.lines[-1]
    assert "Traceback" not in left.err
    held.let_go()
    watched = await dspex("runs", "watch", "interrupted")
    assert watched.code == 0, watched.err
    assert watched.out.startswith("score ")


def test_lists_and_shows_runs_for_people(in_this_process, model, topics):
    assert in_this_process(*TOPICS, *model, "--id", "for-people").code == 0
    listed = in_this_process("runs", "list")
    assert "for-people" in listed.out
    assert "bootstrap_few_shot" in listed.out
    shown = in_this_process("runs", "show", "for-people")
    assert "completed" in shown.out
    assert "bootstrapped demos" in shown.out


async def test_a_rejected_key_parks_the_run_with_a_reason_that_does_not_quote_it(dspex, topics):
    with FakeProviderProcess(api_key="another-key") as provider:
        lm = ("--lm", "openai/fake", "--api-base", provider.base_url)
        command = await dspex.start(*TOPICS, *lm, "--id", "rejected-key")
        said = await command.until_said("parked: ")
        shown = await dspex("runs", "show", "rejected-key", "--json")
        assert provider.stats().requests <= 64, "nobody tries a rejected key again"
    assert "dspex runs resume" in said
    assert shown.document["status"] == "parked"
    for told in (said, shown.document["parked_reason"]):
        assert "the API key was rejected: check OPENAI_API_KEY" in told
    cancelled, done = await asyncio.gather(dspex("runs", "cancel", "rejected-key", "--hard"), command.end())
    assert (cancelled.code, done.code) == (0, 1)
    assert "Traceback" not in done.err
    assert dspex.variables["OPENAI_API_KEY"] not in done.err + shown.out


async def test_a_rejected_key_fails_a_run_in_process_with_one_line_that_does_not_quote_it(dspex, topics):
    with FakeProviderProcess(api_key="another-key") as provider:
        lm = ("--lm", "openai/fake", "--api-base", provider.base_url)
        done = await dspex(*TOPICS, *lm, "--in-process")
        assert provider.stats().requests <= 64, "nobody tries a rejected key again"
    assert done.code == 1
    assert done.out == ""
    assert [line.startswith("error: ") for line in done.lines] == [False] * (len(done.lines) - 1) + [True]
    assert "the API key was rejected: check OPENAI_API_KEY" in done.lines[-1]
    assert "Traceback" not in done.err
    assert dspex.variables["OPENAI_API_KEY"] not in done.err


async def test_runs_that_are_no_compiles_are_watched_and_shown_to_their_answer(platform, client):
    program, rows = conformance_program(), conformance_rows(4)
    answer = await client.run_program(program, inputs={"text": rows[0].text}, lm=platform.lm(), id="one-answer")
    scored = await client.evaluate(program, rows, metric="exact_match", lm=platform.lm(), id="one-score")
    for command in ("watch", "show"):
        assert f"topic: {answer.topic}" in platform.cli("runs", command, "one-answer").stdout
        document = json.loads(platform.cli("runs", command, "one-answer", "--json").stdout)
        assert (document["outputs"], document["status"]) == ({"topic": answer.topic}, "completed")
        assert f"{scored.score:.2f} %  (4 rows, 0 failed)" in platform.cli("runs", command, "one-score").stdout
        document = json.loads(platform.cli("runs", command, "one-score", "--json").stdout)
        assert (document["score"], document["rows"], document["failed_rows"]) == (scored.score, 4, [])
    for kind, run_id in (("ProgramRun", "one-answer"), ("Evaluation", "one-score")):
        exported = platform.cli("runs", "export", run_id, "-o", "none.json")
        assert exported.returncode != 0
        assert f"{run_id} is no compile but a run of kind {kind}" in exported.stderr
        reported = platform.cli("runs", "show", run_id, "--report", "none.html")
        assert reported.returncode != 0
        assert f"{run_id} has nothing to report: it is no compile" in reported.stderr

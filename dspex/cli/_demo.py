import asyncio
import os
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from dspex.cli._progress import ProgressView
from dspex.cli._shell import say, tell, tell_json
from dspex.client import Client, Run
from dspex.demo import AREAS, stdlib_descriptions
from dspex.devserver import server
from dspex.worker import WorkerProcess
from dspex_core import events
from dspex_core.errors import ServerSetupError
from dspex_core.evaluate import Evaluate
from dspex_core.home import home
from dspex_core.lm import LM, ResponseCache
from dspex_core.modules import Module, Predict
from dspex_core.optimizers import BootstrapFewShot, CompileResult
from dspex_core.record import Example
from dspex_core.runtime import using
from dspex_core.signature import FieldSpec, SignatureSpec
from dspex_core.testing.fake_provider import FakeProviderProcess

LATENCY_MS = 150.0
CONCURRENCY = 8
KILL_AT_SHARE = 0.4
_KILLED_PHASE = "evaluating bootstrapped demos"
_KEY_VARIABLE = "OPENAI_API_KEY"
_OPTIMIZER = BootstrapFewShot(metric="exact_match", max_bootstrapped_demos=16, max_labeled_demos=64)


@dataclass(frozen=True)
class KillReport:
    """What the kill of the worker cost.

    Attributes:
        finished_calls: Answers that were on disk when it was killed.
        calls_in_flight: Calls that it had sent and not finished.
        sent_again: Calls sent a second time, over the whole run.
        finished_sent_again: Of these, more than can have been in flight: finished work that was lost.
    """

    finished_calls: int
    calls_in_flight: int
    sent_again: int
    finished_sent_again: int


@dataclass
class _Kill:
    """Numbers taken at the moment of the kill."""

    requests: int = 0
    finished: int = 0


async def run_demo(*, as_json: bool) -> None:
    """The main job on real data: compile, kill the worker on the way, compare on rows never seen."""
    say("reading the standard library's docstrings")
    data = stdlib_descriptions()
    trainset, devset, testset = (_examples(rows) for rows in (data.train, data.dev, data.test))
    say(
        f"{len(trainset)} descriptions to learn from, {len(devset)} to choose by, {len(testset)} held out; "
        f"which of {len(AREAS)} parts of the library is each about?"
    )
    program = Predict(_signature())
    with _stand_in_key(), FakeProviderProcess(latency_ms=LATENCY_MS) as provider:
        say(f"model: a stand-in that learns from the examples in its prompt, at {provider.base_url}")
        lm = LM("openai/fake", api_base=provider.base_url, concurrency=CONCURRENCY)
        began = time.monotonic()
        try:
            result, run, kill = await _durable(program, trainset, devset, lm, provider)
        except ServerSetupError as error:
            say(str(error))
            say("so this demo runs in one process: the same search and result, but nothing survives a crash of it")
            result, run, kill = await _in_process(program, trainset, devset, lm), None, None
        seconds = round(time.monotonic() - began, 1)
        report = None if kill is None else _report(kill, provider)
        say(f"scoring both programs on {len(testset)} rows that the search never saw")
        with using(lm=lm):
            before = await Evaluate(testset, "exact_match")(program)
            after = await Evaluate(testset, "exact_match")(result.program)
    path = home() / "demo-program.json"
    result.program.save(path)
    document = {
        "id": run.id if run else None,
        "status": "completed",
        "optimizer": _OPTIMIZER.name,
        "baseline_score": result.baseline_score,
        "score": result.score,
        "test_baseline_score": before.score,
        "test_score": after.score,
        "trials": len(result.candidates),
        **result.usage.model_dump(),
        "seconds": seconds,
        "kill": asdict(report) if report else None,
        "web_ui": run.web_ui if run else None,
        "program": str(path),
    }
    if as_json:
        tell_json(document)
        return
    _tell(result, before.score, after.score, report, run)
    tell(f"program saved       {path}")
    tell("")
    tell("now with your own data and key:")
    tell("  export OPENAI_API_KEY=…")
    tell(
        "  .venv/bin/dspex compile --train mine.csv --input text --output label --lm openai/gpt-4o-mini -o program.json"
    )
    tell("  .venv/bin/dspex predict --program program.json --lm openai/gpt-4o-mini text='…'")


async def _durable(
    program: Module, trainset: list[Example], devset: list[Example], lm: LM, provider: FakeProviderProcess
) -> tuple[CompileResult[Module], Run, _Kill | None]:
    async with server(say) as found, WorkerProcess(found) as worker:
        client = await Client.connect(found)
        run = await client.compile(
            program, optimizer=_OPTIMIZER, trainset=trainset, valset=devset, lm=lm, id=f"demo-{uuid.uuid4().hex[:8]}"
        )
        say(f"run {run.id}  {run.web_ui or ''}".rstrip())
        with ProgressView(run_id=run.id) as view:
            kill = await _watch_and_kill(run, view, worker, provider, rows=len(devset))
        return await run.result(), run, kill


async def _watch_and_kill(
    run: Run, view: ProgressView, worker: WorkerProcess, provider: FakeProviderProcess, *, rows: int
) -> _Kill | None:
    """Follow the run, and kill its worker once the compiled program's evaluation is well under way."""
    kill: _Kill | None = None
    answers_before = _answers_on_disk()
    async for event in run.events():
        view.show(event)
        progress = view.progress
        due = progress.phase == _KILLED_PHASE and progress.rows_done >= KILL_AT_SHARE * rows
        if kill is None and due:
            pid = worker.pid
            worker.kill()
            # Read once the process is gone, so that nothing is on its way to the disk any more.
            await asyncio.to_thread(_until_gone, pid)
            kill = _Kill(provider.stats().requests, _answers_on_disk() - answers_before)
            view.say(
                f"killed the worker (kill -9, process {pid}) at row {progress.rows_done} of {rows}; starting another"
            )
    return kill


async def _in_process(program: Module, trainset: list[Example], devset: list[Example], lm: LM) -> CompileResult[Module]:
    with using(lm=lm), ProgressView() as view, events.subscribe(types=events.RUNS) as stream:
        watching = asyncio.create_task(view.follow(stream))
        result = await _OPTIMIZER.compile(program, trainset=trainset, valset=devset)
        stream.close()
        await watching
    return result


def _report(kill: _Kill, provider: FakeProviderProcess) -> KillReport:
    stats = provider.stats()
    in_flight = kill.requests - kill.finished
    sent_again = stats.requests - stats.distinct
    return KillReport(
        finished_calls=kill.finished,
        calls_in_flight=in_flight,
        sent_again=sent_again,
        finished_sent_again=max(0, sent_again - in_flight),
    )


def _tell(
    result: CompileResult[Module], before: float, after: float, report: KillReport | None, run: Run | None
) -> None:
    tell("")
    tell(f"held-out test       {before:.2f} %  →  {after:.2f} %  ({after - before:+.2f})")
    tell(f"validation          {result.baseline_score:.2f} %  →  {result.score:.2f} %")
    if report is not None:
        tell(
            f"worker killed       after {report.finished_calls} finished calls, with {report.calls_in_flight} in flight"
        )
        tell(
            f"finished calls made again: {report.finished_sent_again}   "
            f"(calls in flight sent again: {report.sent_again})"
        )
    if run is not None and run.web_ui:
        tell(f"Web UI              {run.web_ui}   (while `make up` runs)")


def _answers_on_disk() -> int:
    return len(ResponseCache())


def _until_gone(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def _signature() -> type:
    areas = ", ".join(repr(area) for area in sorted(AREAS))
    return SignatureSpec(
        name="StandardLibraryArea",
        instructions="Say which part of Python's standard library the description is about.",
        fields=(
            FieldSpec(name="description", role="input", type="str", desc="what a function or class does"),
            FieldSpec(name="area", role="output", type=f"Literal[{areas}]"),
        ),
    ).build()


def _examples(rows: list[dict[str, str]]) -> list[Example]:
    return [Example(row).with_inputs("description") for row in rows]


@contextmanager
def _stand_in_key() -> Generator[None]:
    """A key for the stand-in model, for as long as the demo runs: the user's own is neither needed nor sent to it."""
    own = os.environ.get(_KEY_VARIABLE)
    os.environ[_KEY_VARIABLE] = "stand-in-for-the-demo"
    try:
        yield
    finally:
        if own is None:
            del os.environ[_KEY_VARIABLE]
        else:
            os.environ[_KEY_VARIABLE] = own

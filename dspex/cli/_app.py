"""The commands, as they are typed."""

from typing import Annotated

import typer

from dspex.cli._artifacts_app import artifacts_app
from dspex.cli._cache_app import cache_app
from dspex.cli._deciding import approve, reject
from dspex.cli._options import AsJson, RunId
from dspex.cli._shell import run

app = typer.Typer(
    name="dspex",
    help="Compile language-model programs in durable Temporal workflows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(
    help="Find, watch, control and export durable runs.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(runs_app, name="runs")
app.add_typer(cache_app, name="cache")
app.add_typer(artifacts_app, name="artifacts")

Model = Annotated[str, typer.Option("--lm", help="Provider and model, such as openai/gpt-4o-mini.")]
ApiBase = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
Concurrency = Annotated[int | None, typer.Option(help="Most calls in flight at once.")]
Output = Annotated[str | None, typer.Option("--output-file", "-o", help="Where to save the program.")]
Trust = Annotated[list[str] | None, typer.Option(help="A package that programs and metrics may be imported from.")]
MLflow = Annotated[str | None, typer.Option(metavar="URI", help="An MLflow server that shows the run, too.")]
TrustApiBase = Annotated[list[str] | None, typer.Option(help="An address that keys may be sent to if a run names it.")]


@app.command()
def demo(as_json: AsJson = False) -> None:  # noqa: FBT002 - a flag
    """Compile on real data in a durable run whose worker is killed on the way."""
    from dspex.cli._demo import run_demo  # noqa: PLC0415 - commands load what they need, so that --help is quick

    run(run_demo(as_json=as_json))


@app.command()
def up(trust: Trust = None, trust_api_base: TrustApiBase = None) -> None:
    """Run a Temporal dev server, a worker and the dashboard in this terminal; Ctrl-C ends all in order."""
    from dspex.cli._up import run_up  # noqa: PLC0415

    run(run_up(trust=trust or [], trust_api_base=trust_api_base or []))


@app.command(name="compile")
def compile_command(  # noqa: PLR0917 - one parameter an option
    train: Annotated[str, typer.Option(help="Rows to learn from: .jsonl, .json, .csv, .tsv or .parquet.")],
    lm: Model,
    val: Annotated[str | None, typer.Option(help="Rows to score on; without it, a fifth of --train.")] = None,
    inputs: Annotated[str | None, typer.Option("--input", help="Input columns, with commas between them.")] = None,
    outputs: Annotated[str | None, typer.Option("--output", help="Output columns, with commas between them.")] = None,
    instructions: Annotated[str, typer.Option(help="The task in words, as told to the model.")] = "",
    signature: Annotated[str | None, typer.Option(help="A signature, such as 'question -> answer: int'.")] = None,
    program: Annotated[str | None, typer.Option(help="A program of yours, as package.module:attribute.")] = None,
    module: Annotated[str, typer.Option(help="predict or chain_of_thought.")] = "predict",
    metric: Annotated[str, typer.Option(help="exact_match, f1, contains or package.module:function.")] = "exact_match",
    optimizer: Annotated[str, typer.Option(help="Optimizer, such as bootstrap_few_shot.")] = "bootstrap_few_shot",
    settings: Annotated[list[str] | None, typer.Option("--set", help="An optimizer's option, as key=value.")] = None,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 0,
    folds: Annotated[int | None, typer.Option(help="Score --train in so many folds, without --val.")] = None,
    api_base: ApiBase = None,
    teacher_lm: Annotated[str | None, typer.Option(help="A model for the teacher, if not the same.")] = None,
    concurrency: Concurrency = None,
    run_id: Annotated[str | None, typer.Option("--id", help="The run's id; made up if not given.")] = None,
    environment: Annotated[str | None, typer.Option(help="Have the work done by workers of this one.")] = None,
    priority: Annotated[int | None, typer.Option(min=1, max=5, help="1 goes first, 5 last; 3 if not given.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Who it is for: tenants share workers fairly.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from what an ended run of this id finished.")] = False,  # noqa: FBT002
    budget_usd: Annotated[float | None, typer.Option(help="Most US dollars it may cost.")] = None,
    budget_calls: Annotated[int | None, typer.Option(help="Most calls that providers may answer.")] = None,
    on_limit: Annotated[str, typer.Option(help="park: wait for more; finish: end with the best.")] = "park",
    detach: Annotated[bool, typer.Option(help="Start the run and leave it going.")] = False,  # noqa: FBT002
    in_process: Annotated[bool, typer.Option(help="Run right here, without Temporal.")] = False,  # noqa: FBT002
    mlflow: MLflow = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it will take.")] = False,  # noqa: FBT002
    output: Output = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Find the demos and instructions that score best, for your data and your model."""
    given = dict(locals())
    from dspex.cli._compile_command import CompileCommand  # noqa: PLC0415

    run(CompileCommand(**given).carry_out())


@app.command(name="eval")
def eval_command(  # noqa: PLR0917 - one parameter an option
    program: Annotated[str, typer.Option(help="A saved program.")],
    data: Annotated[str, typer.Option(help="Rows to score on.")],
    lm: Model,
    metric: Annotated[str, typer.Option(help="exact_match, f1, contains or package.module:function.")] = "exact_match",
    api_base: ApiBase = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Score a saved program on a data file."""
    from dspex.cli._predict import evaluate_program  # noqa: PLC0415

    run(evaluate_program(program, data, metric=metric, lm=(lm, api_base, concurrency), as_json=as_json))


@app.command()
def predict(
    program: Annotated[str, typer.Option(help="A saved program.")],
    lm: Model,
    inputs: Annotated[list[str], typer.Argument(help="Inputs, as name=value.")],
    api_base: ApiBase = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Run a saved program once."""
    from dspex.cli._predict import predict_once  # noqa: PLC0415

    run(predict_once(program, inputs, lm=(lm, api_base, None), as_json=as_json))


@app.command()
def worker(  # noqa: PLR0917 - one parameter an option
    trust: Trust = None,
    trust_api_base: TrustApiBase = None,
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    role: Annotated[str, typer.Option(help="all, workflow (decides) or eval (does the work).")] = "all",
    environment: Annotated[
        str | None, typer.Option(help="With --role eval: take the activities of runs for this environment.")
    ] = None,
    activities_per_second: Annotated[float | None, typer.Option(help="Most activities begun in a second.")] = None,
    queue_activities_per_second: Annotated[
        float | None, typer.Option(help="The same for all workers of the task queue together.")
    ] = None,
    target_load: Annotated[
        float | None, typer.Option(help="Share of CPU and memory, up to 1, up to which more is begun.")
    ] = None,
    build_id: Annotated[
        str | None, typer.Option(help="Version of the code it runs; by default DSPEX_BUILD_ID.")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, envvar="DSPEX_METRICS_PORT", help="Port of this host's Prometheus metrics."),
    ] = None,
    with_parent: Annotated[bool, typer.Option(hidden=True)] = False,  # noqa: FBT002
) -> None:
    """Work on durable runs until told to stop."""
    from dspex.cli._worker import work_on_runs  # noqa: PLC0415
    from dspex.worker import WorkerOptions  # noqa: PLC0415

    async def work() -> None:
        options = WorkerOptions(
            role=role,  # pyright: ignore[reportArgumentType] - checked there
            environment=environment,
            activities_per_second=activities_per_second,
            queue_activities_per_second=queue_activities_per_second,
            target_load=target_load,
            build_id=build_id,
            metrics_port=metrics_port,
        )
        await work_on_runs(
            trust=trust or [],
            trust_api_base=trust_api_base or [],
            options=options,
            processes=processes,
            with_parent=with_parent,
        )

    run(work())


@app.command(name="codec-server")
def codec_server(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but a loopback one needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8401,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A page that may ask; by default the Web UI of the server in use.")
    ] = None,
) -> None:
    """Make encrypted and large payloads readable in Temporal's Web UI, for whoever holds the keys."""
    from dspex.cli._codec_server import serve_codec  # noqa: PLC0415

    run(serve_codec(host=host, port=port, origins=allow_origin or []))


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="Where to listen; anywhere but 127.0.0.1 demands a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8400,
) -> None:
    """Show runs in a browser: live scores, candidates, rows, cost."""
    from dspex.cli._dashboard import run_dashboard  # noqa: PLC0415

    run(run_dashboard(host=host, port=port))


@app.command()
def doctor(as_json: AsJson = False) -> None:  # noqa: FBT002
    """Say what is installed, reachable and configured, and what to do about what is not."""
    from dspex.cli._doctor import examine  # noqa: PLC0415

    run(examine(as_json=as_json))


@app.command(name="fake-provider")
def fake_provider(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    latency_ms: Annotated[float, typer.Option(help="How long every answer takes.")] = 0.0,
    fault_rate: Annotated[float, typer.Option(help="Share of requests that meet a fault.")] = 0.0,
    fault_kinds: Annotated[
        str, typer.Option(help="Kinds of fault.")
    ] = "429,500,overloaded,drop,malformed,slow,cut,error",
    seed: Annotated[int, typer.Option(help="Decides which requests meet one.")] = 0,
    capacity: Annotated[int | None, typer.Option(help="Most requests in flight; above it, 429.")] = None,
    chunk_latency_ms: Annotated[float, typer.Option(help="Pause between two events of a stream.")] = 0.0,
    structured_output: Annotated[bool, typer.Option(help="Hold answers to a JSON schema if asked.")] = True,
) -> None:
    """Serve a fake model that learns from the examples in its prompt, over OpenAI's and Anthropic's APIs."""
    from dspex_core.testing.fake_provider import FakeProvider  # noqa: PLC0415

    provider = FakeProvider(
        port=port,
        latency_ms=latency_ms,
        fault_rate=fault_rate,
        fault_kinds=fault_kinds,
        seed=seed,
        capacity=capacity,
        chunk_latency_ms=chunk_latency_ms,
        structured_output=structured_output,
    )
    run(provider.serve_forever())


@runs_app.command(name="list")
def list_command(as_json: AsJson = False) -> None:  # noqa: FBT002
    """List durable compiles, the newest first."""
    from dspex.cli._runs import list_runs  # noqa: PLC0415

    run(list_runs(as_json=as_json))


@runs_app.command()
def show(
    run_id: RunId,
    report: Annotated[
        str | None, typer.Option(help="Also write what a completed run found to this file, as a page of HTML.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show where a run stands."""
    from dspex.cli._runs import show_run  # noqa: PLC0415

    run(show_run(run_id, report=report, as_json=as_json))


@runs_app.command()
def watch(run_id: RunId, mlflow: MLflow = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Watch a run to its end."""
    from dspex.cli._runs import watch_run  # noqa: PLC0415

    run(watch_run(run_id, mlflow=mlflow, as_json=as_json))


@runs_app.command(name="events")
def events_command(
    run_id: RunId,
    *,
    offset: Annotated[int, typer.Option("--from", min=0, help="The first event wanted, by its offset.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what has happened in a run, each event a line of JSON."""
    from dspex.cli._runs import tell_events  # noqa: PLC0415

    del as_json  # they are JSON in any case
    run(tell_events(run_id, offset=offset, keep_on=follow))


@runs_app.command()
def pause(run_id: RunId, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Let a run begin nothing new; what is under way is finished."""
    from dspex.cli._control import pause_run  # noqa: PLC0415

    run(pause_run(run_id, as_json=as_json))


@runs_app.command()
def resume(run_id: RunId, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Let a run that is paused or parked go on."""
    from dspex.cli._control import resume_run  # noqa: PLC0415

    run(resume_run(run_id, as_json=as_json))


runs_app.command()(approve)
runs_app.command()(reject)


@runs_app.command(name="raise-budget")
def raise_budget(
    run_id: RunId,
    usd: Annotated[float | None, typer.Option(help="Most US dollars it may cost in all.")] = None,
    calls: Annotated[int | None, typer.Option(help="Most calls that providers may answer in all.")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Let a run take more; one that is parked because its budget is used up goes on."""
    from dspex.cli._control import raise_budget_of  # noqa: PLC0415

    run(raise_budget_of(run_id, usd=usd, calls=calls, as_json=as_json))


@runs_app.command()
def cancel(
    run_id: RunId,
    hard: Annotated[bool, typer.Option("--hard", help="End at once, without a result.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """End a run with the best it has found so far."""
    from dspex.cli._control import cancel_run  # noqa: PLC0415

    run(cancel_run(run_id, hard=hard, as_json=as_json))


@runs_app.command()
def export(
    run_id: RunId,
    output: Annotated[str, typer.Option("--output-file", "-o", help="Where to save the program.")],
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Save the program that a run found."""
    from dspex.cli._runs import export_program  # noqa: PLC0415

    run(export_program(run_id, output, as_json=as_json))

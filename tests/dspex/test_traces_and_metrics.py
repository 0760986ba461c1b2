"""Traces and metrics of a durable run, as a collector and Prometheus get them."""

import asyncio
import json
import socket

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from real_parts import own_platform

from dspex.worker import WorkerOptions, WorkerProcess

pytestmark = pytest.mark.slow

ROWS = [{"text": f"message {n} about {topic}", "topic": topic} for n in range(6) for topic in ("rain", "sun")]


class Collector:
    """An OTLP receiver that keeps spans."""

    def __init__(self):
        self.spans = []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exception):
        await self._runner.cleanup()

    async def _receive(self, request):
        batch = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += [span for each in batch.resource_spans for scope in each.scope_spans for span in scope.spans]
        return web.Response()

    def above(self, span):
        """Names of the spans around one, the innermost first."""
        by_id = {each.span_id: each for each in self.spans}
        found = []
        while span.parent_span_id in by_id:
            span = by_id[span.parent_span_id]
            found.append(span.name)
        return found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def test_a_trace_goes_from_the_client_to_each_call_of_the_model(background, tmp_path, monkeypatch):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with own_platform(background, tmp_path) as platform:
        async with Collector() as collector:
            platform.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url

            def compiled():
                with platform.worker():
                    return platform.cli(
                        "compile", "--train", data, "--val", data, "--input", "text", "--output", "topic",
                        "--optimizer", "labeled_few_shot", "--lm", "openai/fake",
                        "--api-base", platform.provider.base_url, "--id", "traced", "--json",
                    )  # fmt: skip

            done = await asyncio.to_thread(compiled)
        assert done.returncode == 0, done.stderr
    chats = [span for span in collector.spans if span.name == "chat fake"]
    assert len(chats) == json.loads(done.stdout)["lm_calls"] + json.loads(done.stdout)["cached_calls"]
    for chat in chats:
        assert collector.above(chat) == [
            "module Predict",
            "RunActivity:evaluate_chunk",
            "StartActivity:evaluate_chunk",
            "StartChildWorkflow:Evaluation",
            "StartWorkflow:LabeledFewShot",
        ]
    assert len({span.trace_id for span in chats}) == 1


async def test_prometheus_gets_temporals_metrics_and_our_counts(background, tmp_path, monkeypatch):
    port = free_port()
    with own_platform(background, tmp_path) as platform:
        for name, value in platform.variables.items():
            monkeypatch.setenv(name, value)

        def predicted():
            with background.running(
                WorkerProcess(platform.server, options=WorkerOptions(metrics_port=port), say=print)
            ):
                data = tmp_path / "rows.jsonl"
                data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
                done = platform.cli(
                    "compile", "--train", data, "--val", data, "--input", "text", "--output", "topic",
                    "--optimizer", "labeled_few_shot", "--lm", "openai/fake",
                    "--api-base", platform.provider.base_url, "--json",
                )  # fmt: skip
                return done, asyncio.run(scraped(port))

        done, text = await asyncio.to_thread(predicted)
    assert done.returncode == 0, done.stderr
    ours = {line.split("{")[0]: line for line in text.splitlines() if line.startswith("dspex_")}
    counted = json.loads(done.stdout)
    assert 'model="openai/fake"' in ours["dspex_lm_calls"]
    assert int(ours["dspex_lm_calls"].rsplit(" ", 1)[1]) == counted["lm_calls"]
    assert int(ours["dspex_lm_input_tokens"].rsplit(" ", 1)[1]) == counted["prompt_tokens"]
    assert "temporal_activity_execution_latency" in text


async def scraped(port):
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()

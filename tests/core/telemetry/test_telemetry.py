"""Events as spans of OpenTelemetry and as lines of structlog."""

import json

import pytest
import structlog
from model_servers import lm_of, written
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from dspex_core import ChainOfThought, events, using
from dspex_core.errors import LMError
from dspex_core.events import BreakerChanged, RowsEvaluated, publish
from dspex_core.telemetry import to_opentelemetry, to_structlog

QA = ChainOfThought("question -> answer")


def answering(messages):
    return written(reasoning="so", answer="42")


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


async def test_calls_are_spans_within_each_other_and_within_the_callers(start_model, provider, exporter):
    request = provider.get_tracer("app").start_as_current_span("request")
    with to_opentelemetry(provider), using(lm=lm_of(start_model(answering))), request:
        await QA(question="why?")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    chat = next(span for name, span in spans.items() if name.startswith("chat "))
    by_id = {span.context.span_id: span for span in spans.values()}
    above, span = [], chat
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        above.append(span.name)
    assert above[0].startswith("module ")
    assert above[-2:] == ["module ChainOfThought", "request"]
    assert chat.kind is SpanKind.CLIENT
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    assert chat.attributes["dspex.cached"] is False
    assert not any("messages" in name for name in chat.attributes), "what was written is left out unless asked for"


async def test_what_was_written_is_in_spans_if_asked_for(start_model, provider, exporter):
    with to_opentelemetry(provider, content=True), using(lm=lm_of(start_model(answering))):
        await QA(question="why?")
    [chat] = [span for span in exporter.get_finished_spans() if span.name.startswith("chat ")]
    asked = json.loads(chat.attributes["gen_ai.input.messages"])
    assert [message["role"] for message in asked] == ["system", "user"]
    assert "why?" in asked[1]["parts"][0]["content"]
    assert "42" in chat.attributes["gen_ai.output.messages"]


async def test_a_failed_call_is_an_error_with_its_type(start_model, provider, exporter):
    model = start_model(lambda messages: (400, {"error": {"message": "no such thing"}}))
    with to_opentelemetry(provider), using(lm=lm_of(model)), pytest.raises(LMError):
        await QA(question="why?")
    [chat] = [span for span in exporter.get_finished_spans() if span.name.startswith("chat ")]
    assert chat.attributes["error.type"].startswith("LM")
    assert not chat.status.is_ok


async def test_a_block_within_another_makes_no_second_span(start_model, provider, exporter):
    with to_opentelemetry(provider), to_opentelemetry(provider), using(lm=lm_of(start_model(answering))):
        await QA(question="why?")
    names = [span.name for span in exporter.get_finished_spans()]
    assert len(names) == len(set(names))


def test_lines_have_the_fields_and_a_level_that_fits():
    with structlog.testing.capture_logs() as lines, to_structlog():
        publish(RowsEvaluated(rows=3, score=50.0))
        publish(BreakerChanged(model="openai/x", endpoint="http://x", state="open", reason="it is down"))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("rows_evaluated", "debug"),
        ("breaker_changed", "warning"),
    ]
    assert lines[0]["rows"] == 3
    assert lines[1]["reason"] == "it is down"


async def test_lines_leave_out_what_was_written_unless_asked_for(start_model):
    with using(lm=lm_of(start_model(answering), cache=False)), structlog.testing.capture_logs() as lines:
        with to_structlog(types=events.CALLS):
            await QA(question="why?")
        assert {"module_start", "lm_start", "lm_end", "module_end"} == {line["event"] for line in lines}
        assert "why?" not in str(lines)
        with to_structlog(types=events.CALLS, content=True):
            await QA(question="why?")
    assert "why?" in str(lines)


async def test_a_listener_that_fails_harms_nobody(start_model, caplog):
    def failing(event):
        raise RuntimeError("a listener's own")

    with events.listen(failing), using(lm=lm_of(start_model(answering))):
        assert (await QA(question="why?")).answer == "42"
    assert "a listener failed on" in caplog.text

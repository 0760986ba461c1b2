import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dspex_core.errors import ConfigurationError
from dspex_core.events import (
    CALLS,
    Event,
    LMEnd,
    LMStart,
    ModuleEnd,
    ModuleStart,
    RetrievalEnd,
    RetrievalStart,
    ToolCalled,
    ToolFinished,
    listen,
)
from dspex_core.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

_CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_on: list["_Spans"] = []


@contextmanager
def to_opentelemetry(provider: "TracerProvider | None" = None, *, content: bool | None = None) -> Generator[None]:
    """Make spans of the calls of modules, models, tools and retrievers while the block runs.

        with to_opentelemetry():
            await triage(text="I was charged twice")

    Names and attributes are OpenTelemetry's conventions for generative AI (`gen_ai.*`); what they have no name for is
    `dspex.*`. A span is a child of the call that made the call, or else of the span that is current there. Within
    another such block this one does nothing: no call gets two spans.

    Args:
        provider: Where spans go; by default the process's own, which is a matter of your set-up.
        content: Whether spans have what users and models wrote; by default if
            OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is "true".

    Raises:
        ConfigurationError: If OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - comes with dspex[otel]
    except ImportError:
        raise ConfigurationError("traces need OpenTelemetry; run: pip install 'dspex[otel]'") from None
    if _on:
        yield
        return
    shown = os.environ.get(_CONTENT_VARIABLE, "").lower() == "true" if content is None else content
    spans = _Spans((provider or trace.get_tracer_provider()).get_tracer("dspex"), content=shown)
    _on.append(spans)
    try:
        with listen(spans.take, types=CALLS):
            yield
    finally:
        _on.remove(spans)
        spans.end_all()


class _Spans:
    """Spans of the calls under way."""

    def __init__(self, tracer: "Tracer", *, content: bool) -> None:
        self._tracer = tracer
        self._content = content
        self._open: dict[str, Span] = {}

    def take(self, event: Event) -> None:
        """Begin or end the span of a call."""
        match event:
            case ModuleStart() | LMStart() | ToolCalled() | RetrievalStart():
                self._begin(event)
            case ModuleEnd() | LMEnd() | ToolFinished() | RetrievalEnd():
                self._end(event)
            case _:
                pass

    def end_all(self) -> None:
        """End what is still open: its calls are not told of any more."""
        while self._open:
            self._open.popitem()[1].end()

    def _begin(self, event: ModuleStart | LMStart | ToolCalled | RetrievalStart) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415

        parent = self._open.get(event.parent_id or "")
        remote = isinstance(event, LMStart | RetrievalStart)
        self._open[event.call_id] = self._tracer.start_span(
            _name(event),
            context=None if parent is None else set_span_in_context(parent),
            kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
            attributes={**_asked(event), **(_content_asked(event) if self._content else {})},
        )

    def _end(self, event: ModuleEnd | LMEnd | ToolFinished | RetrievalEnd) -> None:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

        span = self._open.pop(event.call_id, None)
        if span is None:
            return
        span.set_attributes({**_answered(event), **(_content_answered(event) if self._content else {})})
        if event.error is not None:
            span.set_attribute("error.type", event.error.partition(":")[0])
            span.set_status(Status(StatusCode.ERROR, event.error))
        elif isinstance(event, ToolFinished) and event.failed:
            span.set_attribute("error.type", "tool_error")
            span.set_status(Status(StatusCode.ERROR, event.text if self._content else ""))
        span.end()


def _name(event: ModuleStart | LMStart | ToolCalled | RetrievalStart) -> str:
    match event:
        case ModuleStart():
            return f"module {event.module}"
        case LMStart():
            return f"chat {event.model.partition('/')[2]}"
        case ToolCalled():
            return f"execute_tool {event.tool}"
        case RetrievalStart():
            return f"retrieval {event.retriever}"


def _asked(event: ModuleStart | LMStart | ToolCalled | RetrievalStart) -> dict[str, Any]:
    match event:
        case ModuleStart():
            return {"dspex.module": event.module}
        case LMStart():
            provider, _, model = event.model.partition("/")
            found: dict[str, Any] = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
            }
            if event.temperature is not None:
                found["gen_ai.request.temperature"] = event.temperature
            if event.rollout_id is not None:
                found["dspex.rollout_id"] = event.rollout_id
            return found
        case ToolCalled():
            return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": event.tool}
        case RetrievalStart():
            return {
                "gen_ai.operation.name": "retrieval",
                "gen_ai.data_source.id": event.retriever,
                "dspex.retrieval.k": event.k,
            }


def _answered(event: ModuleEnd | LMEnd | ToolFinished | RetrievalEnd) -> dict[str, Any]:
    match event:
        case ModuleEnd():
            return {"dspex.lm_calls": event.usage.lm_calls, **_usage(event.usage)}
        case LMEnd():
            return {"dspex.cached": event.cached, **_usage(event.usage)}
        case ToolFinished():
            return {}
        case RetrievalEnd():
            return {"dspex.retrieval.passages": len(event.passages)}


def _usage(usage: Usage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    return found if usage.cost_usd is None else {**found, "dspex.cost_usd": usage.cost_usd}


def _content_asked(event: ModuleStart | LMStart | ToolCalled | RetrievalStart) -> dict[str, str]:
    match event:
        case ModuleStart():
            return {"dspex.inputs": _json(event.inputs)}
        case LMStart():
            return {
                "gen_ai.input.messages": _json([_message(each["role"], each["content"]) for each in event.messages])
            }
        case ToolCalled():
            return {"gen_ai.tool.call.arguments": _json(event.args)}
        case RetrievalStart():
            return {"gen_ai.retrieval.query.text": event.query}


def _content_answered(event: ModuleEnd | LMEnd | ToolFinished | RetrievalEnd) -> dict[str, str]:
    match event:
        case ModuleEnd():
            return {"dspex.outputs": _json(event.outputs)}
        case LMEnd():
            return {"gen_ai.output.messages": _json([_message("assistant", event.text)])}
        case ToolFinished():
            return {"gen_ai.tool.call.result": event.text}
        case RetrievalEnd():
            return {"gen_ai.retrieval.documents": _json(event.passages)}


def _message(role: str, content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else _json(content)
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

import os
from collections.abc import Generator
from contextlib import contextmanager

from dspex import settings
from dspex_core.errors import ConfigurationError


@contextmanager
def exporting() -> Generator[None]:
    """Send this process's spans to the OTLP endpoint that the environment names while the block runs, if it names one.

    Raises:
        ConfigurationError: If it names one, and OpenTelemetry is not installed.
    """
    if not settings.tracing():
        yield
        return
    from dspex_core.telemetry import to_opentelemetry  # noqa: PLC0415 - most commands need none of it

    try:
        from opentelemetry import trace  # noqa: PLC0415 - comes with dspex[otel]
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "an OTLP endpoint is set, and traces need OpenTelemetry; run: pip install 'dspex[otel]'"
        ) from None
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "dspex"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        with to_opentelemetry():
            yield
    finally:
        provider.shutdown()

from functools import cache
from typing import TYPE_CHECKING

from dspex_core.errors import ConfigurationError

if TYPE_CHECKING:
    from temporalio.contrib.opentelemetry import TracingInterceptor


@cache
def tracing_interceptor() -> "TracingInterceptor":
    """Temporal's own interceptor, which carries a trace from clients to workflows to activities.

    There is one in a process, so that a client's and its worker's are known to be the same, and nothing has two spans.

    Raises:
        ConfigurationError: If OpenTelemetry is not installed.
    """
    try:
        from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415 - comes with dspex[otel]
    except ImportError:
        raise ConfigurationError("traces need OpenTelemetry; run: pip install 'dspex[otel]'") from None
    return TracingInterceptor()

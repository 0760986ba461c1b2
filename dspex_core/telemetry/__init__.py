"""Events for other tools: lines of structlog, and spans of OpenTelemetry (`pip install "dspex[otel]"`).

with to_structlog(), to_opentelemetry():
await triage(text="I was charged twice")
"""

from dspex_core.telemetry._lines import to_structlog
from dspex_core.telemetry._spans import to_opentelemetry

__all__ = ["to_opentelemetry", "to_structlog"]

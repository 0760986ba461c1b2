from collections.abc import Generator
from contextlib import contextmanager

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from dspex_core.errors import ConfigurationError
from dspex_core.events import Event, LMEnd, listen

METRICS_HOST = "127.0.0.1"


def metrics_runtime(port: int) -> Runtime:
    """A runtime of Temporal's that serves its metrics, and ours, for Prometheus on a port of this host.

    Raises:
        ConfigurationError: If the port cannot be had.
    """
    prometheus = PrometheusConfig(bind_address=f"{METRICS_HOST}:{port}", durations_as_seconds=True)
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=prometheus, metric_prefix="temporal_"))
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"metrics cannot be served on port {port}: {error}") from None


@contextmanager
def counting(runtime: Runtime) -> Generator[None]:
    """Count this process's model calls while the block runs, by model: calls, cached ones, errors, tokens, cost."""
    meter = runtime.metric_meter
    names = ("lm_calls", "lm_cached_calls", "lm_errors", "lm_input_tokens", "lm_output_tokens", "lm_cost_microdollars")
    counters = {name: meter.create_counter(f"dspex_{name}") for name in names}

    def count(event: Event) -> None:
        if not isinstance(event, LMEnd):
            return
        usage = event.usage
        amounts = {
            "lm_calls": usage.lm_calls,
            "lm_cached_calls": usage.cached_calls,
            "lm_errors": int(event.error is not None),
            "lm_input_tokens": usage.prompt_tokens,
            "lm_output_tokens": usage.completion_tokens,
            "lm_cost_microdollars": round((usage.cost_usd or 0.0) * 1_000_000),
        }
        for name, amount in amounts.items():
            if amount:
                counters[name].add(amount, {"model": event.model})

    with listen(count, types={"lm_end"}):
        yield

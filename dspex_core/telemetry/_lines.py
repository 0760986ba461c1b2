from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any

import structlog

from dspex_core.events import CALLS, RUNS, Event, listen

CONTENT = frozenset({"inputs", "outputs", "messages", "text", "args", "query", "passages", "state"})
"""What users and models wrote."""
_WARNINGS = frozenset(
    {
        "run_held_up",
        "adapter_fell_back",
        "structured_output_refused",
        "parameters_refused",
        "lm_fell_back",
        "breaker_changed",
        "events_lost",
    }
)
_DETAILS = CALLS | {"rows_evaluated"}


@contextmanager
def to_structlog(logger: Any = None, *, types: Collection[str] = RUNS, content: bool = False) -> Generator[None]:
    """Log what happens in this process while the block runs, each event a line with the event's fields.

        with to_structlog(types=RUNS | CALLS, content=True):
            await triage(text="I was charged twice")

    Calls and rows are logged as "debug", what somebody should look into as "warning", the rest as "info".

    Args:
        logger: A structlog logger; by default `structlog.get_logger("dspex")`.
        types: Types of events to log.
        content: Whether to log what users and models wrote, too: inputs, prompts, answers, demos.

    Raises:
        ConfigurationError: If there are no events of such a type.
    """
    bound = structlog.get_logger("dspex") if logger is None else logger
    left_out = {"type"} if content else {"type"} | CONTENT

    def tell(event: Event) -> None:
        level = "warning" if event.type in _WARNINGS else "debug" if event.type in _DETAILS else "info"
        fields = event.model_dump(mode="json", exclude=left_out)
        getattr(bound, level)(event.type, **{name: value for name, value in fields.items() if value is not None})

    with listen(tell, types=types):
        yield

import logging
import sys
from typing import Any

import structlog

from dspex import settings
from dspex_core.events import CALLS, RUNS
from dspex_core.redaction import redacted


def configure_logging() -> None:
    """Logs to stderr through structlog: readable on a terminal, JSON lines elsewhere; no key ever gets into one."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting(formatter))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level())


def events_logger() -> Any:
    """A structlog logger whose lines go where all others go."""
    return structlog.wrap_logger(
        logging.getLogger("dspex.events"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def log_types() -> frozenset[str]:
    """Types of the events that lines are made of at DSPEX_LOG_LEVEL: single calls cost too much not to be shown."""
    return RUNS | CALLS if settings.log_level() <= logging.DEBUG else RUNS


class _Redacting(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._inner.format(record))

"""Starting and finding durable runs."""

from dspex.client._client import Client
from dspex.client._evaluations import Evaluations, ScoredRows
from dspex.client._prices import require_prices
from dspex.client._run import Run
from dspex.client._schedule import Schedule, ScheduleSummary
from dspex.client._status import RunStatus, RunSummary, Status, early_end_in_words, word_after

__all__ = [
    "Client",
    "Evaluations",
    "Run",
    "RunStatus",
    "RunSummary",
    "Schedule",
    "ScheduleSummary",
    "ScoredRows",
    "Status",
    "early_end_in_words",
    "require_prices",
    "word_after",
]

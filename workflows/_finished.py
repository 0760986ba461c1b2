import hashlib
from collections import Counter
from typing import TypeVar, cast

from temporalio import workflow

from dspex_core.requests import Generate, Kept, Suggest, TraceRows

from ._values import EvaluationInput

T = TypeVar("T")

_FORM = 1
"""To be raised when equal requests come to mean something else: what was kept before is not found again then."""

_DO_NOT_DECIDE = {
    "lm": {
        "timeout_seconds",
        "deadline_seconds",
        "concurrency",
        "requests_per_minute",
        "tokens_per_minute",
        "hedge",
        "cache",
        "prompt_caching",
        "price_per_million",
    },
    "chunk_rows": True,
    "chunks_a_leg": True,
    "activity_queue": True,
}
"""Parts of requests that say how work is done, and not what comes of it."""


class Finished:
    """Names what a run finishes, so that a run that goes on from it finds it, on whatever machine.

    The same requests, in the same order, get the same names; fields that a later version adds change none, as long as
    they have their defaults.

    Args:
        resumed: Whether the run goes on from an earlier one of its id.
    """

    def __init__(self, *, resumed: bool) -> None:
        run = f"{workflow.info().namespace}\n{workflow.info().workflow_id}"
        self._folder = hashlib.sha256(run.encode()).hexdigest()
        self._resumed = resumed
        self._asked: Counter[str] = Counter()

    def marked(self, what: str, request: T) -> T:
        """A request that says where its answer is kept, if it is one whose answer is worth keeping."""
        if not isinstance(request, (EvaluationInput, Generate, Suggest, TraceRows)):
            return request
        asked = request.model_dump_json(exclude=_DO_NOT_DECIDE, exclude_defaults=True)
        digest = hashlib.sha256(f"{_FORM}\n{what}\n{asked}".encode()).hexdigest()
        self._asked[digest] += 1
        # A model that is asked the same twice may answer differently.
        kept = Kept(name=f"{self._folder}/{digest}-{self._asked[digest]}", look=self._resumed)
        return cast("T", request.model_copy(update={"kept": kept}))

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from dspex_core.errors import (
    ArtifactError,
    ArtifactMissingError,
    CodeMissingError,
    ConfigurationError,
    DSPExError,
    LMError,
    MetricError,
    RetrievalError,
    TrustError,
)
from dspex_core.evaluate import describe
from dspex_core.redaction import redacted
from dspex_core.seam import Payer, paying

T = TypeVar("T")

TRIES_OF_UNKNOWN_ERRORS = 5
TRIES_OF_UNFIT_WORKERS = 25
SECONDS_UNTIL_ANOTHER_WORKER = 0.3
UNFIT_WORKER = (TrustError, ConfigurationError, CodeMissingError)
"""What one worker lacks, such as a key or a trusted package, and another one may have."""


async def reported(work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, and turn what it raises into a failure that says whether another try makes sense.

    Waiting cures what a provider or a store does not do now. It cures nothing that is wrong with a key, an input or a
    program: that ends the run at once, with its reason.

    Raises:
        ApplicationError: Of the error's own type name and text, free of keys.
    """
    info = activity.info()
    try:
        with paying(Payer(f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}")):
            return await work()
    except DSPExError as error:
        wait = error.retry_after if isinstance(error, LMError) else None
        if isinstance(error, UNFIT_WORKER):
            wait = SECONDS_UNTIL_ANOTHER_WORKER
        raise ApplicationError(
            redacted(str(error)),
            type=type(error).__name__,
            non_retryable=not is_curable(error, tries=info.attempt),
            next_retry_delay=timedelta(seconds=wait) if wait else None,
        ) from None
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything
        # `from None`: a cause may quote a request, and a history keeps it.
        raise ApplicationError(
            describe(error),
            type=type(error).__name__,
            non_retryable=info.attempt >= TRIES_OF_UNKNOWN_ERRORS,
        ) from None


def is_curable(error: DSPExError, *, tries: int) -> bool:
    """Whether the same work may succeed later, here or on another worker, without anyone changing anything."""
    if isinstance(error, UNFIT_WORKER):
        return tries < TRIES_OF_UNFIT_WORKERS
    if isinstance(error, MetricError):
        # A metric that returned no score will do so again; one that raised may have met a failing service.
        return error.__cause__ is not None and tries < TRIES_OF_UNKNOWN_ERRORS
    if isinstance(error, ArtifactMissingError):
        return False
    return isinstance(error, ArtifactError) or (isinstance(error, (LMError, RetrievalError)) and error.retryable)

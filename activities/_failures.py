from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from dspex_core.budget import Limits
from dspex_core.errors import (
    ArtifactAccessError,
    ArtifactError,
    ArtifactMissingError,
    BudgetReachedError,
    CodeMissingError,
    ConfigurationError,
    DSPExError,
    LMAuthenticationError,
    LMError,
    LMQuotaError,
    LMUnavailableError,
    MetricError,
    RetrievalError,
    TrustError,
    may_pass,
)
from dspex_core.evaluate import describe
from dspex_core.redaction import redacted
from dspex_core.requests import Held
from dspex_core.seam import Payer, metered, paying, spending
from dspex_core.usage import Usage

T = TypeVar("T")

TRIES_OF_UNKNOWN_ERRORS = 5
TRIES_OF_UNFIT_WORKERS = 6
SECONDS_UNTIL_ANOTHER_WORKER = 0.3
UNFIT_WORKER = (TrustError, ConfigurationError, CodeMissingError, ArtifactAccessError, ArtifactMissingError)
"""What one worker lacks, such as a key, a trusted package or the right store, and another one may have."""
FOR_A_PERSON = (LMAuthenticationError, LMQuotaError, BudgetReachedError)
"""What no waiting cures and a person does, without anything of the run being changed."""
OUTAGE_SECONDS = 600.0
"""How long a provider or a store may fail before the run is parked."""
TRIES_OF_AN_OUTAGE = 3
LONGEST_WAIT_SECONDS = 20.0


async def reported(
    work: Callable[[], Awaitable[T]],
    *,
    allowance: Limits | None = None,
    outage_seconds: float = OUTAGE_SECONDS,
    code: str | None = None,
    payer: str | None = None,
    heir_of: Collection[str] = (),
) -> T:
    """Do the work, and turn what it raises into a failure that says whether another try makes sense.

    Waiting cures what a provider or a store does not do now. What a person must cure, and what waiting has not cured
    for long, has a `Held` among the failure's details: the run is to be parked. All else is a defect.

    Args:
        work: The work.
        allowance: What its calls may take.
        outage_seconds: How long it may be tried again.
        payer: Whom its calls are booked to, if not to this activity.
        heir_of: Payers that ended without telling what they had paid; what of it this work needs is booked here.
        code: Module of a user's own program, if that is what works; its defects come again each time.

    Raises:
        ApplicationError: Of the error's own type name and text, free of keys.
    """
    info = activity.info()
    with metered() as meter:
        try:
            own = f"{info.workflow_id}/{info.workflow_run_id}/{info.activity_id}"
            with paying(Payer(payer or own, heir_of=heir_of)), spending(allowance):
                return await work()
        except DSPExError as error:
            # Both by the server's clock: this machine's may be wrong, or be set.
            waited = (info.started_time - info.scheduled_time).total_seconds()
            is_long = waited >= outage_seconds and info.attempt >= TRIES_OF_AN_OUTAGE
            raise _failure(error, tries=info.attempt, spent=meter.usage, is_long=is_long) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
            is_defect = code is not None and not may_pass(error, code=code)
            # `from None`: a cause may quote a request, and a history keeps it.
            raise ApplicationError(
                describe(error),
                type=type(error).__name__,
                non_retryable=is_defect or info.attempt >= TRIES_OF_UNKNOWN_ERRORS,
                next_retry_delay=_wait(info.attempt),
            ) from None


def _failure(error: DSPExError, *, tries: int, spent: Usage, is_long: bool) -> ApplicationError:
    said, name = redacted(str(error)), type(error).__name__
    waits = is_curable(error, tries=tries)
    is_unfit = isinstance(error, UNFIT_WORKER)
    if isinstance(error, FOR_A_PERSON) or (is_unfit and not waits) or (waits and is_long and is_outage(error)):
        held = Held(reason=f"{name}: {said}", is_budget=isinstance(error, BudgetReachedError), spent=spent)
        return ApplicationError(said, held, type=name, non_retryable=True)
    asked = error.retry_after if isinstance(error, LMError) else None
    if is_unfit:
        asked = SECONDS_UNTIL_ANOTHER_WORKER
    delay = timedelta(seconds=asked) if asked else _wait(tries)
    # That a model is left alone is told when that begins; hundreds of activities that then wait need not say so again.
    is_told = waits and isinstance(error, LMUnavailableError)
    category = ApplicationErrorCategory.BENIGN if is_told else ApplicationErrorCategory.UNSPECIFIED
    return ApplicationError(said, type=name, non_retryable=not waits, next_retry_delay=delay, category=category)


def _wait(tries: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time."""
    return timedelta(seconds=min(2.0 ** min(tries - 1, 10), LONGEST_WAIT_SECONDS))


def is_outage(error: DSPExError) -> bool:
    """Whether something outside does not work."""
    return isinstance(error, (LMError, RetrievalError, ArtifactError))


def is_curable(error: DSPExError, *, tries: int) -> bool:
    """Whether the same work may succeed later, here or on another worker, without anyone changing anything."""
    if isinstance(error, UNFIT_WORKER):
        return tries < TRIES_OF_UNFIT_WORKERS
    if isinstance(error, MetricError):
        return error.retryable and tries < TRIES_OF_UNKNOWN_ERRORS
    return isinstance(error, ArtifactError) or (isinstance(error, (LMError, RetrievalError)) and error.retryable)

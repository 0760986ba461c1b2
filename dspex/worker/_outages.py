"""An activity whose arguments or result cannot be had from the artifact store, or kept there, parks its run, too."""

import time
from collections.abc import Callable

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from dspex_core.errors import ArtifactAccessError, ArtifactError, ArtifactMissingError
from dspex_core.requests import Held

OUTAGE_SECONDS = 600.0
TRIES_OF_AN_OUTAGE = 3
TRIES_OF_A_REFUSAL = 6


class Outages:
    """How long this process has not had each artifact that it wanted.

    Args:
        outage_seconds: How long the store may fail before the run is parked.
        clock: Gives seconds.
    """

    def __init__(self, outage_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._outage_seconds = outage_seconds
        self._clock = clock
        self._since: dict[str, tuple[float, int]] = {}

    def over(self, what: str) -> None:
        """This was had, or kept."""
        self._since.pop(what, None)

    def failed(self, what: str, error: ArtifactError) -> ArtifactError:
        """This was not, for this reason; the error given back knows whether that has gone on for long."""
        since, tries = self._since.get(what, (self._clock(), 0))
        self._since[what] = (since, tries + 1)
        if isinstance(error, (ArtifactAccessError, ArtifactMissingError)):
            error.lasts = tries + 1 >= TRIES_OF_A_REFUSAL
        else:
            error.lasts = tries + 1 >= TRIES_OF_AN_OUTAGE and self._clock() - since >= self._outage_seconds
        return error


def parking(base: type[DefaultFailureConverter]) -> type[DefaultFailureConverter]:
    """A failure converter that writes down an error of the store that lasts as one that a run is parked for."""

    class Parking(base):
        def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
            super().to_failure(_as_held(exception), payload_converter, failure)

    return Parking


def _as_held(exception: BaseException) -> BaseException:
    # The SDK wraps what was raised while it read an activity's arguments, and would have it tried again for ever.
    is_wrapped = isinstance(exception, ApplicationError) and exception.type is None
    error = exception.__cause__ if is_wrapped else exception
    if not (isinstance(error, ArtifactError) and error.lasts):
        return exception
    name = type(error).__name__
    return ApplicationError(str(error), Held(reason=f"{name}: {error}"), type=name, non_retryable=True)

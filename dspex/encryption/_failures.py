from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, PayloadConverter
from temporalio.exceptions import ApplicationError

from dspex_core.errors import EncryptionError


class SealedFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Texts of failures as payloads, which the codec encrypts.

    One text stays open: that a key is missing, for whoever reads it lacks a key. It holds ids of keys only.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Write an exception down, each of its causes by itself."""
        super().to_failure(exception, payload_converter, failure)
        if _is_of_a_key(exception):
            failure.message = exception.message if isinstance(exception, ApplicationError) else str(exception)
            failure.ClearField("encoded_attributes")


def _is_of_a_key(exception: BaseException) -> bool:
    if isinstance(exception, ApplicationError):
        return exception.type == EncryptionError.__name__
    return isinstance(exception, EncryptionError)

"""What the libraries of object stores raise, as errors of ours: one line, and no key in it."""

import re

from dspex_core.errors import ArtifactAccessError, ArtifactError
from dspex_core.redaction import redacted

LONGEST_REASON = 300
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
_NO_SUCH_OBJECT = ("NoSuchKey", "BlobNotFound", None)
_MACHINES_ROLE = "169.254.169.254"
"""Where the role of a machine is asked for, if there are no credentials in the environment."""
_WRONG_KEYS = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthenticationFailed"),
    "XAdminUserNotFound",  # versitygw's
)
_GIVE = "give this process the right ones (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION)"


def is_absent(error: Exception) -> bool:
    """Whether the store works, and has no such object."""
    return isinstance(error, FileNotFoundError) and _code(error) in _NO_SUCH_OBJECT


def trouble(what: str, error: Exception) -> ArtifactError:
    """The error for what a store did not do.

    Args:
        what: What could not be done, and where.
        error: What the library of that kind of store raised.
    """
    refused = _refusal(error)
    return ArtifactError(f"{what}: {reason(error)}") if refused is None else ArtifactAccessError(f"{what}: {refused}")


def _refusal(error: Exception) -> str | None:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415 - as the store itself

    code = _code(error)
    if code in _WRONG_KEYS:
        return f"it rejects the credentials ({code}): {_GIVE}"
    if _MACHINES_ROLE in str(error):
        return f"no credentials were found: {_GIVE}"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is too far from the store's (RequestTimeTooSkewed): set it right"
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return f"there is no such bucket ({code}): make it, or correct DSPEX_ARTIFACTS"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        return f"it does not allow that{_named(code)}: let this process read, write, list and delete there"
    return None


def reason(error: Exception) -> str:
    """What a server says, or else the first sentence or two of an error's text, which may go on for pages."""
    message = _MESSAGE.search(str(error))
    said = (
        message[1] + _named(_code(error)) if message else str(error).partition("Debug source")[0].partition("<?xml")[0]
    )
    return redacted(" ".join(said.split())[:LONGEST_REASON].strip(" :-"))


def _code(error: Exception) -> str | None:
    """The code that the server's answer has, if it had one."""
    found = _CODE.search(str(error))
    return found[1] if found else None


def _named(code: str | None) -> str:
    return f" ({code})" if code else ""

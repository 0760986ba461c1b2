"""Every error that DSPEx raises.

DSPExError
├── InputError                what the caller gave cannot be used; nothing was started (exit status 2)
│   ├── SignatureError        a signature cannot be built from this
│   ├── FieldValueError       no Image, History or ToolCalls can be made of this
│   ├── DatasetError          a data file cannot be read, or its rows do not fit the signature
│   ├── ProgramError          a program file or program reference cannot be loaded
│   │   └── CodeMissingError    code that a program, a metric or a tool names cannot be imported here
│   ├── UnknownNameError      no metric, optimizer, module … of that name; names the nearest
│   ├── ConfigurationError    a setting, an API key or an LM is missing or contradicts another
│   │   └── EncryptionError     keys for encryption are malformed, or something was encrypted with another key
│   ├── ToolError             a function cannot be a tool, or a tool was called with arguments that do not fit
│   │   └── ApprovalRequiredError  a tool needs a person's approval, and there is nobody to ask
│   ├── ServerUnavailableError  no Temporal server answers at the address given
│   └── RunConflictError      a run of that id exists and cannot be used like this
├── LMError                   a model call failed; says which provider, model, status and whether a retry may help
│   ├── LMAuthenticationError   the key was rejected (401, 403)
│   ├── LMNotFoundError         the provider knows no such model or path (404)
│   ├── LMRequestError          the provider refuses this very request (400, 413, 422 …)
│   │   └── LMContextLengthError  it is longer than the model's context
│   ├── LMRateLimitError        too many requests (429)
│   ├── LMProviderError         the provider failed (408, 409, 5xx)
│   ├── LMConnectionError       no answer: unreachable, dropped or timed out
│   │   ├── LMUnreachableError    no connection came about: nobody listens there, or there is no such host
│   │   └── LMTimeoutError        none in the time given
│   ├── LMUnavailableError      the provider failed so often that it is left alone for a while; nothing was sent
│   ├── LMMalformedResponseError  an answer that is not what the API promises
│   ├── LMQuotaError            the account's quota is spent: no call goes through until somebody pays
│   └── BudgetReachedError      the budget given is used up; the call was not sent
├── RetrievalError            a search failed, or an index cannot be used
├── ToolFailedError           a tool says that it could not do what it was asked, or took too long
├── AdapterParseError         a model's answer does not hold the fields asked for
├── MetricError               a metric raised, or returned something that is no score
├── EvaluationError           an evaluation cannot give a score
├── FineTuningError           a fine-tuning job, or a trainer, gave no model
├── TrustError                a worker was asked to import code that it was not told to trust
├── CacheError                the cache of answers cannot be looked after: it is away, damaged or full
├── ArtifactError             the artifact store cannot be used
│   ├── ArtifactAccessError     it refuses this process: credentials, rights, or no such bucket
│   └── ArtifactMissingError    it works, and does not hold what was asked for
├── ServerSetupError          no Temporal server could be found, downloaded or built
├── TrackingError             a tracking server such as MLflow does not take what it is told
└── RunError                  a durable run
    ├── RunNotFoundError      no run of that id
    └── RunFailedError        it ended without a result
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class DSPExError(Exception):
    """Base of all DSPEx errors. Its text says what was wrong, where, and what to do next.

        try:
            prediction = await triage(text="I was charged twice")
        except DSPExError as error:
            print(error)

    The module's docstring is the tree of all of them.
    """


class InputError(DSPExError):
    """What the caller gave cannot be used, and nothing was started."""


class SignatureError(InputError):
    """A signature cannot be built from the class, string or JSON given."""


class FieldValueError(InputError, ValueError):
    """No `Image`, `History` or `ToolCalls` can be made of what was given.

    Also a ValueError, so that pydantic counts it among what is wrong with a larger value.
    """


class DatasetError(InputError):
    """A data file cannot be read, or its rows do not fit what was asked of them."""


class ProgramError(InputError):
    """A program file or program reference cannot be loaded."""


class CodeMissingError(ProgramError):
    """The module or attribute that a reference names cannot be imported here."""


class UnknownNameError(InputError):
    """No metric, optimizer, module or option goes by the name given.

    Args:
        kind: What was looked for, e.g. "metric".
        name: The name given.
        known: The names there are; the nearest one is suggested.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(name.replace("-", "_").lower(), names, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}there are {', '.join(names)}")
        self.kind = kind
        self.name = name


class ConfigurationError(InputError):
    """A setting, an API key or an LM is missing, or contradicts another one."""


class EncryptionError(ConfigurationError):
    """Keys for encryption are malformed, or something was encrypted with a key that is not here."""


class ToolError(InputError):
    """A function cannot be a tool, or a tool was called with arguments that do not fit; says how to call it."""


class ApprovalRequiredError(ToolError):
    """A model called a tool that needs a person's approval, and there is nobody to ask; it was not called."""


class ServerUnavailableError(InputError):
    """No Temporal server answers at the address given."""


class RunConflictError(InputError):
    """A run of that id exists already and cannot be used in this way."""


class LMError(DSPExError):
    """A call to a model failed.

    Args:
        message: One sentence on what happened and what to do.
        provider: Provider name, e.g. "openai".
        model: Model name, without the provider.
        status: HTTP status, or None if no response arrived.
        retry_after: Seconds that the provider asks to wait, or None.

    Attributes:
        retryable: Whether the same call may succeed later without anyone changing anything.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after = retry_after


class LMAuthenticationError(LMError):
    """The provider rejected the API key (401, 403)."""


class LMNotFoundError(LMError):
    """The provider knows no such model, or the endpoint no such path (404)."""


class LMRequestError(LMError):
    """The provider refuses this very request, whereas another may do (400, 413, 422 …)."""


class LMContextLengthError(LMRequestError):
    """The request is longer than the model's context; a shorter one may do."""


class LMRateLimitError(LMError):
    """The provider asks for fewer requests (429)."""

    retryable = True


class LMProviderError(LMError):
    """The provider failed on its side (408, 409, 5xx)."""

    retryable = True


class LMConnectionError(LMError):
    """No complete answer arrived: unreachable, dropped or timed out."""

    retryable = True


class LMUnreachableError(LMConnectionError):
    """No connection came about: nobody listens at the address, or there is no such host."""


class LMTimeoutError(LMConnectionError):
    """No answer arrived in the time given: that of an attempt, or the deadline of the whole call."""


class LMUnavailableError(LMError):
    """The provider failed so often that it is left alone for a while, and nothing was sent.

    `retry_after` is the time in seconds until one call is let through to find out whether it works again.
    """

    retryable = True


class LMMalformedResponseError(LMError):
    """An answer arrived that is not what the provider's API promises."""

    retryable = True


class LMQuotaError(LMError):
    """The account's quota is spent (429, insufficient_quota): waiting does not help, paying does."""


class BudgetReachedError(LMError):
    """The budget given is used up, so the call was not sent. It says nothing of the program, and is never a score."""


class RetrievalError(DSPExError):
    """A search failed, or an index cannot be read, written or asked.

    Args:
        message: One sentence on what happened and what to do.
        retryable: Whether the same search may succeed later without anyone changing anything.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ToolFailedError(DSPExError):
    """A tool says that it could not do what it was asked, or took too long; a tool of yours may raise it, too."""


class AdapterParseError(DSPExError):
    """A model's answer does not hold the output fields asked for.

    Args:
        message: Which field is missing or wrong, and how.
        answer: The model's whole answer; the error's text quotes its beginning.
    """

    def __init__(self, message: str, *, answer: str) -> None:
        quoted = answer if len(answer) <= 500 else answer[:500] + " …"  # noqa: PLR2004 - a screenful
        super().__init__(f"{message}; the model answered: {quoted!r}")
        self.reason = message
        self.answer = answer


class MetricError(DSPExError):
    """A metric or a reward function raised, or returned something that is not a score.

    Args:
        message: Which one, on which row, and what it raised or returned.
        retryable: Whether another try may help, because it raised what a failing service causes.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


def may_pass(error: BaseException, *, code: Any) -> bool:
    """Whether what a user's code raised may be gone with the next try: an OSError, or a library's own error.

    Python's other exceptions, and the code's own, come again each time.

        assert may_pass(ConnectionResetError(), code="my_app.metrics")

    Args:
        error: What it raised.
        code: The function or class, or the name of its module.
    """
    module: str = code if isinstance(code, str) else getattr(code, "__module__", None) or ""
    kind = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or kind not in ("builtins", module.partition(".")[0])


class EvaluationError(DSPExError):
    """An evaluation cannot give a score; names the first rows that failed and why.

    Args:
        message: Why, and what to do.
        rows: Results of the rows that were finished, in their order, as many as are kept; see `RowResult`.
    """

    def __init__(self, message: str, *, rows: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class FineTuningError(DSPExError):
    """A fine-tuning job, or a trainer, ended without a model; says which, and what its provider said."""


class TrustError(DSPExError):
    """A worker was asked for what it was not told to trust: code of a package, code that differs, or a key's use.

    A key is used at addresses that the worker knows, and at no other that a run names.
    """


class CacheError(DSPExError):
    """The cache of answers cannot be read out, filled or emptied as asked. Calls to models never raise it."""


class ArtifactError(DSPExError):
    """The artifact store cannot be written to or read from.

    Attributes:
        lasts: Whether that has gone on for so long that a run should be parked, where somebody keeps count.
    """

    lasts: bool = False


class ArtifactAccessError(ArtifactError):
    """The store refuses this process: it rejects the credentials, grants no such right, or has no such bucket."""


class ArtifactMissingError(ArtifactError):
    """The store works, and does not hold what was asked for, or holds something else under its digest."""


class ServerSetupError(DSPExError):
    """No Temporal server could be found, downloaded or built; says what each attempt met."""


class TrackingError(DSPExError):
    """A tracking server such as MLflow does not take what it is told; the run that is told of goes on without."""


class RunError(DSPExError):
    """A durable run cannot be used as asked."""


class RunNotFoundError(RunError, InputError):
    """No run goes by that id on this server."""


class RunFailedError(RunError):
    """The run ended without a result."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dspex_core.errors import ConfigurationError, DatasetError, LMMalformedResponseError, LMRequestError
from dspex_core.lm import Endpoint, retrying
from dspex_core.seam import ENDED_WITHOUT_A_MODEL, FEWEST_EXAMPLES, TRAIN_KWARGS, FineTuningJob, LMConfig

if TYPE_CHECKING:
    import openai
    from openai.types import fine_tuning

_T = TypeVar("_T")

PAGE = 100
OPTIONS = frozenset({"suffix", "seed"})
"""Of `TRAIN_KWARGS`, those that are no hyperparameters."""
KEY, CLAIM = "dspex_work", "dspex_claim"
"""Metadata of a job: what its work is, and which try of which run asked for it."""


@dataclass(frozen=True)
class Work:
    """What is to be trained.

    Attributes:
        content: The examples, as JSON lines.
        digest: Digest of the content.
        examples: How many there are.
        train_kwargs: Hyperparameters, and OpenAI's `suffix` and `seed`.
        key: Equal for equal work only.
        claim: Equal in every try of one caller, and in no other's.
    """

    content: bytes
    digest: str
    examples: int
    train_kwargs: Mapping[str, Any]
    key: str
    claim: str

    @property
    def file_name(self) -> str:
        """What the uploaded examples are called."""
        return f"dspex-{self.digest[:32]}.jsonl"


class OpenAIJobs:
    """Fine-tuning jobs of OpenAI, or of a server that speaks its API.

    A job carries in its metadata what its work is, and is looked for by that before one is created: OpenAI's API knows
    no idempotency keys, and a process may end between a job's creation and the moment it learns the job's id.

    Args:
        lm: The model that is trained.
        timeout_seconds: Longest wait for one answer.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, lm: LMConfig, *, timeout_seconds: float) -> None:
        self._lm = lm
        asked = lm.model_copy(update={"timeout_seconds": timeout_seconds})
        self._endpoint = Endpoint(asked, api_key=None)

    async def start(self, work: Work) -> FineTuningJob:
        """The job that does this work: one that is there already, or a new one.

        Raises:
            ConfigurationError: If an option is none of OpenAI's.
            DatasetError: If there are too few examples.
            LMError: If no answer came after all retries that make sense.
        """
        options = _options(work.train_kwargs)
        if work.examples < FEWEST_EXAMPLES:
            raise DatasetError(
                f"{work.examples} examples to train {self._lm.model} on: OpenAI takes no fewer than {FEWEST_EXAMPLES}"
            )

        async def attempt(client: "openai.AsyncOpenAI") -> FineTuningJob:
            # Each attempt looks first: the one before may have created the job, and lost the answer.
            found = await _job_of(client, work) or await client.fine_tuning.jobs.create(
                model=self._lm.name,
                training_file=await _file_of(client, work),
                metadata={KEY: work.key, CLAIM: work.claim},
                **options,
            )
            return self._told(found, examples=work.examples)

        async with self._open():
            return await self._call(attempt)

    async def follow(self, job: FineTuningJob) -> FineTuningJob:
        """Where a job stands."""
        async with self._open():
            return await self._asked(job)

    async def cancel(self, job: FineTuningJob) -> None:
        """End a job."""
        async with self._open():
            try:
                await self._call(lambda client: client.fine_tuning.jobs.cancel(job.job_id))
            except LMRequestError:
                if not (await self._asked(job)).ended:
                    raise

    async def _asked(self, job: FineTuningJob) -> FineTuningJob:
        async def ask(client: "openai.AsyncOpenAI") -> FineTuningJob:
            return self._told(await client.fine_tuning.jobs.retrieve(job.job_id), examples=job.examples)

        return await self._call(ask)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        await self._endpoint.open()
        try:
            yield
        finally:
            await self._endpoint.close()

    async def _call(self, work: "Callable[[openai.AsyncOpenAI], Awaitable[_T]]") -> _T:
        async for attempt in retrying():
            with attempt:
                return await self._endpoint.call(work)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _told(self, job: "fine_tuning.FineTuningJob", *, examples: int) -> FineTuningJob:
        # A server may send any JSON under status 200, and the SDK checks none of it.
        if not isinstance(job.id, str) or not isinstance(job.status, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._endpoint.error(LMMalformedResponseError, "an answer that is no fine-tuning job")
        tuned = None
        if job.status == "succeeded":
            if not job.fine_tuned_model:
                raise self._endpoint.error(LMMalformedResponseError, f"{job.id} succeeded, and names no model")
            tuned = self._lm.model_copy(update={"model": f"{self._lm.provider}/{job.fine_tuned_model}"})
        reason = job.error.message if job.error is not None and job.error.message else ""
        return FineTuningJob(
            job_id=job.id, lm=self._lm, status=job.status, examples=examples, tuned=tuned, reason=reason
        )


async def _job_of(client: "openai.AsyncOpenAI", work: Work) -> "fine_tuning.FineTuningJob | None":
    """The newest job of this work that may still give a model, or ended without one for this very caller."""
    async for job in client.fine_tuning.jobs.list(limit=PAGE, metadata={KEY: work.key}):
        marks = job.metadata or {}
        useful = job.status not in ENDED_WITHOUT_A_MODEL or marks.get(CLAIM) == work.claim
        if marks.get(KEY) == work.key and useful:
            return job
    return None


async def _file_of(client: "openai.AsyncOpenAI", work: Work) -> str:
    """The id of the uploaded examples; uploaded now, if they are not there."""
    async for file in client.files.list(purpose="fine-tune", limit=PAGE):
        if file.filename == work.file_name and file.bytes == len(work.content) and file.status != "error":
            return file.id
    stored = await client.files.create(file=(work.file_name, work.content), purpose="fine-tune")
    return stored.id


def _options(train_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `fine_tuning.jobs.create`."""
    if unknown := sorted(train_kwargs.keys() - TRAIN_KWARGS):
        known = ", ".join(sorted(TRAIN_KWARGS))
        raise ConfigurationError(f"train_kwargs: OpenAI's fine-tuning takes no {unknown[0]!r}; it takes {known}")
    options: dict[str, Any] = {name: value for name, value in train_kwargs.items() if name in OPTIONS}
    hyperparameters = {name: value for name, value in train_kwargs.items() if name not in OPTIONS}
    if hyperparameters:
        options["method"] = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    return options

"""OpenAI's fine-tuning jobs, whose models have the rows they were trained on as their demos."""

import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from dspex_core.testing.fake_provider import _openai
from dspex_core.testing.fake_provider._exchange import NOT_JSON, Refusal, invalid
from dspex_core.testing.fake_provider._files import Files, page
from dspex_core.testing.fake_provider._training import Memory, Training, read_training

_EPOCHS = 3
_FILTER = "metadata["
_ENDED = ("succeeded", "failed", "cancelled")

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Supervised(BaseModel):
    """Options of supervised training."""

    hyperparameters: dict[str, Any] = {}


class Method(BaseModel):
    """How to train."""

    supervised: Supervised = Supervised()


class JobRequest(BaseModel):
    """The part of a /v1/fine_tuning/jobs body that is read."""

    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: int | None = None
    metadata: dict[str, str] | None = None
    hyperparameters: dict[str, Any] | None = None
    method: Method | None = None

    def hyperparameters_used(self) -> dict[str, Any]:
        """Those asked for, by either way in which they can be, and defaults."""
        asked = self.hyperparameters or (self.method.supervised.hyperparameters if self.method else {})
        return {"n_epochs": _EPOCHS, "batch_size": 1, "learning_rate_multiplier": 1.0} | asked


@dataclass
class Job:
    """One job, which gets on each time it is asked about."""

    job_id: str
    request: JobRequest
    training: Training | str
    polls: int
    created: int
    status: Status = "queued"
    asked: int = 0
    finished: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        self._tell(f"Created fine-tuning job: {self.job_id}")

    @property
    def model_name(self) -> str:
        """What the model that comes out is called."""
        return f"ft:{self.request.model}:fake:{self.request.suffix or ''}:{self.job_id[-8:]}"

    def get_on(self) -> None:
        """Somebody has asked: half the polls are spent queued, the rest running."""
        if self.status in _ENDED:
            return
        self.asked += 1
        if isinstance(self.training, str):
            self._end("failed", f"The job failed due to an invalid training file. {self.training}")
        elif self.asked > self.polls:
            self._end("succeeded", f"New fine-tuned model created: {self.model_name}")
        elif self.status == "queued" and 2 * self.asked > self.polls:
            self.status = "running"
            self._tell("Fine-tuning job started")

    def cancel(self) -> bool:
        """End the job early; false if it had ended."""
        if self.status in _ENDED:
            return False
        self._end("cancelled", "Fine-tuning job cancelled")
        return True

    def document(self) -> dict[str, Any]:
        """The job as the API describes it."""
        succeeded = self.status == "succeeded" and isinstance(self.training, Training)
        epochs = self.request.hyperparameters_used()
        error = None
        if self.status == "failed":
            error = {"code": "invalid_training_file", "message": str(self.training), "param": "training_file"}
        return {
            "id": self.job_id,
            "object": "fine_tuning.job",
            "created_at": self.created,
            "finished_at": self.finished,
            "status": self.status,
            "model": self.request.model,
            "fine_tuned_model": self.model_name if succeeded else None,
            "training_file": self.request.training_file,
            "validation_file": self.request.validation_file,
            "trained_tokens": _EPOCHS * self.training.tokens
            if isinstance(self.training, Training) and succeeded
            else None,
            "organization_id": "org-fake",
            "result_files": [],
            "seed": self.request.seed or 0,
            "error": error,
            "estimated_finish": None,
            "hyperparameters": epochs,
            "integrations": [],
            "metadata": self.request.metadata,
            "method": {"type": "supervised", "supervised": {"hyperparameters": epochs}},
        }

    def _end(self, status: Status, message: str) -> None:
        self.status, self.finished = status, int(time.time())
        self._tell(message, level="error" if status == "failed" else "info")

    def _tell(self, message: str, *, level: str = "info") -> None:
        self.events.append(
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{self.job_id[-8:]}{len(self.events)}",
                "created_at": int(time.time()),
                "level": level,
                "message": message,
                "data": None,
                "type": "message",
            }
        )


class FineTuning:
    """The jobs of one provider, and the models that came out of them. Belongs to one event loop.

    Args:
        files: Where training files are uploaded to.
        polls: How often a job is asked about before it has succeeded.
    """

    def __init__(self, files: Files, *, polls: int) -> None:
        self._files = files
        self._polls = polls
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)

    def models(self) -> dict[str, Memory]:
        """What each model that came out has learnt, by the model's name."""
        return {
            job.model_name: job.training.memory
            for job in self._jobs.values()
            if job.status == "succeeded" and isinstance(job.training, Training)
        }

    def routes(self) -> list[web.RouteDef]:
        """The endpoints under /v1/fine_tuning/jobs."""
        return [
            web.post("/v1/fine_tuning/jobs", self._create),
            web.get("/v1/fine_tuning/jobs", self._list),
            web.get("/v1/fine_tuning/jobs/{id}", self._get),
            web.get("/v1/fine_tuning/jobs/{id}/events", self._list_events),
            web.post("/v1/fine_tuning/jobs/{id}/cancel", self._cancel),
        ]

    async def _create(self, request: web.Request) -> web.StreamResponse:
        try:
            body: Any = json.loads(await request.read())
            wanted = JobRequest.model_validate(body)
        except ValidationError as error:
            return _openai.refuse(invalid(error))
        except ValueError:
            return _openai.refuse(NOT_JSON)
        for name, file_id in (("training_file", wanted.training_file), ("validation_file", wanted.validation_file)):
            if file_id is not None and self._files.content(file_id) is None:
                return _openai.refuse(Refusal(400, f"invalid {name}: {file_id}", param=name))
        job_id = f"ftjob-{next(self._numbers):024d}"
        training = read_training(self._files.content(wanted.training_file) or b"")
        self._jobs[job_id] = Job(job_id, wanted, training, self._polls, int(time.time()))
        return web.json_response(self._jobs[job_id].document())

    async def _list(self, request: web.Request) -> web.StreamResponse:
        wanted = {
            name.removeprefix(_FILTER).removesuffix("]"): value
            for name, value in request.query.items()
            if name.startswith(_FILTER)
        }
        found = [job for job in self._jobs.values() if wanted.items() <= (job.request.metadata or {}).items()]
        return page([job.document() for job in reversed(found)], request)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        job = self._found(request)
        if not isinstance(job, Job):
            return job
        job.get_on()
        return web.json_response(job.document())

    async def _list_events(self, request: web.Request) -> web.StreamResponse:
        job = self._found(request)
        return page(job.events[::-1], request) if isinstance(job, Job) else job

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job = self._found(request)
        if not isinstance(job, Job):
            return job
        if not job.cancel():
            text = f"Job {job.job_id} has already ended: its status is {job.status}."
            return _openai.refuse(Refusal(400, text, code="invalid_request"))
        return web.json_response(job.document())

    def _found(self, request: web.Request) -> Job | web.Response:
        job_id = request.match_info["id"]
        missing = Refusal(404, f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tune_id")
        return self._jobs.get(job_id) or _openai.refuse(missing)

import hashlib
import json
import uuid
from typing import Any

from dspex_core.errors import ConfigurationError
from dspex_core.modules import Module
from dspex_core.references import CodeReference, import_code
from dspex_core.seam import FineTuningJob, FineTuningRequest, LMConfig, current_payer
from dspex_core.training._chats import chats
from dspex_core.training._local import trained_here
from dspex_core.training._openai import OpenAIJobs, Work

UPLOAD_SECONDS = 600.0


async def start_job(program: Module, request: FineTuningRequest, lm: LMConfig) -> FineTuningJob:
    """Start training, or find the job that does this very work already; see `Runtime.start_fine_tuning`.

    Args:
        program: Its predictors write the examples.
        request: What to train on, and how. A trainer that is named is imported, whatever its package.
        lm: The model to train.
    """
    content = chats(program, request.steps)
    digest = hashlib.sha256(content).hexdigest()
    if request.trainer is None:
        jobs = _jobs_of(lm, timeout_seconds=UPLOAD_SECONDS)
        described = [lm.model, digest, request.train_kwargs]
        work = Work(content, digest, len(request.steps), request.train_kwargs, key=_key(described), claim=_claim())
        return await jobs.start(work)
    trainer = request.trainer
    if isinstance(trainer, CodeReference):
        trainer = import_code(trainer, trust=None, what="trainer")
    made_by = [getattr(trainer, name, "") for name in ("__module__", "__qualname__")]
    job_id = _key([lm.model, made_by, digest, request.train_kwargs])
    return await trained_here(trainer, content, request, lm, job_id=job_id)


async def follow_job(job: FineTuningJob) -> FineTuningJob:
    """Where a job stands now; see `Runtime.follow_fine_tuning`."""
    return job if job.ended else await _jobs_of(job.lm, timeout_seconds=job.lm.timeout_seconds).follow(job)


async def cancel_job(job: FineTuningJob) -> None:
    """End a job early; see `Runtime.cancel_fine_tuning`."""
    if not job.ended:
        await _jobs_of(job.lm, timeout_seconds=job.lm.timeout_seconds).cancel(job)


def _jobs_of(lm: LMConfig, *, timeout_seconds: float) -> OpenAIJobs:
    if lm.provider != "openai":
        raise ConfigurationError(
            f"{lm.model}: models are fine-tuned at OpenAI, or servers that speak its API; for others give "
            "BootstrapFinetune a trainer=…"
        )
    return OpenAIJobs(lm, timeout_seconds=timeout_seconds)


def _key(described: list[Any]) -> str:
    """What the work is, as a short text: equal for equal work only, in every process."""
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _claim() -> str:
    """Who asks: the same in every try of one piece of work."""
    payer = current_payer()
    return hashlib.sha256(payer.name.encode()).hexdigest()[:32] if payer else uuid.uuid4().hex

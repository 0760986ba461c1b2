import inspect
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from dspex_core.errors import ConfigurationError, FineTuningError
from dspex_core.evaluate import describe
from dspex_core.home import home
from dspex_core.seam import FineTuningJob, FineTuningRequest, LMConfig, TrainedModel, Trainer
from dspex_core.synchronous import in_thread


async def trained_here(
    trainer: Trainer, content: bytes, request: FineTuningRequest, lm: LMConfig, *, job_id: str
) -> FineTuningJob:
    """Have a trainer of a user's own train a model, and wait for it.

    Raises:
        FineTuningError: If it raised, or gave no model.
    """
    name = getattr(trainer, "__qualname__", type(trainer).__name__)
    data = _written(content, job_id)

    def call() -> Any:
        return trainer(data, model=lm.name, job_id=job_id, **request.train_kwargs)

    try:
        made = await _called(trainer, call)
    except Exception as error:
        raise FineTuningError(f"the trainer {name} failed on {data}: {describe(error)}") from error
    job = FineTuningJob(job_id=job_id, lm=lm, status="succeeded", examples=len(request.steps))
    return job.model_copy(update={"tuned": _tuned(made, lm, trainer=name)})


async def _called(trainer: Trainer, call: Any) -> Any:
    asynchronous = inspect.iscoroutinefunction(trainer) or inspect.iscoroutinefunction(
        getattr(trainer, "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine function
    )
    made = call() if asynchronous else await in_thread(call)
    return await made if inspect.isawaitable(made) else made


def _written(content: bytes, job_id: str) -> Path:
    folder = home() / "fine-tuning"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job_id}.jsonl"
    path.write_bytes(content)
    return path


def _tuned(made: Any, lm: LMConfig, *, trainer: str) -> LMConfig:
    model = TrainedModel(model=made) if isinstance(made, str) else made
    if not isinstance(model, TrainedModel):
        kind = type(cast("object", made)).__name__
        raise FineTuningError(
            f"the trainer {trainer} returned a {kind}: return TrainedModel(model=…, api_base=…), or the model's name"
        )
    given: dict[str, Any] = {name: getattr(lm, name) for name in LMConfig.model_fields}
    known = model.model.startswith(f"{lm.provider}/")
    changed: dict[str, Any] = {"model": model.model if known else f"{lm.provider}/{model.model}"}
    if model.api_base is not None:
        changed["api_base"] = model.api_base
    try:
        return LMConfig(**given | changed)
    except (ValidationError, ConfigurationError) as error:
        raise FineTuningError(f"the trainer {trainer} returned {model!r}, which cannot be called: {error}") from None

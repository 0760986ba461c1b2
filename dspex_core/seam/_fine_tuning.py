from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from dspex_core.references import CodeReference
from dspex_core.seam._lm import LMConfig


class TrainedModel(BaseModel):
    """What a trainer made.

        made = TrainedModel(model="openai/mine", api_base="http://127.0.0.1:8000/v1")

    Attributes:
        model: How it is called: provider and model, or the model alone, served as the one it was made from is.
        api_base: Address of the server that serves it; None for that of the model it was made from.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    api_base: str | None = None


class Trainer(Protocol):
    """Trains a model on this machine, or wherever it likes; a function of a user's own, sync or async.

        def train(data, *, model, job_id, n_epochs=3):
            print(f"{n_epochs} epochs of {model} on the chats in {data}")
            return TrainedModel(model="openai/mine", api_base="http://127.0.0.1:8000/v1")

    A worker that is killed while it trains leaves the work to another one, which calls it again with the same
    arguments: one that keeps what it has done under `job_id` goes on from there.
    """

    def __call__(
        self, data: Path, *, model: str, job_id: str, **train_kwargs: Any
    ) -> "TrainedModel | str | Awaitable[TrainedModel | str]":
        """Train.

        Args:
            data: The examples: chats as JSON lines, each `{"messages": [{"role": …, "content": …}, …]}`.
            model: The model to start from, without its provider.
            job_id: The same for the same work, whoever does it and whenever.
            **train_kwargs: The optimizer's `train_kwargs`.

        Returns:
            The model made, or its name alone.
        """
        ...


class TrainingStep(BaseModel):
    """What a predictor was given and is to answer: one example to train on.

    Attributes:
        predictor: Its name in the program.
        values: Inputs and outputs by field name, as JSON values.
    """

    model_config = ConfigDict(frozen=True)

    predictor: str
    values: dict[str, Any]


class FineTuningRequest(BaseModel):
    """What to train a model on, and how.

    Attributes:
        steps: The examples.
        lm: The model to train; None for the runtime's own.
        train_kwargs: Hyperparameters and the like, as the provider or the trainer takes them.
        trainer: Who trains; None for the model's provider.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    steps: tuple[TrainingStep, ...]
    lm: LMConfig | None = None
    train_kwargs: dict[str, Any] = {}
    trainer: CodeReference | Callable[..., Any] | None = None


ENDED_WITHOUT_A_MODEL = frozenset({"failed", "cancelled"})

FEWEST_EXAMPLES = 10
"""Examples that a provider takes at least; a trainer of a user's own may take fewer."""

TRAIN_KWARGS = frozenset({"n_epochs", "batch_size", "learning_rate_multiplier", "suffix", "seed"})
"""What a provider takes as `train_kwargs`; a trainer takes what it likes."""


class FineTuningJob(BaseModel):
    """A fine-tuning job, as it stood when it was last asked about.

    Attributes:
        job_id: What its provider calls it.
        lm: The model that is trained.
        status: The provider's word for where it stands.
        examples: How many examples it trains on.
        tuned: The model that came out, called as the one it was made from is; None if there is none yet.
        reason: Why there will be none.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    lm: LMConfig
    status: str
    examples: int
    tuned: LMConfig | None = None
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.tuned is not None or self.status in ENDED_WITHOUT_A_MODEL

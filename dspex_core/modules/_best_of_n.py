import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from dspex_core.errors import AdapterParseError, InputError
from dspex_core.modules._module import Module
from dspex_core.record import Prediction
from dspex_core.seam import rolled_out

Reward = Callable[[dict[str, Any], Prediction], float | Awaitable[float]]
"""How good a prediction is, given the inputs; higher is better. One that asks a model is async."""


class BestOfN(Module):
    """Runs a module up to `n` times, each a fresh sample, and keeps the prediction with the highest reward.

    Args:
        module: What to run.
        n: Most tries; each after the first is at temperature 1.
        reward: Scores a prediction; it sees the inputs too.
        threshold: A reward that is good enough to stop at.

    A try whose answer cannot be read counts as a try without a prediction.

    Raises:
        InputError: If `n` is not positive.
        AdapterParseError: When called, if no try gave a readable answer.

    Source: DSPy's module of that name; Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", section 4.
    """

    def __init__(self, module: Module, n: int, reward: Reward, *, threshold: float) -> None:
        if n < 1:
            raise InputError(f"BestOfN: n={n}; at least one try is needed")
        self.module = module
        self.n = n
        self.reward = reward
        self.threshold = threshold

    async def forward(self, **inputs: Any) -> Prediction:
        """Try until one is good enough, or all are done."""
        best: tuple[float, Prediction] | None = None
        unread: AdapterParseError | None = None
        for number in range(self.n):
            try:
                with rolled_out(number):
                    prediction = await self.module(**inputs)
            except AdapterParseError as error:
                unread = error
                continue
            verdict = self.reward(inputs, prediction)
            reward = await verdict if inspect.isawaitable(verdict) else verdict
            if best is None or reward > best[0]:
                best = (reward, prediction)
            if reward >= self.threshold:
                break
        if best is None:
            raise unread or InputError("BestOfN made no try")
        return best[1]

    def input_names(self) -> dict[str, bool] | None:
        """What the module takes."""
        return self.module.input_names()

    def output_names(self) -> set[str]:
        """What the module gives."""
        return self.module.output_names()

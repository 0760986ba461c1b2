from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dspex_core.modules._bounded import bounded
from dspex_core.modules._module import Module
from dspex_core.record import Example, Prediction


class Parallel:
    """Runs several modules, each on inputs of its own, at the same time.

        summary, topic = await Parallel()([(summarize, {"text": text}), (classify, {"text": text})])

    Args:
        concurrency: Most of them in flight at once.
    """

    def __init__(self, concurrency: int = 64) -> None:
        self.concurrency = concurrency

    async def __call__(self, pairs: Sequence[tuple[Module, Mapping[str, Any] | Example]]) -> list[Prediction]:
        """Run the pairs of module and inputs.

        Returns:
            Predictions in the order of the pairs.

        Raises:
            DSPExError: The first error met, once the calls under way are done.
        """
        calls = [
            partial(module, **(inputs.inputs() if isinstance(inputs, Example) else inputs)) for module, inputs in pairs
        ]
        return await bounded(calls, concurrency=self.concurrency)

from typing import Any

from dspex_core.errors import LMContextLengthError
from dspex_core.modules._module import Module
from dspex_core.record import Prediction
from dspex_core.tools import as_text

SHORTEST_OBSERVATION = 200
"""Characters of an observation that are shown whatever the context's length."""


class Trajectory:
    """The steps of an agent so far, of which the model sees the latest."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []
        self._first_shown = 0
        self._forgotten_at_once = 1
        self._longest_shown: int | None = None

    def add(self, step: dict[str, Any]) -> None:
        """One more step, as fields by name; the last of them is what was observed, as text."""
        self._steps.append(step)

    async def ask(self, module: Module, inputs: dict[str, Any]) -> Prediction:
        """Show a module the steps; if they outgrow the model's context, as few as it takes.

        Raises:
            LMContextLengthError: If not even the beginning of one step fits.
        """
        while True:
            try:
                return await module(**inputs, trajectory=self.text())
            except LMContextLengthError:
                if not self.show_less():
                    raise

    def show_less(self) -> bool:
        """Leave out the oldest step, and twice as many each time that this is not enough.

        Of the last one, what was observed is cut in half. False if there is little left to cut.
        """
        last = len(self._steps) - 1
        if self._first_shown < last:
            self._first_shown = min(last, self._first_shown + self._forgotten_at_once)
            self._forgotten_at_once *= 2
            return True
        longest = self._longest_shown or (len(list(self._steps[last].values())[-1]) if self._steps else 0)
        if longest < 2 * SHORTEST_OBSERVATION:
            return False
        self._longest_shown = longest // 2
        return True

    def fields(self) -> dict[str, Any]:
        """All steps: their fields, each with the number of its step."""
        return self._fields(0)

    def text(self) -> str:
        """What is shown of the steps, in the wire format of fields."""
        shown = self._fields(self._first_shown)
        return "\n\n".join(f"[[ ## {name} ## ]]\n{self._cut(as_text(value))}" for name, value in shown.items())

    def _cut(self, text: str) -> str:
        return text if self._longest_shown is None else _cut(text, self._longest_shown)

    def _fields(self, first: int) -> dict[str, Any]:
        return {
            f"{name}_{number}": value
            for number, step in enumerate(self._steps)
            if number >= first
            for name, value in step.items()
        }


async def ask_with_less(module: Module, inputs: dict[str, Any], **observed: str) -> Prediction:
    """Ask a module; what was observed is cut in half as often as it takes to fit the model's context.

    Raises:
        LMContextLengthError: If not even its beginning fits.
    """
    longest = max(map(len, observed.values()))
    while True:
        try:
            return await module(**inputs, **{name: _cut(text, longest) for name, text in observed.items()})
        except LMContextLengthError:
            if longest < 2 * SHORTEST_OBSERVATION:
                raise
            longest //= 2


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters are not shown)"

"""What DSPy takes for its LM. Imported where DSPy is at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from dspex_core.errors import LMContextLengthError, ProgramError
from dspex_core.modules.dspy_program._library import library
from dspex_core.modules.dspy_program._run import SETTING, ModelCalls
from dspex_core.seam import LMConfig

_dspy: Any = library()
_Base: Any = _dspy.BaseLM


class Bridge(_Base):
    """Hands DSPy's calls to the run that they are of: cache, retries and accounting are ours, and DSPy's are left out.

    It holds nothing but which model to ask, so the program may copy it as it likes.

    Args:
        config: The model to ask; None for the one in force.
    """

    def __init__(self, config: LMConfig | None) -> None:
        _Base.__init__(self, model=config.model if config else "dspex/in-force", cache=False, num_retries=0)
        self.config = config

    def __call__(
        self, prompt: str | None = None, *, messages: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> list[Any]:
        """Ask from synchronous code."""
        try:
            return _calls().ask(_chat(prompt, messages), {**self.kwargs, **options}, self.config)
        except LMContextLengthError as error:
            raise _too_long(error) from error

    async def acall(
        self, prompt: str | None = None, *, messages: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> list[Any]:
        """Ask from a coroutine."""
        try:
            return await _calls().ask_async(_chat(prompt, messages), {**self.kwargs, **options}, self.config)
        except LMContextLengthError as error:
            raise _too_long(error) from error


def _calls() -> ModelCalls:
    calls = _dspy.settings.get(SETTING)
    if calls is None:
        raise ProgramError(
            "this DSPy program calls a model from a thread that DSPy did not start, where none of its settings hold: "
            "start threads with dspy.Parallel or dspy.asyncify"
        )
    return calls


def _chat(prompt: Any, messages: Sequence[Mapping[str, Any]] | None) -> Sequence[Mapping[str, Any]]:
    if messages is not None:
        return messages
    if not isinstance(prompt, str):
        raise ProgramError(f"a DSPy program asks a model with a {type(prompt).__name__}: a text or messages are taken")
    return [{"role": "user", "content": prompt}]


def _too_long(error: LMContextLengthError) -> Exception:
    """As DSPy says it, so that its modules shorten what they ask."""
    return _dspy.ContextWindowExceededError(model=error.model, message=str(error))

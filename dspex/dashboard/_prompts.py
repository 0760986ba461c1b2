from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from dspex_core import events
from dspex_core.errors import DSPExError
from dspex_core.events import Event
from dspex_core.lm import LM
from dspex_core.modules import Module, build_program
from dspex_core.record import Prediction
from dspex_core.requests import ProgramOutline
from dspex_core.seam import LMConfig, LMRequest, LMResponse, Program, scoped_runtime


@dataclass(frozen=True)
class Asked:
    """One call to a model.

    Attributes:
        model: Provider and model.
        messages: Role and text of each message, exactly as sent.
        answer: What the model said; None if the cache does not have it.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    answer: str | None


async def prompts_of(
    outline: ProgramOutline, inputs: Mapping[str, Any], lm: LMConfig
) -> tuple[list[Asked], str | None]:
    """What a program asked models on these inputs, found out by running it again on answers from the cache alone.

    A program of this library's own modules asks what it asked before. A user's own code is not run here.

    Returns:
        The calls, up to the first whose answer the cache does not have, and why there are no more, if that is known.
    """
    runtime = _Recalling(lm)
    try:
        program = build_program(outline.structure, trust=(), import_tools=False).with_state(outline.state)
        with scoped_runtime(runtime), events.muted():
            await program(**inputs)
    except _NotKnownError as error:
        return runtime.asked, str(error)
    except DSPExError as error:
        return runtime.asked, str(error)
    except Exception as error:  # noqa: BLE001 - the row itself says what became of it; a program may fail in any way
        return runtime.asked, f"the program failed here: {type(error).__name__}"
    return runtime.asked, None


class _NotKnownError(Exception):
    """What comes next depends on something that only the run itself could find out."""


class _Recalling:
    """A runtime that asks nobody: it knows what the cache knows."""

    def __init__(self, lm: LMConfig) -> None:
        self._lm = lm
        self.asked: list[Asked] = []

    async def generate(self, request: LMRequest) -> LMResponse:
        """The answer that the cache has."""
        config = request.lm or self._lm
        known = await LM.from_config(config).recall(request)
        messages = tuple((message.role, message.text) for message in request.messages)
        self.asked.append(Asked(config.model, messages, None if known is None else known.text))
        if known is None:
            raise _NotKnownError("The answer is not in the cache of the machine that serves this page.")
        return known

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """The same, in one piece."""
        yield await self.generate(request)

    async def run_part(self, part: Program, inputs: dict[str, Any], *, tries: int) -> Prediction:
        """The part's first try."""
        del tries
        return await cast("Module", cast("Any", part))(**inputs)

    def emit(self, event: Event) -> None:
        """Tell nobody."""

    def hears(self, kind: str) -> bool:
        """None of them."""
        del kind
        return False

    def _unknown(self, *_: Any, **__: Any) -> NoReturn:
        raise _NotKnownError("The program went on with a tool, a search or code: none of it is run again for a page.")

    evaluate = trace = rows = suggest = call_tool = run_code = retrieve = _unknown
    start_fine_tuning = follow_fine_tuning = cancel_fine_tuning = _unknown

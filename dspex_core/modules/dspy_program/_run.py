"""One run of a DSPy program: its calls find their way to the models in force from wherever DSPy makes them."""

import asyncio
import contextvars
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dspex_core.evaluate import is_outage
from dspex_core.modules.dspy_program._calls import output_of, requests_of
from dspex_core.modules.dspy_program._library import library
from dspex_core.seam import LMConfig, current_runtime, record_step
from dspex_core.synchronous import in_thread, run_synchronously

SETTING = "dspex_run"
"""Where DSPy's settings hold the run: DSPy hands them on to its threads, as it does no context variable."""
NAME = "_dspex_name"
"""Where a predictor's name is kept, so that a copy that the program makes of it is known, too."""


class ModelCalls:
    """The calls of one run. Made where the run is to happen, it remembers what was in force there.

    An error of infrastructure ends the run, whatever the program makes of it: what it would answer without that model
    says nothing of the program.

    Args:
        loop: The loop that an asynchronous program runs on; None for one that runs in a thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._context = contextvars.copy_context()
        self._loop = loop
        self._outage: Exception | None = None

    def raise_outage(self) -> None:
        """Raise the error of infrastructure that was met, if one was."""
        if self._outage is not None:
            raise self._outage

    def ask(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], lm: LMConfig | None) -> list[Any]:
        """Ask from synchronous code, in whatever thread; the outputs are DSPy's."""
        return self._context.copy().run(lambda: run_synchronously(self._answers(messages, options, lm)))

    async def ask_async(
        self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], lm: LMConfig | None
    ) -> list[Any]:
        """Ask from a coroutine; from another loop than the run's, in a thread: connections belong to a loop."""
        if asyncio.get_running_loop() is self._loop:
            return await self._answers(messages, options, lm)
        return await asyncio.to_thread(self.ask, messages, options, lm)

    async def _answers(
        self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any], lm: LMConfig | None
    ) -> list[Any]:
        self.raise_outage()
        runtime = current_runtime()
        in_force = getattr(getattr(runtime, "lm", None), "config", None)
        try:
            requests = requests_of(messages, options, lm=lm, in_force=in_force)
            return [output_of(found) for found in await asyncio.gather(*map(runtime.generate, requests))]
        except Exception as error:
            if is_outage(error) and self._outage is None:
                self._outage = error
            raise


async def run_module(module: Any, inputs: dict[str, Any], predictors: Mapping[str, Any]) -> Any:
    """Call a DSPy module with our models in force, and record what its predictors saw and said.

    One whose `forward` is synchronous runs in a thread of its own.

    Args:
        module: The module, each of whose predictors holds its name.
        inputs: Its inputs.
        predictors: What stands for each predictor in our traces, by name.

    Returns:
        What it returns.

    Raises:
        DSPExError: If a model could not be reached.
        Exception: Whatever the program raises.
    """
    kind: type[Any] = module.__class__
    if not hasattr(kind, "forward") and hasattr(kind, "aforward"):
        calls = ModelCalls(asyncio.get_running_loop())
        with _watched(calls, predictors):
            return await module.acall(**inputs)

    def run() -> Any:
        calls = ModelCalls()
        with _watched(calls, predictors):
            return module(**inputs)

    return await in_thread(run)


@contextmanager
def _watched(calls: ModelCalls, predictors: Mapping[str, Any]) -> Generator[None]:
    from dspex_core.modules.dspy_program._bridge import Bridge  # noqa: PLC0415 - it needs DSPy

    trace: list[tuple[Any, dict[str, Any], Any]] = []
    # The history would hold every prompt of a compile in memory.
    settings = {"lm": Bridge(None), "trace": trace, "disable_history": True, SETTING: calls}
    try:
        with library().context(**settings):
            yield
    except Exception:
        calls.raise_outage()
        raise
    finally:
        for predictor, inputs, outputs in trace:
            name = getattr(predictor, NAME, "")
            if name in predictors:
                record_step((predictors[name], dict(inputs), fields_of(outputs)))
    calls.raise_outage()


def fields_of(record: Any) -> dict[str, Any]:
    """Values of a DSPy example or prediction by name."""
    return {name: record[name] for name in record.keys()}  # noqa: SIM118 - its own iterator may leave fields out

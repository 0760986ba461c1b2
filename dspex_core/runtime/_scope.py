from collections.abc import Generator
from contextlib import contextmanager

from dspex_core.errors import ConfigurationError
from dspex_core.lm import LM
from dspex_core.runtime._in_process import InProcessRuntime
from dspex_core.seam import Retriever, Runtime, current_runtime, scoped_runtime, set_default_runtime


def configure(*, lm: LM, retriever: Retriever | None = None) -> None:
    """Set the process's default LM and retriever, once, at the start of a program; `using` wins over them."""
    set_default_runtime(InProcessRuntime(lm, retriever=retriever))


@contextmanager
def using(
    *, lm: LM | None = None, retriever: Retriever | None = None, runtime: Runtime | None = None
) -> Generator[Runtime]:
    """Put an LM, a retriever or a whole runtime in force for the block and the tasks started in it, and nothing else.

        with using(lm=LM("openai/gpt-4o-mini")):
            prediction = await triage(text="I was charged twice")

    Args:
        lm: The model that predictors ask.
        retriever: What `Retrieve` searches. Of the two, one that is not given stays as it is.
        runtime: What does everything; it brings a model and a retriever of its own.

    Raises:
        ConfigurationError: If nothing is given, or a runtime and something else.
    """
    if (lm is None and retriever is None) == (runtime is None):
        raise ConfigurationError("using(…) takes lm= and retriever=, or runtime=: one of the two")
    with scoped_runtime(runtime or _in_force_but(lm, retriever)) as scoped:
        yield scoped


def _in_force_but(lm: LM | None, retriever: Retriever | None) -> InProcessRuntime:
    try:
        before = current_runtime()
    except ConfigurationError:
        before = None
    if isinstance(before, InProcessRuntime):
        lm = before.lm if lm is None else lm
        retriever = before.retriever if retriever is None else retriever
    return InProcessRuntime(lm, retriever=retriever)

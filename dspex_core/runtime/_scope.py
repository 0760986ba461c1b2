from collections.abc import Generator
from contextlib import contextmanager

from dspex_core.errors import ConfigurationError
from dspex_core.lm import LM
from dspex_core.runtime._in_process import InProcessRuntime
from dspex_core.seam import Runtime, scoped_runtime, set_default_runtime


def configure(*, lm: LM) -> None:
    """Set the process's default LM, once, at the start of a program; `using` wins over it."""
    set_default_runtime(InProcessRuntime(lm))


@contextmanager
def using(*, lm: LM | None = None, runtime: Runtime | None = None) -> Generator[Runtime]:
    """Put an LM or a whole runtime in force for the block and the tasks started in it, and for nothing else.

        with using(lm=LM("openai/gpt-4o-mini")):
            prediction = await triage(text="I was charged twice")

    Raises:
        ConfigurationError: Unless exactly one of the two is given.
    """
    if (lm is None) == (runtime is None):
        raise ConfigurationError("using(…) takes lm= or runtime=, one of the two")
    with scoped_runtime(runtime or InProcessRuntime(lm)) as scoped:
        yield scoped

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from dspex_core.adapters import Adapter, checked_adapter
from dspex_core.errors import ConfigurationError
from dspex_core.lm import LM
from dspex_core.runtime._in_process import InProcessRuntime
from dspex_core.seam import (
    Approve,
    Retriever,
    Runtime,
    current_runtime,
    scoped_adapter,
    scoped_approver,
    scoped_runtime,
    set_default_adapter,
    set_default_approver,
    set_default_runtime,
)


def configure(
    *, lm: LM, retriever: Retriever | None = None, adapter: Adapter | None = None, approve: Approve | None = None
) -> None:
    """Set the process's default LM, retriever and adapter, once, at the start of a program; `using` wins over them.

        configure(lm=LM("openai/gpt-4o-mini"))

    Args:
        lm: The model that predictors ask.
        retriever: What `Retrieve` searches.
        adapter: How predictors that have no adapter of their own write prompts and read answers.
        approve: Asked about each call of a tool that needs approval; see `using`.

    Raises:
        ConfigurationError: If one of them is something else.
    """
    _check("configure", lm=lm, retriever=retriever, adapter=adapter, approve=approve)
    set_default_approver(approve)
    set_default_runtime(InProcessRuntime(lm, retriever=retriever))
    set_default_adapter(adapter.config if adapter else None)


@contextmanager
def using(
    *,
    lm: LM | None = None,
    retriever: Retriever | None = None,
    adapter: Adapter | None = None,
    runtime: Runtime | None = None,
    approve: Approve | None = None,
) -> Generator[None]:
    """Put an LM, a retriever, an adapter or a whole runtime in force for the block and the tasks started in it.

        with using(lm=LM("openai/gpt-4o-mini")):
            prediction = await triage(text="I was charged twice")

    Args:
        lm: The model that predictors ask.
        retriever: What `Retrieve` searches.
        adapter: How predictors that have no adapter of their own write prompts and read answers. Of these three, one
            that is not given stays as it is.
        runtime: What does everything; it brings a model and a retriever of its own.
        approve: Asked about each call of a tool that needs approval, with the `ToolCall`: its `tool.name` and `args`.
            Sync or async; gives True, False, or a `Decision` with a reason. A durable run asks by itself.

    Raises:
        ConfigurationError: If nothing is given, something that is no LM, retriever or adapter, or a runtime together
            with an LM or a retriever.
    """
    _check("using", lm=lm, retriever=retriever, adapter=adapter, approve=approve)
    parts = lm is not None or retriever is not None
    if parts and runtime is not None:
        raise ConfigurationError("using(…) takes lm= and retriever=, or runtime=: one of the two")
    if not parts and runtime is None and adapter is None and approve is None:
        raise ConfigurationError(
            "using(…) puts nothing in force: give it lm=, retriever=, adapter=, approve= or runtime="
        )
    with ExitStack() as scopes:
        if adapter is not None:
            scopes.enter_context(scoped_adapter(adapter.config))
        if approve is not None:
            scopes.enter_context(scoped_approver(approve))
        if parts or runtime is not None:
            scopes.enter_context(scoped_runtime(runtime or _in_force_but(lm, retriever)))
        yield


def _check(where: str, *, lm: Any, retriever: Any, adapter: Any, approve: Any) -> None:
    if lm is not None and not isinstance(lm, LM):
        example = f"LM({lm!r})" if isinstance(lm, str) else "LM('openai/gpt-4o-mini')"
        raise ConfigurationError(f"{where}(lm=…): {lm!r} is no LM; write {example}")
    if retriever is not None and (isinstance(retriever, type) or not isinstance(retriever, Retriever)):
        raise ConfigurationError(
            f"{where}(retriever=…): {retriever!r} is no retriever: it needs a method `async def search(self, query, k)`"
        )
    if adapter is not None:
        checked_adapter(adapter, where=f"{where}(adapter=…)")
    if approve is not None and not callable(approve):
        raise ConfigurationError(f"{where}(approve=…): {approve!r} is no function: it gets a ToolCall and gives a bool")


def _in_force_but(lm: LM | None, retriever: Retriever | None) -> InProcessRuntime:
    try:
        before = current_runtime()
    except ConfigurationError:
        before = None
    if isinstance(before, InProcessRuntime):
        return before.but(lm=lm, retriever=retriever)
    return InProcessRuntime(lm, retriever=retriever)

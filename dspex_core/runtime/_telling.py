"""Events of what the runtime does; nothing here is reached unless somebody subscribed to them."""

from collections.abc import Awaitable

from dspex_core.events import LMEnd, LMStart, RetrievalEnd, RetrievalStart, ToolCalled, ToolFinished
from dspex_core.lm import LM
from dspex_core.references import CodeReference
from dspex_core.seam import (
    LMRequest,
    LMResponse,
    Passage,
    Retriever,
    RetrieveRequest,
    ToldCall,
    ToolCall,
    ToolResult,
    plain,
)


def lm_call(lm: LM, request: LMRequest) -> ToldCall:
    """Tell that a model is asked."""
    return ToldCall(
        LMStart,
        LMEnd,
        {"model": lm.config.model},
        messages=plain(list(request.messages)),
        temperature=request.temperature,
        rollout_id=request.rollout_id,
    )


def end_lm_call(call: ToldCall, response: LMResponse) -> None:
    """Tell what it answered."""
    call.end(text=response.text, usage=response.usage, cached=response.usage.cached_calls > 0)


async def told_search(
    retriever: Retriever | CodeReference, request: RetrieveRequest, search: Awaitable[list[Passage]]
) -> list[Passage]:
    """Tell of a search, and what it finds."""
    name = retriever.path if isinstance(retriever, CodeReference) else type(retriever).__name__
    call = ToldCall(RetrievalStart, RetrievalEnd, {"retriever": name}, query=request.query, k=request.k)
    try:
        with call.inside():
            passages = await search
    except BaseException as error:
        call.fail(error)
        raise
    call.end(passages=[{"id": found.id, "score": float(found.score), "text": found.text} for found in passages])
    return passages


async def told_tool_call(tool_call: ToolCall, work: Awaitable[ToolResult]) -> ToolResult:
    """Tell of a tool's call, and what it gives."""
    call = ToldCall(ToolCalled, ToolFinished, {"tool": tool_call.tool.name}, args=plain(tool_call.args))
    try:
        with call.inside():
            result = await work
    except BaseException as error:
        call.fail(error, failed=True)
        raise
    call.end(text=result.text, failed=result.failed)
    return result

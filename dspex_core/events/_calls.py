from typing import Any, Literal

from pydantic import Field

from dspex_core.events._base import EventModel
from dspex_core.usage import Usage


class _Call(EventModel):
    """Something called something.

    Attributes:
        call_id: The same in the events of one call, and in no others of this process.
        parent_id: The call within which this one was made; None if there is none that is told of.
    """

    call_id: str
    parent_id: str | None = None


class _CallEnded(_Call):
    """A call ended.

    Attributes:
        seconds: How long it took.
        error: What went wrong, as "ErrorName: message"; None if nothing did.
    """

    seconds: float
    error: str | None = None


class ModuleStart(_Call):
    """A module was called with these inputs, as JSON values."""

    type: Literal["module_start"] = "module_start"
    module: str
    inputs: dict[str, Any] = Field(default={})


class ModuleEnd(_CallEnded):
    """A module is done. `usage` is that of all calls within it."""

    type: Literal["module_end"] = "module_end"
    module: str
    outputs: dict[str, Any] = Field(default={})
    usage: Usage = Usage()


class LMStart(_Call):
    """A model is asked; the answer may come from the cache.

    Attributes:
        model: Provider and model.
        messages: The exact messages, as role and content.
        temperature: None leaves it to the LM.
        rollout_id: Which fresh sample this is; None is the ordinary answer.
    """

    type: Literal["lm_start"] = "lm_start"
    model: str
    messages: list[dict[str, Any]] = Field(default=[])
    temperature: float | None = None
    rollout_id: int | None = None


class LMEnd(_CallEnded):
    """A model has answered, or failed after all retries."""

    type: Literal["lm_end"] = "lm_end"
    model: str
    text: str = ""
    cached: bool = False
    usage: Usage = Usage()


class ToolCalled(_Call):
    """A tool is called with the arguments that a model wrote."""

    type: Literal["tool_called"] = "tool_called"
    tool: str
    args: dict[str, Any] = Field(default={})


class ToolFinished(_CallEnded):
    """A tool is done. `text` is what the model reads; `failed` says that it is about a failure."""

    type: Literal["tool_finished"] = "tool_finished"
    tool: str
    text: str = ""
    failed: bool = False


class RetrievalStart(_Call):
    """A search began; `retriever` is where it is imported from, or its class."""

    type: Literal["retrieval_start"] = "retrieval_start"
    retriever: str
    query: str = ""
    k: int = 0


class RetrievalEnd(_CallEnded):
    """A search is done; `passages` has the id, score and text of each one found."""

    type: Literal["retrieval_end"] = "retrieval_end"
    retriever: str
    passages: list[dict[str, Any]] = Field(default=[])

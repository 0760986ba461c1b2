from typing import Literal

from pydantic import BaseModel, ConfigDict

from dspex_core.seam._lm import LMConfig

AdapterName = Literal["chat", "json", "xml", "two_step"]


class AdapterConfig(BaseModel):
    """How prompts are written and answers are read, as it is recorded in a program's state.

    Attributes:
        name: Which adapter.
        native_tools: Whether tools go through the provider's own function calling, where a signature has an input of
            tools and an output of type ToolCalls.
        structured_output: Whether the provider is asked to see to the answer's JSON schema; only "json" does.
        fallback: Adapters to ask with, one after the other, once this one's answers cannot be read.
        extraction_lm: The model that "two_step" reads answers with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: AdapterName = "chat"
    native_tools: bool = False
    structured_output: bool = False
    fallback: "tuple[AdapterConfig, ...]" = ()
    extraction_lm: LMConfig | None = None

"""Adapters: from a signature to a prompt, and from an answer to fields."""

from dspex_core.adapters._base import Adapter, Exchange, checked_adapter
from dspex_core.adapters._chat import ChatAdapter
from dspex_core.adapters._configured import adapter_of
from dspex_core.adapters._json import JSONAdapter
from dspex_core.adapters._streaming import FieldReader
from dspex_core.adapters._two_step import TwoStepAdapter
from dspex_core.adapters._xml import XMLAdapter

__all__ = [
    "Adapter",
    "ChatAdapter",
    "Exchange",
    "FieldReader",
    "JSONAdapter",
    "TwoStepAdapter",
    "XMLAdapter",
    "adapter_of",
    "checked_adapter",
]

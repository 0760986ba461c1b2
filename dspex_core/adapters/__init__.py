"""Adapters: from a signature to a prompt, and from an answer to fields."""

from dspex_core.adapters._chat import ChatAdapter

__all__ = ["ChatAdapter"]

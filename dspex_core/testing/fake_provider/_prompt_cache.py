"""The prompt cache: beginnings of prompts that were marked to be kept, and how much of one was known already."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dspex_core.testing.fake_provider._call import tokens
from dspex_core.testing.fake_provider._prompt import Message


@dataclass(frozen=True)
class Block:
    """A piece of a prompt, in the order in which the model reads them; marked if the prompt so far is to be kept."""

    text: str
    marked: bool = False


@dataclass
class PromptCache:
    """Remembers beginnings of prompts. Belongs to one event loop."""

    _known: set[bytes] = field(default_factory=set[bytes])

    def use(self, blocks: Sequence[Block]) -> tuple[int, int]:
        """Look a prompt up and keep its marked beginnings.

        Returns:
            How many of its tokens were read from the cache, and how many were written to it.
        """
        running = hashlib.blake2b(digest_size=16)
        size = read = kept = 0
        for block in blocks:
            running.update(f"{len(block.text)}:{block.text}".encode())
            size += tokens(block.text)
            if block.marked:
                kept = size
                if running.digest() in self._known:
                    read = size
                self._known.add(running.digest())
        return read, kept - read

    def known(self, turns: Iterable[Message]) -> int:
        """How many tokens of these messages were kept already; keeps all of them."""
        return self.use([Block(text, marked=True) for _, text in turns])[0]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dspex_core.adapters._base import Adapter
from dspex_core.adapters._content import Content, blocks, bracketed
from dspex_core.adapters._layout import Layout
from dspex_core.adapters._reading import validated
from dspex_core.adapters._streaming import FieldReader, MarkedReader
from dspex_core.adapters._system import hint, listed, task

_HEADER = re.compile(r"^[ \t]*\[\[ ## (?P<name>\w+) ## \]\]", re.MULTILINE)
_MARK = re.compile(r"(?<=\n)[ \t]*\[\[ ## (?P<name>\w+) ## \]\]|\[\[ ## completed ## \]\]")
_LONGEST_MARK = 200
_COMPLETED = "[[ ## completed ## ]]"


class ChatAdapter(Adapter):
    """Writes a signature as a chat and reads the answer back, in DSPy's wire format. The one used by default.

        program = Predict("question -> answer")
        with using(lm=lm, adapter=ChatAdapter(fallback=[JSONAdapter()])):
            prediction = await program(question="What is 2 + 2?")

    Every value stands under a `[[ ## field ## ]]` line and an answer ends with `[[ ## completed ## ]]`; demos are
    pairs of a user's and an assistant's message.
    """

    name: ClassVar = "chat"
    block = staticmethod(bracketed)

    def system(self, layout: Layout, instructions: str) -> str:
        """Fields, the structure of an exchange, and the task."""
        hints = {name: hint(layout.signature, name) for name in layout.names}
        parts = [
            *listed(layout),
            "Every exchange has this structure, with values in place of the braces.",
            "\n\n".join(
                bracketed(name, f"{{{name}}}{f'        # {hints[name]}' if hints[name] else ''}")
                for name in layout.names
            ),
            _COMPLETED,
            task(instructions),
        ]
        return "\n\n".join(parts)

    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> Content:
        """Outputs under their headers, and the end."""
        return blocks(names, values, block=bracketed, closing=_COMPLETED)

    def request(self, layout: Layout) -> str:
        """Which headers to answer with."""
        if not layout.outputs:
            return "Call the tools that you need."
        fields = ", then ".join(f"`[[ ## {name} ## ]]`" for name in layout.outputs)
        return f"Answer with {fields}, each followed by its value, and close with `{_COMPLETED}`."

    def read(self, layout: Layout, text: str) -> dict[str, Any]:
        """The text under each header; of headers that repeat, the first counts."""
        pieces = _HEADER.split(text)
        sections: dict[str, str] = {}
        for name, section in zip(pieces[1::2], pieces[2::2], strict=True):
            sections.setdefault(name, section.strip().removesuffix(_COMPLETED).rstrip())
        return validated(layout, sections, answer=text)

    def reader(self, layout: Layout) -> FieldReader:
        """Tells the text under one header from that under the next."""
        return MarkedReader(
            layout.outputs, _MARK, ending=lambda _: _MARK, longest_mark=_LONGEST_MARK, beginning="[[ ## "
        )

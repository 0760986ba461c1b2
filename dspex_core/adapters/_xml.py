import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from dspex_core.adapters._base import Adapter
from dspex_core.adapters._content import Content, blocks, tagged
from dspex_core.adapters._layout import Layout
from dspex_core.adapters._reading import validated
from dspex_core.adapters._streaming import FieldReader, MarkedReader
from dspex_core.adapters._system import hint, listed, task


class XMLAdapter(Adapter):
    """Marks every field with a tag of its name: `<answer>`, the value, `</answer>`. Some models keep to it best.

        with using(lm=lm, adapter=XMLAdapter()):
            prediction = await Predict("question -> answer")(question="What is 2 + 2?")

    The value between the tags is taken as it stands: text is not escaped, and anything structured is JSON.
    """

    name: ClassVar = "xml"
    block = staticmethod(tagged)

    def system(self, layout: Layout, instructions: str) -> str:
        """Fields, the structure of an exchange, and the task."""
        hints = {name: hint(layout.signature, name) for name in layout.names}
        shape = [
            tagged(name, f"{{{name}}}{f'        # {hints[name]}' if hints[name] else ''}") for name in layout.names
        ]
        structure = "Every exchange has this structure, with values in place of the braces."
        return "\n\n".join([*listed(layout), structure, *shape, task(instructions)])

    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> Content:
        """Every output between its tags."""
        return blocks(names, values, block=tagged)

    def request(self, layout: Layout) -> str:
        """Which tags to answer with."""
        if not layout.outputs:
            return "Call the tools that you need."
        return f"Answer with {', then '.join(f'`<{name}>`' for name in layout.outputs)}, each closed by its end tag."

    def read(self, layout: Layout, text: str) -> dict[str, Any]:
        """What stands between each field's tags; of fields that repeat, the first counts."""
        found: dict[str, str] = {}
        at = 0
        for mark in _opening(tuple(layout.outputs)).finditer(text):
            name = mark["name"]
            if mark.start() < at or name in found:
                continue
            end = text.find(f"</{name}>", mark.end())
            if end >= 0:
                found[name] = text[mark.end() : end].strip()
                at = end
        return validated(layout, found, answer=text)

    def reader(self, layout: Layout) -> FieldReader:
        """Tells what stands between the tags of one field from what stands between those of the next."""
        names = tuple(layout.outputs)
        longest = max(map(len, names), default=0) + len("</>")
        return MarkedReader(names, _opening(names), ending=_end_tag, longest_mark=longest, beginning="<")


@lru_cache(maxsize=1024)
def _opening(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"<(?P<name>{'|'.join(map(re.escape, names))})>")


@lru_cache(maxsize=1024)
def _end_tag(name: str) -> re.Pattern[str]:
    return re.compile(f"</{re.escape(name)}>")

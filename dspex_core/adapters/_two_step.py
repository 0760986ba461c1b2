import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, cast

import pydantic

from dspex_core.adapters._base import Adapter, Exchange, Generate
from dspex_core.adapters._chat import ChatAdapter
from dspex_core.adapters._content import Content, blocks, named
from dspex_core.adapters._layout import Layout
from dspex_core.adapters._streaming import FieldReader
from dspex_core.adapters._system import listed
from dspex_core.seam import ConfiguredLM, LMConfig, Message, configuration_of
from dspex_core.signature import InputField, Signature

_TEXT = "text"


class TwoStepAdapter(Adapter):
    """Lets a model answer freely, and a second one read the outputs from what it said.

        adapter = TwoStepAdapter(LM("openai/gpt-4o-mini"))
        with using(lm=LM("openai/o3", temperature=1.0), adapter=adapter):
            prediction = await Predict("question -> answer: int")(question="How many primes are below 100?")

    For models that reason better than they keep to a format. The second call's prompt and correction are those of the
    chat adapter.

    Args:
        extraction_lm: The model that reads the answers.
        fallback: As in `Adapter`.

    Raises:
        ConfigurationError: If that LM was given its key in code, which is never recorded.
    """

    name: ClassVar = "two_step"
    block = staticmethod(named)

    def __init__(self, extraction_lm: ConfiguredLM | LMConfig, *, fallback: Sequence[Adapter] = ()) -> None:
        super().__init__(fallback=fallback)
        self.config = self.config.model_copy(update={"extraction_lm": configuration_of(extraction_lm)})
        self._chat = ChatAdapter()

    def system(self, layout: Layout, instructions: str) -> str:
        """The task and the fields, without any format."""
        return "\n\n".join([instructions, *listed(layout)])

    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> Content:
        """The outputs by name."""
        return blocks(names, values, block=named)

    def request(self, layout: Layout) -> str:
        """What the answer must settle."""
        return f"Answer in your own words, and say clearly what {_listing(layout)} should be."

    def read(self, layout: Layout, text: str) -> dict[str, Any]:
        """The outputs in what the second model says."""
        return self._chat.read(layout, text)

    def reader(self, layout: Layout) -> FieldReader:
        """Reads the second model's answer."""
        return self._chat.reader(layout)

    async def ask(
        self, signature: type[Signature], prefix: tuple[Message, ...], inputs: Mapping[str, Any], generate: Generate
    ) -> dict[str, Any]:
        """Ask the first model, and have the second one read its answer. Raises as `Adapter.ask` does."""
        messages = (*prefix, *self.question(signature, inputs))
        said = await generate(Exchange(messages=messages))
        extraction = _extraction_of(signature)

        async def extract(exchange: Exchange) -> Any:
            return await generate(dataclasses.replace(exchange, lm=self.config.extraction_lm))

        instructions = self._chat.prefix(extraction, extraction.instructions, ())
        (given,) = extraction.input_fields
        return await self._chat.ask(extraction, instructions, {given: said.text}, extract)


def _listing(layout: Layout) -> str:
    return ", ".join(f"`{name}`" for name in layout.outputs)


@lru_cache(maxsize=256)
def _extraction_of(signature: type[Signature]) -> type[Signature]:
    """What the second model is asked: the outputs, from a text."""
    outputs = {name: (field.annotation, field) for name, field in signature.output_fields.items()}
    given = _TEXT
    while given in outputs:
        given = f"given_{given}"
    instructions = (
        "The text answers this task:\n\n"
        f"{signature.instructions}\n\n"
        "Give the output fields as the text has them; add nothing that it does not say."
    )
    return pydantic.create_model(
        signature.__name__,
        __base__=Signature,
        __doc__=instructions,
        **cast("Any", {given: (str, InputField(desc="the answer to read")), **outputs}),
    )

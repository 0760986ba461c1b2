from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, cast

from dspex_core.adapters._content import Content, as_given, blocks, made
from dspex_core.adapters._layout import Layout, layout_of
from dspex_core.adapters._streaming import FieldReader
from dspex_core.adapters._values import fitted
from dspex_core.errors import AdapterParseError, ConfigurationError, FieldValueError
from dspex_core.seam import (
    AdapterConfig,
    AdapterName,
    LMConfig,
    LMResponse,
    Message,
    ResponseFormat,
    ToolDefinition,
)
from dspex_core.signature import Signature, type_adapter
from dspex_core.tools import Tool


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What is sent to a model, and how its answer is read piece by piece.

    Attributes:
        messages: The conversation.
        reader: Makes what tells the fields of a streamed answer apart; None if none are in it.
        tools: Tools for the provider's own function calling.
        response_format: The JSON that the answer must be.
        lm: The model to ask, instead of the predictor's.
    """

    messages: tuple[Message, ...]
    reader: Callable[[], FieldReader] | None = None
    tools: tuple[ToolDefinition, ...] = ()
    response_format: ResponseFormat | None = None
    lm: LMConfig | None = None


class Generate(Protocol):
    """Sends an exchange to the model in force."""

    def __call__(self, exchange: Exchange, /) -> Awaitable[LMResponse]:
        """The model's answer."""
        ...


def checked_adapter(adapter: Any, *, where: str) -> "Adapter":
    """What is to be an adapter, if it is one.

    Raises:
        ConfigurationError: If it is none.
    """
    if not isinstance(adapter, Adapter):
        name = adapter.__name__ if isinstance(adapter, type) else repr(adapter)
        raise ConfigurationError(f"{where}: {name} is no adapter; give one that is made, such as JSONAdapter()")
    return adapter


class Adapter(ABC):
    """Writes a signature, its demos and its inputs as messages, and reads the outputs from the answer.

    Args:
        native_tools: Let tools go through the provider's own function calling: where a signature has an input of type
            `list[Tool]` and an output of type `ToolCalls`, neither stands in the prompt's text.
        fallback: Adapters to ask with, in this order, where the answers of this one cannot be read.

    Raises:
        ConfigurationError: If `fallback` is no list of adapters.
    """

    name: ClassVar[AdapterName]

    def __init__(self, *, native_tools: bool = False, fallback: "Sequence[Adapter]" = ()) -> None:
        self.config = AdapterConfig(
            name=self.name, native_tools=native_tools, fallback=tuple(adapter.config for adapter in _listed(fallback))
        )

    def __repr__(self) -> str:
        given = self.config.model_dump(exclude_defaults=True, exclude={"name"})
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    @staticmethod
    @abstractmethod
    def block(name: str, value: str) -> str:
        """An input as it is written."""

    @abstractmethod
    def system(self, layout: Layout, instructions: str) -> str:
        """The system message: fields, types, format and task."""

    @abstractmethod
    def answer(self, names: Sequence[str], values: Mapping[str, Any]) -> Content:
        """Outputs as the model is to write them."""

    @abstractmethod
    def request(self, layout: Layout) -> str:
        """The sentence that asks for the outputs in this format."""

    @abstractmethod
    def read(self, layout: Layout, text: str) -> dict[str, Any]:
        """The outputs in an answer's text, validated against their types.

        Raises:
            AdapterParseError: If one is missing or does not fit; nothing else is ever raised.
        """

    @abstractmethod
    def reader(self, layout: Layout) -> FieldReader:
        """Tells the fields of a streamed answer apart."""

    def response_format(self, layout: Layout) -> ResponseFormat | None:
        """What the provider is asked to see to; nothing, but for adapters of structured output."""
        return None

    def layout(self, signature: type[Signature]) -> Layout:
        """How this adapter lays out a signature's fields."""
        return layout_of(signature, native_tools=self.config.native_tools)

    def prefix(
        self, signature: type[Signature], instructions: str, demos: Sequence[Mapping[str, Any]]
    ) -> tuple[Message, ...]:
        """System message and demos: all of the prompt that does not depend on the inputs.

        A demo that lacks an output says so; one without any input or any output is left out. Complete demos come last,
        where a model heeds them most.
        """
        layout = self.layout(signature)
        complete: list[Message] = []
        partial: list[Message] = []
        for demo in demos:
            given = [name for name in layout.names if demo.get(name) is not None]
            if any(name in layout.inputs for name in given) and any(name in layout.outputs for name in given):
                messages = self._exchange(layout, as_given(signature, demo))
                (complete if len(given) == len(layout.names) else partial).extend(messages)
        return (Message(role="system", content=self.system(layout, instructions)), *partial, *complete)

    def question(self, signature: type[Signature], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The messages that ask about these inputs: earlier exchanges, if the inputs hold any, and the question.

        Raises:
            FieldValueError: If what should be a history, an image or a tool is none; names the field.
        """
        layout = self.layout(signature)
        inputs = as_given(signature, inputs)
        earlier: list[Message] = []
        if layout.history is not None:
            for turn in made(signature, layout.history, inputs[layout.history]).messages:
                _check_turn(signature, turn)
                earlier.extend(self._exchange(layout, as_given(signature, turn), whole=False))
        content = blocks(layout.inputs, inputs, block=self.block, closing=self.request(layout))
        return (*earlier, Message(role="user", content=content))

    def lesson(
        self,
        signature: type[Signature],
        instructions: str,
        demos: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
    ) -> tuple[Message, ...]:
        """A whole exchange to train a model on: prompt, question, and the answer that it is to give.

        Args:
            signature: What is asked for.
            instructions: As of `prefix`.
            demos: As of `prefix`.
            values: Inputs and outputs by name.

        Raises:
            ConfigurationError: If part of the answer is no text, but calls of the provider's own function calling.
        """
        layout = self.layout(signature)
        if layout.tool_calls is not None:
            raise ConfigurationError(
                f"{self!r} lets {signature.__name__} call tools by the provider's own function calling, which cannot "
                "be written as text to train on: take an adapter without native_tools"
            )
        answer = self.answer(list(layout.outputs), as_given(signature, values))
        return (
            *self.prefix(signature, instructions, demos),
            *self.question(signature, values),
            Message(role="assistant", content=answer),
        )

    def parse(self, signature: type[Signature], answer: LMResponse | str) -> dict[str, Any]:
        """Output fields of an answer, validated against their types.

        Where the model asked for tools through the provider's function calling and said nothing, the other outputs are
        None.

        Raises:
            AdapterParseError: If a field is missing or its value does not fit; nothing else is ever raised.
        """
        layout = self.layout(signature)
        response = LMResponse(text=answer) if isinstance(answer, str) else answer
        if layout.tool_calls is None:
            return self.read(layout, response.text)
        asked = [call.model_dump() for call in response.tool_calls]
        try:
            calls = fitted(asked, type_adapter(signature, layout.tool_calls))
        except ValueError as error:
            raise AdapterParseError(f"output field {layout.tool_calls!r}: {error}", answer=response.text) from None
        silent = asked and not response.text.strip()
        said = dict.fromkeys(layout.outputs) if silent or not layout.outputs else self.read(layout, response.text)
        return {name: calls if name == layout.tool_calls else said[name] for name in signature.output_fields}

    def correction(self, signature: type[Signature], error: AdapterParseError) -> tuple[Message, Message]:
        """The unreadable answer and the request to write it anew, to append to the conversation."""
        request = (
            f"That answer cannot be read: {error.reason}. Please answer again. {self.request(self.layout(signature))}"
        )
        return Message(role="assistant", content=error.answer or "(empty)"), Message(role="user", content=request)

    async def ask(
        self, signature: type[Signature], prefix: tuple[Message, ...], inputs: Mapping[str, Any], generate: Generate
    ) -> dict[str, Any]:
        """Ask a model for the outputs; an answer that cannot be read is sent back once, with what is wrong with it.

        Args:
            signature: What is asked for.
            prefix: What `prefix` made of instructions and demos.
            inputs: The signature's inputs by name.
            generate: Sends the messages.

        Raises:
            AdapterParseError: If the second answer cannot be read either.
            LMError: If the model cannot be reached.
        """
        messages = (*prefix, *self.question(signature, inputs))
        response = await generate(self._exchange_of(signature, messages, inputs))
        try:
            return self.parse(signature, response)
        except AdapterParseError as error:
            messages = (*messages, *self.correction(signature, error))
        return self.parse(signature, await generate(self._exchange_of(signature, messages, inputs)))

    def _exchange_of(
        self, signature: type[Signature], messages: tuple[Message, ...], inputs: Mapping[str, Any]
    ) -> Exchange:
        layout = self.layout(signature)
        given: Any = () if layout.tools is None else as_given(signature, inputs)[layout.tools]
        tools = cast("Sequence[Tool]", given if isinstance(given, (list, tuple)) else (given,))
        return Exchange(
            messages=messages,
            reader=partial(self.reader, layout),
            tools=tuple(_definition(tool) for tool in tools),
            response_format=self.response_format(layout),
        )

    def _exchange(self, layout: Layout, values: Mapping[str, Any], *, whole: bool = True) -> tuple[Message, Message]:
        inputs = [name for name in layout.inputs if name in values]
        outputs = [name for name in layout.outputs if whole or name in values]
        return (
            Message(role="user", content=blocks(inputs, values, block=self.block)),
            Message(role="assistant", content=self.answer(outputs, values)),
        )


def _check_turn(signature: type[Signature], turn: Mapping[str, Any]) -> None:
    if not any(name in signature.model_fields for name in turn):
        raise FieldValueError(
            f"History: an exchange has {', '.join(map(repr, turn)) or 'nothing'}, but is told by the fields of "
            f"{signature.__name__} ({', '.join(signature.model_fields)}): messages=[{{'question': …, 'answer': …}}]"
        )


def _definition(tool: Tool) -> ToolDefinition:
    return ToolDefinition(name=tool.name, description=tool.desc, parameters={"type": "object", **tool.parameters})


def _listed(fallback: Any) -> list[Adapter]:
    if not isinstance(fallback, (list, tuple)):
        raise ConfigurationError("fallback=…: give adapters in a list, such as [JSONAdapter()]")
    return [checked_adapter(adapter, where="fallback=[…]") for adapter in cast("list[Any]", fallback)]

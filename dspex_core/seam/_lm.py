import json
import re
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, NonNegativeFloat

from dspex_core.errors import ConfigurationError
from dspex_core.usage import Usage

_MODEL = re.compile(r"[a-z][a-z0-9_]*/\S.*")


def _provider_and_name(model: str) -> str:
    # Which providers there are is known where they are called, so only the form is seen to here.
    if not _MODEL.fullmatch(model):
        raise ConfigurationError(f"LM {model!r}: write provider/model, for example 'openai/gpt-4o-mini'")
    return model


def _without_credentials(url: str | None) -> str | None:
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"api_base {url!r}: an http:// or https:// address is needed, such as http://127.0.0.1:8000/v1"
        )
    if "@" in url.split("//", 1)[1].split("/", 1)[0]:
        raise ConfigurationError(
            "api_base must not hold a user name or password: it is recorded; use the API key's variable"
        )
    return url.rstrip("/")


_OPTIONS_OF_THEIR_OWN = ("model", "temperature", "max_tokens", "reasoning_effort")
_SET_BY_US = ("messages", "input", "system", "stream", "stream_options", "n")


def _further(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for name in fields:
        if name in _OPTIONS_OF_THEIR_OWN:
            raise ConfigurationError(f"extra={{{name!r}: …}}: that is an option of the LM itself: write {name}=…")
        if name in _SET_BY_US:
            raise ConfigurationError(f"extra={{{name!r}: …}}: every call sets that itself: leave it out")
    return fields


class LMConfig(BaseModel):
    """Which model to call and how. Holds no key: this is recorded in programs and workflow histories.

    Attributes:
        model: Provider and model, e.g. "openai/gpt-4o-mini".
        api_base: Where the provider's API is served; None for the provider's own address.
        api_version: Version of the API; only Azure needs one.
        model_type: Which of OpenAI's APIs is called: "chat" (chat completions) or "responses".
        temperature: Sampling temperature; a model that takes none is not sent it.
        max_tokens: Most tokens an answer may have; None leaves it to the provider.
        reasoning: Whether the model thinks before it answers and so takes other parameters; None goes by its name.
        reasoning_effort: How much it is to think, in the provider's words, such as "low".
        extra: Further fields of the request, such as {"top_p": 0.9}; none that has an option here or that calls set.
        prompt_caching: Whether the common beginning of prompts is marked for a provider's cache that takes marks.
        price_per_million: US dollars for a million tokens sent, and received; None takes the list price.
        fallbacks: Models that take a call, one after the other, when this one cannot be reached for a while.
        fallbacks_in_compile: Whether they do so in a compile, too, where that changes what is measured.
        cache: Whether answers are kept and found again.
        timeout_seconds: Longest wait for one attempt.
        deadline_seconds: Longest wait for an answer in all, with queueing and every retry; None sets no such limit.
        concurrency: Most calls in flight at once, per process; fewer are as long as the provider takes no more.
        requests_per_minute: Most attempts sent in a minute, per process, evenly spread; None sets no limit.
        tokens_per_minute: Most tokens sent and received in a minute, per process; None sets no limit.
        hedge: Whether a call that takes far longer than its peers is sent once more; the first answer wins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Annotated[str, AfterValidator(_provider_and_name)]
    api_base: Annotated[str | None, AfterValidator(_without_credentials)] = None
    api_version: str | None = None
    model_type: Literal["chat", "responses"] = "chat"
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    reasoning: bool | None = None
    reasoning_effort: str | None = None
    extra: Annotated[dict[str, JsonValue], AfterValidator(_further)] = {}
    prompt_caching: bool = True
    price_per_million: tuple[NonNegativeFloat, NonNegativeFloat] | None = None
    fallbacks: "tuple[LMConfig, ...]" = ()
    fallbacks_in_compile: bool = False
    cache: bool = True
    timeout_seconds: float = Field(default=60.0, gt=0)
    deadline_seconds: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=64, gt=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    hedge: bool = False

    def __hash__(self) -> int:
        # `extra` is a dictionary, which has no hash.
        return hash((self.model, self.api_base, self.temperature, self.max_tokens))

    @property
    def provider(self) -> str:
        """The part of `model` before the slash."""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of `model` after the slash: what the provider calls it."""
        return self.model.partition("/")[2]


class TextPart(BaseModel):
    """Text, as a part of a message that holds more than text."""

    model_config = ConfigDict(frozen=True)

    type: Literal["text"] = "text"
    text: str


class ImagePart(BaseModel):
    """An image, as a part of a message.

    Attributes:
        url: Where it lies, or the image itself as a data URL.
    """

    model_config = ConfigDict(frozen=True)

    type: Literal["image"] = "image"
    url: str


class Message(BaseModel):
    """One chat message: text, or parts of which some are images."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str | tuple[TextPart | ImagePart, ...]

    @property
    def text(self) -> str:
        """The message's text, its parts joined; an image is left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class ToolDefinition(BaseModel):
    """A tool as a provider's own function calling takes it.

    Attributes:
        name: What the model calls it.
        description: What it does.
        parameters: JSON schema of its arguments.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    parameters: dict[str, Any]


def _encodable(text: str) -> str:
    # JSON may hold half a surrogate pair as an escape; text with one could be written down nowhere.
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _encodable_values(values: dict[str, Any]) -> dict[str, Any]:
    written = json.dumps(values, ensure_ascii=False)
    fit = _encodable(written)
    return values if fit is written else json.loads(fit)


class ToolUse(BaseModel):
    """A tool that a model wants called, as the provider's own function calling says it."""

    model_config = ConfigDict(frozen=True)

    name: str
    args: Annotated[dict[str, Any], AfterValidator(_encodable_values)]


class ResponseFormat(BaseModel):
    """Which JSON the answer must be, for a provider that can see to it; one that cannot is not asked for it.

    Attributes:
        name: What the schema describes.
        json_schema: JSON schema of the answer, an object.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    json_schema: dict[str, Any]


class LMRequest(BaseModel):
    """One call to a model.

    Attributes:
        messages: The conversation so far.
        lm: The model to ask; None means the runtime's own.
        rollout_id: Tells apart repeated samples of the same request: each has its own place in the cache.
        temperature: Wins over the LM's own if given.
        tools: Tools that the model may ask for through the provider's own function calling.
        response_format: The JSON that the answer must be.
    """

    model_config = ConfigDict(frozen=True)

    messages: tuple[Message, ...]
    lm: LMConfig | None = None
    rollout_id: int | None = None
    temperature: float | None = None
    tools: tuple[ToolDefinition, ...] = ()
    response_format: ResponseFormat | None = None


class LMResponse(BaseModel):
    """A model's answer.

    Attributes:
        text: The answer's text.
        usage: What this call took; a cached answer took nothing.
        tool_calls: Tools that the model wants called, in its order.
    """

    model_config = ConfigDict(frozen=True)

    text: Annotated[str, AfterValidator(_encodable)]
    usage: Usage = Usage()
    tool_calls: tuple[ToolUse, ...] = ()


class ConfiguredLM(Protocol):
    """An LM, as far as an optimizer looks at it: what is recorded of it."""

    @property
    def has_own_key(self) -> bool:
        """Whether a key was given in code, which is recorded nowhere."""
        ...

    @property
    def config(self) -> LMConfig:
        """Its configuration."""
        ...


def configuration_of(lm: LMConfig | ConfiguredLM) -> LMConfig:
    """What may be recorded of an LM: its configuration.

    Raises:
        ConfigurationError: If it is no LM, or was given its key in code: that is never recorded, so nobody else could
            call it.
    """
    if isinstance(lm, LMConfig):
        return lm
    if not hasattr(lm, "has_own_key"):
        raise ConfigurationError(f"{lm!r} is no LM: write LM('openai/gpt-4o-mini')")
    if lm.has_own_key:
        raise ConfigurationError(
            f"{lm!r} was given its key in code, and a key is never recorded nor sent: set it in the environment of "
            "whoever calls, and make the LM without api_key"
        )
    return lm.config

from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dspex_core.errors import ConfigurationError
from dspex_core.usage import Usage

PROVIDERS = ("openai",)


def _known_provider(model: str) -> str:
    provider, slash, name = model.partition("/")
    if not slash or not name or provider not in PROVIDERS:
        raise ConfigurationError(
            f"LM {model!r}: write provider/model, for example 'openai/gpt-4o-mini' (providers: {', '.join(PROVIDERS)})"
        )
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


class LMConfig(BaseModel):
    """Which model to call and how. Holds no key: this is recorded in programs and workflow histories.

    Attributes:
        model: Provider and model, e.g. "openai/gpt-4o-mini".
        api_base: Endpoint of an OpenAI-compatible server; None for the provider's own.
        temperature: Sampling temperature.
        max_tokens: Most tokens an answer may have; None leaves it to the provider.
        cache: Whether answers are kept and found again.
        timeout_seconds: Longest wait for one attempt.
        concurrency: Most calls in flight at once, per process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, AfterValidator(_known_provider)]
    api_base: Annotated[str | None, AfterValidator(_without_credentials)] = None
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int | None = Field(default=None, gt=0)
    cache: bool = True
    timeout_seconds: float = Field(default=60.0, gt=0)
    concurrency: int = Field(default=64, gt=0)

    @property
    def provider(self) -> str:
        """The part of `model` before the slash."""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of `model` after the slash: what the provider calls it."""
        return self.model.partition("/")[2]


class Message(BaseModel):
    """One chat message."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str


class LMRequest(BaseModel):
    """One call to a model.

    Attributes:
        messages: The conversation so far.
        lm: The model to ask; None means the runtime's own.
        rollout_id: Tells apart repeated samples of the same request: each has its own place in the cache.
        temperature: Wins over the LM's own if given.
    """

    model_config = ConfigDict(frozen=True)

    messages: tuple[Message, ...]
    lm: LMConfig | None = None
    rollout_id: int | None = None
    temperature: float | None = None


class LMResponse(BaseModel):
    """A model's answer.

    Attributes:
        text: The answer's text.
        usage: What this call took; a cached answer took nothing.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    usage: Usage = Usage()


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
        ConfigurationError: If it was given its key in code: that is never recorded, so nobody else could call it.
    """
    if isinstance(lm, LMConfig):
        return lm
    if lm.has_own_key:
        raise ConfigurationError(
            f"{lm!r} was given its key in code, and a key is never recorded nor sent: set it in the environment of "
            "whoever calls, and make the LM without api_key"
        )
    return lm.config

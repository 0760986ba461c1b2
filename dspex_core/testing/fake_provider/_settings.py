from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dspex_core.errors import ConfigurationError
from dspex_core.testing.fake_provider._faults import FAULT_KINDS, known_fault_kinds
from dspex_core.testing.fake_provider._script import Script, ScriptRule


@dataclass(kw_only=True)
class ProviderSettings:
    """How a fake provider behaves.

    Args:
        port: The TCP port to listen on; 0 takes a free one.
        host: The address to listen on.
        latency_ms: Milliseconds before every answer.
        fault_rate: The share of attempts that meet a fault, 0 to 1.
        fault_kinds: Which faults, of `FAULT_KINDS`; names, or one text with commas.
        seed: Decides which attempts meet which fault.
        capacity: The most requests worked on at a time; above it a request gets 429. None: no limit.
        api_key: The one bearer token accepted; None accepts any, but one must be sent.
        requests_per_minute: The most requests a minute, told in headers; above it a request gets 429. None: no limit.
        tokens_per_minute: The same for tokens, four bytes of a body each.
        retry_after_seconds: What a 429 asks the client to wait; one of the limits a minute asks for what it takes.
        retry_after_format: `seconds`, or `date` for the moment as an HTTP date.
        outage: What happens to all requests: `unavailable`, they get 503; `drop`, their connections are closed; `hang`,
            they get no answer until it is over. None: they are answered.
        slow_seconds: The least that the fault `slow` takes; it takes twenty times the latency if that is more.
        chunk_characters: Characters of text in each event of a stream.
        chunk_latency_ms: Milliseconds between two events of a stream.
        structured_output: Whether answers can be held to a JSON schema; a request for that gets 400 if not.
        prompt_caching: Whether OpenAI's endpoints keep the beginnings of prompts, message by message, and say in the
            usage what they knew of one. (Anthropic's keeps what requests mark, whatever is set here.)
        fine_tuning_polls: How often a fine-tuning job is asked about before it has succeeded.
        script: What to say instead of what the model would: rules as `ScriptRule` or dicts of its fields, of which the
            first that fits answers. Where none fits, the model does.

    Raises:
        ConfigurationError: A number is out of its range.
        UnknownNameError: There is no such fault kind.
    """

    port: int = 0
    host: str = "127.0.0.1"
    latency_ms: float = 0.0
    fault_rate: float = 0.0
    fault_kinds: str | Sequence[str] = FAULT_KINDS
    seed: int = 0
    capacity: int | None = None
    api_key: str | None = field(default=None, repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    retry_after_seconds: float = 1.0
    retry_after_format: Literal["seconds", "date"] = "seconds"
    outage: Literal["unavailable", "drop", "hang"] | None = None
    slow_seconds: float = 2.0
    chunk_characters: int = 8
    chunk_latency_ms: float = 0.0
    structured_output: bool = True
    prompt_caching: bool = False
    fine_tuning_polls: int = 2
    script: Sequence[ScriptRule | dict[str, Any]] = ()

    def __post_init__(self) -> None:
        self.script = Script(self.script).rules
        self.fault_kinds = known_fault_kinds(self.fault_kinds)
        if not 0 <= self.fault_rate <= 1:
            raise ConfigurationError(f"fault_rate is {self.fault_rate}: it is a share of the attempts, from 0 to 1")
        for name in ("latency_ms", "retry_after_seconds", "slow_seconds", "chunk_latency_ms", "fine_tuning_polls"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.chunk_characters < 1:
            raise ConfigurationError(f"chunk_characters is {self.chunk_characters}: give 1 or more")
        for name in ("capacity", "requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give 1 or more, or None for no limit")

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from dspex_core.testing.fake_provider._exchange import Usage


class EndpointStats(BaseModel):
    """What the answered requests of one endpoint cost.

    Attributes:
        answered: How many there were.
        prompt_tokens: Tokens of their questions, cached ones included.
        completion_tokens: Tokens of the answers, reasoning included.
        cached_tokens: Of the questions, what was read from the prompt cache.
        cache_written_tokens: Of the questions, what was written to it.
        reasoning_tokens: Of the answers, what is not shown.
    """

    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    reasoning_tokens: int = 0


class ProviderStats(BaseModel):
    """What a fake provider has met since it started or was last reset.

    Attributes:
        requests: Calls of the model received, refused ones included.
        answered: Those whose right answer was wholly handed to the operating system while the client was connected.
        distinct: Different bodies among the requests, by their JSON content.
        duplicates: Requests whose body had already been answered when they arrived.
        in_flight: Requests being worked on now.
        max_in_flight: The most there were at a time.
        faults: How many of each kind were dealt out; `capacity` counts the 429s of a full provider.
        prompt_tokens: Tokens of the answered requests' messages (four characters are a token).
        completion_tokens: Tokens of their answers.
        streams: Answers that began to be streamed.
        chunks: Events of streams that the operating system has taken, those of unfinished streams included.
        cancelled: Streams whose client went away before their end.
        endpoints: The answered requests of each endpoint: `chat`, `responses`, `messages`, `embeddings`.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    answered: int = 0
    distinct: int = 0
    duplicates: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    faults: dict[str, int] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    streams: int = 0
    chunks: int = 0
    cancelled: int = 0
    endpoints: dict[str, EndpointStats] = {}


@dataclass
class Ledger:
    """Counts what becomes `ProviderStats`. Belongs to one event loop."""

    requests: int = 0
    duplicates: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    streams: int = 0
    chunks: int = 0
    cancelled: int = 0
    endpoints: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    faults: Counter[str] = field(default_factory=Counter[str])
    _seen: set[bytes] = field(default_factory=set[bytes])
    _answered_contents: set[bytes] = field(default_factory=set[bytes])

    def note_content(self, content: bytes) -> None:
        """A request with this content has arrived."""
        self._seen.add(content)
        self.duplicates += content in self._answered_contents

    def note_answer(self, content: bytes, endpoint: str, usage: Usage) -> None:
        """The answer to this content has been written."""
        self._answered_contents.add(content)
        # A counter, not the model: pydantic checks each assignment, which is dear at thousands of answers a second.
        counts = self.endpoints.setdefault(endpoint, Counter())
        counts["answered"] += 1
        counts.update(vars(usage))

    @contextmanager
    def working(self) -> Generator[None]:
        """One more request in flight, for as long as the block lasts."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    @contextmanager
    def streaming(self) -> Generator[None]:
        """One more stream; cancelled if the block is left because the client has gone."""
        self.streams += 1
        try:
            yield
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled += 1
            raise

    def reset(self) -> None:
        """Count from zero again; requests still in flight go on counting as such."""
        in_flight = self.in_flight
        self.__init__()
        self.in_flight = self.max_in_flight = in_flight

    def stats(self) -> ProviderStats:
        """The counts as they are now."""
        endpoints = {name: EndpointStats(**counts) for name, counts in sorted(self.endpoints.items())}
        return ProviderStats(
            requests=self.requests,
            answered=sum(each.answered for each in endpoints.values()),
            distinct=len(self._seen),
            duplicates=self.duplicates,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
            faults=dict(self.faults),
            prompt_tokens=sum(each.prompt_tokens for each in endpoints.values()),
            completion_tokens=sum(each.completion_tokens for each in endpoints.values()),
            streams=self.streams,
            chunks=self.chunks,
            cancelled=self.cancelled,
            endpoints=endpoints,
        )

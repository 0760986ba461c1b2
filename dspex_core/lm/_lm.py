import asyncio
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Self, TextIO, TypeVar

from pydantic import ValidationError

from dspex_core import events
from dspex_core.errors import InputError, LMError
from dspex_core.invalid import first_problem
from dspex_core.lm._accounting import answered, usage_of_call
from dspex_core.lm._attempts import in_time, in_turns
from dspex_core.lm._begun import Begun
from dspex_core.lm._cache import CachedAnswer, ResponseCache, cache_key
from dspex_core.lm._config import lm_config, served_at
from dspex_core.lm._hedging import Stragglers, hedged
from dspex_core.lm._history import CALLS_KEPT, LMCall, remembered, remembered_stream
from dspex_core.lm._inspect import print_calls
from dspex_core.lm._keys import checked_key
from dspex_core.lm._pool import Pool, Turn, estimated_tokens, pool_of
from dspex_core.lm._provider import Provider, provider_of
from dspex_core.lm._retrying import retried
from dspex_core.seam import (
    LMConfig,
    LMRequest,
    LMResponse,
    Message,
    add_usage,
    current_caller,
    current_payer,
    current_spending,
    is_compiling,
    one_call,
)
from dspex_core.usage import Usage

_T = TypeVar("_T")


@dataclass
class _OnLoop:
    """What belongs to one event loop: connections."""

    provider: Provider


class LM:
    """A model to call, with a limit of calls in flight, retries and a cache. Safe to share between tasks and threads.

        lm = LM("openai/gpt-4o-mini")
        lm = LM("anthropic/claude-sonnet-4-5", max_tokens=1_000, fallbacks=["openai/gpt-4o-mini"])
        lm = LM("openai/llama3", api_base="http://127.0.0.1:8000/v1")

    Args:
        model: Provider and model.
        api_key: The key, if not in the provider's usual variable. It stays in this object.
        **options: The other fields of `LMConfig`, such as api_base, temperature, cache, timeout_seconds, concurrency
            and requests_per_minute.

    Raises:
        ConfigurationError: If an option does not fit.
        UnknownNameError: If there is no such option.
    """

    def __init__(self, model: str, *, api_key: str | None = None, **options: Any) -> None:
        self.config = lm_config(model, **options)
        self._api_key = checked_key(api_key, model=model, source="api_key")
        self.history: deque[LMCall] = deque(maxlen=CALLS_KEPT)
        self._fallbacks = tuple(LM.from_config(other) for other in self.config.fallbacks)
        self._cache: ResponseCache | None = None
        self._pool: Pool | None = None
        self._stragglers = Stragglers()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OnLoop] = weakref.WeakKeyDictionary()

    @classmethod
    def from_config(cls, config: LMConfig) -> "LM":
        """The LM that a configuration describes; its key comes from this process's environment."""
        return cls(**{name: getattr(config, name) for name in LMConfig.model_fields})

    @property
    def has_own_key(self) -> bool:
        """Whether a key was given in code, which no other process can know."""
        return self._api_key is not None

    @property
    def endpoint(self) -> str:
        """Address that its calls go to."""
        return served_at(self.config)

    @staticmethod
    def cost_of(config: LMConfig, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost in US dollars, sent to a model and received; None if its price is not known."""
        return usage_of_call(config, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens).cost_usd

    def check(self) -> None:
        """Raise ConfigurationError if there is no key, for this model or for one of its fallbacks."""
        provider_of(self.config, api_key=self._api_key)
        for other in self._fallbacks:
            other.check()

    async def __call__(self, prompt: str | None = None, *, messages: Sequence[Mapping[str, Any]] = ()) -> str:
        """The model's answer to one prompt or to a conversation, without signature or adapter.

            print(await LM("openai/gpt-4o-mini")("Say hello."))

        Args:
            prompt: What a user says.
            messages: Said before it, each as {"role": "system", "user" or "assistant", "content": text}.

        Raises:
            InputError: If there is nothing to send, or a message is none.
            LMError: As `generate` does.
        """
        try:
            said = [Message.model_validate(message) for message in messages]
            said += [] if prompt is None else [Message(role="user", content=prompt)]
        except ValidationError as error:
            where, what = first_problem(error)
            raise InputError(f"{self!r}: {where or 'form'} of a message: {what}") from None
        if not said:
            raise InputError(f"{self!r} was given nothing to answer: pass a prompt or messages=")
        response = await self.generate(LMRequest(messages=tuple(said)))
        add_usage(response.usage)
        return response.text

    @remembered
    async def generate(self, request: LMRequest) -> LMResponse:
        """Ask the model; an answer that is known already comes from the cache, and costs nothing.

        The same request asked twice at once is sent once. An answer is on disk before it is returned. A model that has
        fallbacks is tried but briefly; what cannot be cured by waiting, such as a rejected key, is not passed on.

        Raises:
            ConfigurationError: If there is no key, for this model or for a fallback.
            LMUnavailableError: If the provider is left alone for a while after many failures. A call that is part of an
                evaluation waits instead.
            LMError: If no good answer came after all retries that make sense.
        """
        others = self._fallbacks_now()
        try:
            turn = self._turn(request, patient=current_caller() is not None, brief=bool(others))
            if self.config.deadline_seconds is None:
                return await self._generate(request, turn)
            return await in_time(turn, self._generate(request, turn), config=self.config)
        except LMError as error:
            if not others:
                raise
            return await self._fall_back(others, request, error)

    @remembered_stream
    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """Ask the model, and read its answer while it is written; a known answer comes in one piece.

        Tried again as `generate` is until the first piece has come; after that, what has been said cannot be unsaid,
        and a failure raises. Closing the generator closes the connection.

        Yields:
            Pieces of the answer's text, and at last the response.

        Raises:
            ConfigurationError: If there is no key.
            LMError: If no good answer came.
        """
        here = await self._on_this_loop()
        key = cache_key(self.config, request, endpoint=self.endpoint) if self.config.cache else None
        known = await self._open_cache().get(key) if key else None
        payer = current_payer()
        if key and known is not None:
            yield known.response.text
            yield _known(known, key)
            return
        others = self._fallbacks_now()
        async with AsyncExitStack() as counted:
            book = counted.enter_context(one_call())
            try:
                turn = self._turn(request, patient=current_caller() is not None, brief=bool(others))
                begun = await in_time(turn, self._begin(here, request, turn), config=self.config)
            except LMError as error:
                await counted.aclose()  # who takes over is counted alone
                async with aclosing(self._fall_back_streaming(others, request, error)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            await counted.enter_async_context(begun.held)
            async for piece in begun.all_pieces():
                if isinstance(piece, LMResponse):
                    book(piece.usage)
                if key and isinstance(piece, LMResponse):
                    answer = CachedAnswer(response=piece, paid_by=payer.name if payer else "")
                    await self._open_cache().put(key, answer)
                yield piece

    async def recall(self, request: LMRequest) -> LMResponse | None:
        """The answer to a request if the cache has it, else None; nobody is asked."""
        if not self.config.cache:
            return None
        known = await self._open_cache().get(cache_key(self.config, request, endpoint=self.endpoint))
        return None if known is None else known.response

    def inspect_history(self, n: int = 1, *, file: TextIO | None = None) -> None:
        """Print the last calls of this LM, as `dspex_core.inspect_history` prints those of all; `history` holds them.

        Args:
            n: How many, at most.
            file: Where to; None for standard output.

        Raises:
            InputError: If `n` is not positive.
        """
        print_calls(self.history, n, file=file)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is not None:
            await here.provider.close()
        for other in self._fallbacks:
            await other.close()

    def __repr__(self) -> str:
        return f"LM({self.config.model!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Programs are copied often, and one that holds an LM means this one, with its connections.
        return self

    def _fallbacks_now(self) -> "tuple[LM, ...]":
        return () if is_compiling() and not self.config.fallbacks_in_compile else self._fallbacks

    async def _fall_back(self, others: "tuple[LM, ...]", request: LMRequest, error: LMError) -> LMResponse:
        for other in others if error.retryable else ():
            self._tell(other, error)
            try:
                return await other.generate(request)
            except LMError as failed:
                error = failed
        raise error

    async def _fall_back_streaming(
        self, others: "tuple[LM, ...]", request: LMRequest, error: LMError
    ) -> AsyncGenerator[str | LMResponse]:
        for other in others if error.retryable else ():
            self._tell(other, error)
            begun = False
            try:
                async with aclosing(other.stream(request)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except LMError as failed:
                # What has been said cannot be unsaid, so no other model can take over.
                if begun:
                    raise
                error = failed
            else:
                return
        raise error

    def _tell(self, other: "LM", error: LMError) -> None:
        events.publish(events.LMFellBack(model=self.config.model, fallback=other.config.model, reason=str(error)))

    async def _generate(self, request: LMRequest, turn: Turn) -> LMResponse:
        here = await self._on_this_loop()
        if not self.config.cache:
            return await self._attempts(here, request, turn, _unkept)
        key = cache_key(self.config, request, endpoint=self.endpoint)
        cache, payer = self._open_cache(), current_payer()

        async def keep(response: LMResponse) -> CachedAnswer:
            answer = CachedAnswer(response=response, paid_by=payer.name if payer is not None else "")
            await cache.put(key, answer)
            return answer

        answer, asked = await cache.once(key, lambda: self._attempts(here, request, turn, keep), asker=self._api_key)
        if not asked:
            return _known(answer, key)
        if payer is not None:
            payer.books(key, paid_by=payer.name)
        return answer.response

    async def _attempts(
        self, here: _OnLoop, request: LMRequest, turn: Turn, keep: Callable[[LMResponse], Awaitable[_T]]
    ) -> _T:
        with one_call() as book:

            async def attempt() -> _T:
                response = await self._attempt(here, request, turn)
                book(response.usage)
                # Kept while the call has its slot, so that a process that dies loses no more than were in flight.
                return await keep(response if turn.attempts == 1 else answered(response, retries=turn.attempts - 1))

            return await in_turns(turn, attempt)

    async def _attempt(self, here: _OnLoop, request: LMRequest, turn: Turn) -> LMResponse:
        abandoned = Usage()

        async def send(turn: Turn = turn) -> LMResponse:
            nonlocal abandoned
            sent_at = time.monotonic()
            try:
                response = await here.provider.complete(request)
            except asyncio.CancelledError:
                abandoned += Usage(abandoned_calls=1)
                raise
            seconds = time.monotonic() - sent_at
            self._stragglers.took(seconds)
            turn.used_tokens = response.usage.prompt_tokens + response.usage.completion_tokens
            return answered(response, seconds=seconds)

        async def send_again() -> LMResponse:
            async with self._turn(request, patient=True) as another:
                return await send(another)

        late_after = self._stragglers.late_after() if self.config.hedge else None
        if late_after is None:
            return await send()
        response = await hedged(send, send_again, late_after=late_after)
        return (
            response.model_copy(update={"usage": response.usage + abandoned}) if abandoned.abandoned_calls else response
        )

    def _turn(self, request: LMRequest, *, patient: bool, brief: bool = False) -> Turn:
        pool = self._open_pool()
        tokens = estimated_tokens(self.config, request) if pool.counts_tokens else 0
        return pool.turn(tokens=tokens, patient=patient, brief=brief)

    def _open_pool(self) -> Pool:
        if self._pool is None:
            self._pool = pool_of(self.config, endpoint=self.endpoint, api_key=self._api_key)
        return self._pool

    async def _begin(self, here: _OnLoop, request: LMRequest, turn: Turn) -> Begun:
        async def begin() -> Begun:
            async with AsyncExitStack() as stack:
                stack.callback(setattr, turn, "patient", not turn.brief)
                await stack.enter_async_context(turn)
                sent_at = time.monotonic()
                pieces = await stack.enter_async_context(aclosing(here.provider.stream(request)))
                first = await anext(pieces)
                return Begun(first, pieces, stack.pop_all(), sent_at=sent_at, retries=turn.attempts - 1)

        return await retried(
            begin, lambda: turn.queued_seconds, brief=turn.brief, is_anyone_there=lambda: turn.has_been_heard
        )

    async def _on_this_loop(self) -> _OnLoop:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            # Not when it is wanted, which may be hours later.
            for other in self._fallbacks_now():
                other.check()
            provider = provider_of(self.config, api_key=self._api_key, heed=self._open_pool().heed)
            here = self._loops[loop] = _OnLoop(provider)
            await provider.open()
        return here

    def _open_cache(self) -> ResponseCache:
        if self._cache is None:
            self._cache = ResponseCache()
        return self._cache


async def _unkept(response: LMResponse) -> LMResponse:
    return response


def _known(answer: CachedAnswer, key: str) -> LMResponse:
    """An answer that is known already: free, unless the work that asks is the one that paid for it."""
    payer = current_payer()
    if payer is not None and payer.books(key, paid_by=answer.paid_by):
        counter = current_spending()
        if counter is not None:
            counter.add(answer.response.usage)
        return answer.response
    return answer.response.model_copy(update={"usage": Usage(cached_calls=1, models=answer.response.usage.models)})

from pydantic import BaseModel, ConfigDict


class Usage(BaseModel):
    """What calls took. Add usages with `+`.

        total = Usage()
        for row in devset:
            total += (await triage(**row.inputs())).usage
        print(total.lm_calls, total.cost_usd)

    Attributes:
        lm_calls: Calls that a provider answered.
        cached_calls: Calls answered from the cache, for free.
        prompt_tokens: Tokens sent, without cached calls.
        completion_tokens: Tokens received, without cached calls.
        cached_tokens: Those sent that the provider found in a cache of its own.
        reasoning_tokens: Those received that are reasoning.
        retries: Attempts that failed before a call was answered.
        abandoned_calls: Calls that were sent once more, being late, and given up before an answer when their twin had
            one. What a provider charges for them nobody knows: no token and no cost of theirs is counted here.
        latency_seconds: Time that calls took from being sent to being answered; calls made at once each count theirs.
        cost_usd: Cost in US dollars; None if the price of some call is unknown.
        models: Provider and model of those that answered, sorted.
    """

    model_config = ConfigDict(frozen=True)

    lm_calls: int = 0
    cached_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    retries: int = 0
    abandoned_calls: int = 0
    latency_seconds: float = 0.0
    cost_usd: float | None = 0.0
    models: tuple[str, ...] = ()

    def __add__(self, other: "Usage") -> "Usage":
        unknown = self.cost_usd is None or other.cost_usd is None
        same = self.models == other.models or not other.models
        return Usage(
            lm_calls=self.lm_calls + other.lm_calls,
            cached_calls=self.cached_calls + other.cached_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            retries=self.retries + other.retries,
            abandoned_calls=self.abandoned_calls + other.abandoned_calls,
            # Rounded, so that the order of additions makes no difference.
            latency_seconds=round(self.latency_seconds + other.latency_seconds, 6),
            cost_usd=None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0),
            models=self.models if same else tuple(sorted({*self.models, *other.models})),
        )

    def found_again(self) -> "Usage":
        """The same calls where their answers are known already, and so free."""
        return Usage(cached_calls=self.lm_calls + self.cached_calls, models=self.models)

    def __sub__(self, other: "Usage") -> "Usage":
        """What was added to `other` to make this one; the models are those of this one."""
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            lm_calls=self.lm_calls - other.lm_calls,
            cached_calls=self.cached_calls - other.cached_calls,
            prompt_tokens=self.prompt_tokens - other.prompt_tokens,
            completion_tokens=self.completion_tokens - other.completion_tokens,
            cached_tokens=self.cached_tokens - other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens - other.reasoning_tokens,
            retries=self.retries - other.retries,
            abandoned_calls=self.abandoned_calls - other.abandoned_calls,
            latency_seconds=round(self.latency_seconds - other.latency_seconds, 6),
            cost_usd=None if unknown else (self.cost_usd or 0.0) - (other.cost_usd or 0.0),
            models=self.models,
        )

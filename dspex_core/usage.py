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
        cost_usd: Cost in US dollars; None if the price of some call is unknown.
    """

    model_config = ConfigDict(frozen=True)

    lm_calls: int = 0
    cached_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            lm_calls=self.lm_calls + other.lm_calls,
            cached_calls=self.cached_calls + other.cached_calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0),
        )

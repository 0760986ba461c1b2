"""Numbers as a person at a terminal reads them."""

from dspex_core.events import CandidateEvaluated
from dspex_core.usage import Usage


def usage_line(usage: Usage) -> str:
    """What calls took."""
    cost = "cost unknown" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    tokens = f"{usage.prompt_tokens + usage.completion_tokens:,} tokens"
    return f"{usage.lm_calls:,} LM calls, {usage.cached_calls:,} from the cache, {tokens}, {cost}"


def scored_in_words(candidate: CandidateEvaluated) -> str:
    """A candidate's score, and on how many rows, where that is not all."""
    if candidate.estimate is not None:
        return f"about {candidate.estimate:.2f} %, out of the race after {candidate.rows} rows"
    return f"{candidate.score:.2f} %{'' if candidate.rows is None else f' on {candidate.rows} rows'}"


def duration(seconds: float) -> str:
    """A length of time."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

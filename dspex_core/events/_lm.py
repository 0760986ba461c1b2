from typing import Literal

from dspex_core.events._base import EventModel


class AdapterFellBack(EventModel):
    """No answer to an adapter could be read, so the next one asks.

    Attributes:
        signature: What is asked for.
        adapter: Whose answers could not be read.
        fallback: Which adapter asks now.
        reason: What was wrong with the last answer.
    """

    type: Literal["adapter_fell_back"] = "adapter_fell_back"
    signature: str
    adapter: str
    fallback: str
    reason: str


class StructuredOutputRefused(EventModel):
    """A provider refused a form of structured output; from now on it is asked for the next one.

    Attributes:
        model: Provider and model.
        refused: "json_schema" or "json_object".
        fallback: "json_object", or "text": then only the prompt asks for JSON.
        reason: What the provider said.
    """

    type: Literal["structured_output_refused"] = "structured_output_refused"
    model: str
    refused: str
    fallback: str
    reason: str


class ParametersRefused(EventModel):
    """A model takes neither a temperature nor max_tokens; from now on it is asked as a reasoning model is.

    Attributes:
        model: Provider and model.
        reason: What the provider said.
    """

    type: Literal["parameters_refused"] = "parameters_refused"
    model: str
    reason: str


class LMFellBack(EventModel):
    """A model could not be reached, so the next of its fallbacks takes the call.

    Attributes:
        model: Provider and model that was asked.
        fallback: Provider and model that is asked now.
        reason: What went wrong.
    """

    type: Literal["lm_fell_back"] = "lm_fell_back"
    model: str
    fallback: str
    reason: str


class BreakerChanged(EventModel):
    """A model's circuit breaker opened, half opened or closed.

    Attributes:
        model: Provider and model.
        endpoint: Address that calls go to.
        state: "open": nothing is sent; "half_open": one call is, to find out; "closed": all are.
        tries_again_in_seconds: Time until an open one lets a call through.
        reason: The failure that opened it.
    """

    type: Literal["breaker_changed"] = "breaker_changed"
    model: str
    endpoint: str
    state: Literal["closed", "open", "half_open"]
    tries_again_in_seconds: float = 0.0
    reason: str = ""

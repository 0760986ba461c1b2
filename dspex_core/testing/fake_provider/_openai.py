"""What OpenAI's endpoints share: errors and the list of models."""

from collections.abc import Iterable

from aiohttp import web

from dspex_core.testing.fake_provider._exchange import Refusal

MODELS = ("fake-learner", "gpt-4o-mini", "gpt-4o")
"""What GET /v1/models lists; any other name is answered too."""

_RATE_LIMITED = 429
_SERVER_ERROR = 500


def model_list(tuned: Iterable[str]) -> web.Response:
    """The body of GET /v1/models; with the models that came out of fine-tuning."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "dspex"} for name in (*MODELS, *tuned)]
    return web.json_response({"object": "list", "data": entries})


def error_body(refusal: Refusal) -> dict[str, object]:
    """An error as OpenAI's API words it."""
    kind = "invalid_request_error"
    if refusal.status == _RATE_LIMITED:
        kind = "requests"
    elif refusal.status >= _SERVER_ERROR:
        kind = "server_error"
    return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}}


def refuse(refusal: Refusal) -> web.Response:
    """An error as OpenAI's API answers it."""
    return web.json_response(error_body(refusal), status=refusal.status)

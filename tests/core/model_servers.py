"""A model server that says what a test wants, and the wire format of what is said."""

import inspect
import json
import re

from aiohttp import web

from dspex_core import LM

MODEL = "openai/fake-learner"


class ScriptedModel:
    """A chat server that says what `answer(messages)` returns: a text, or a whole web.Response; it may be async."""

    def __init__(self, answer):
        self._answer = answer
        self.bodies = []
        self.base_url = ""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    @property
    def conversations(self):
        return [body["messages"] for body in self.bodies]

    async def _chat(self, request):
        body = await request.json()
        self.bodies.append(body)
        said = self._answer(body["messages"])
        said = await said if inspect.isawaitable(said) else said
        if not isinstance(said, str):
            return said
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        )


def lm_of(server, **options):
    return LM(options.pop("model", MODEL), api_base=server.base_url, **options)


def written(**fields):
    """An answer, or a part of a prompt, in the wire format."""
    blocks = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*blocks, "[[ ## completed ## ]]"])


def values_in(text):
    """Field values of one message."""
    pieces = re.split(r"^\[\[ ## (\w+) ## \]\]", text, flags=re.MULTILINE)
    return {name: value.strip().split("\n\n")[0] for name, value in zip(pieces[1::2], pieces[2::2], strict=True)}


def asked(messages):
    """Input values of the question, which is the first user message after the demos that is not a correction."""
    questions = [message["content"] for message in messages if message["role"] == "user"]
    return next(values for values in map(values_in, reversed(questions)) if values)


class AnyServer:
    """A server that answers every POST with `answer(body)`: JSON, a whole web.Response, or a list of stream events."""

    def __init__(self, answer):
        self._answer = answer
        self.calls = []
        self.root_url = ""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.root_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.base_url = self.root_url + "/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    @property
    def bodies(self):
        return [body for _, _, body in self.calls]

    async def _post(self, request):
        body = await request.json()
        self.calls.append((request.path_qs, dict(request.headers), body))
        said = self._answer(body)
        if isinstance(said, list):
            lines = [f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n" for event in said]
            return web.Response(text="".join(lines), content_type="text/event-stream")
        return web.json_response(said) if isinstance(said, dict) else said


def chat_answer(text="hi", **usage):
    counts = {"prompt_tokens": 10, "completion_tokens": 2} | usage
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "usage": counts}


def refusal(status, message, **fields):
    return web.json_response({"error": {"message": message} | fields}, status=status)

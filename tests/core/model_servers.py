"""A model server that says what a test wants, and the wire format of what is said."""

import inspect
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

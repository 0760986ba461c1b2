"""Activities of a compile measure the model asked for; others may fall back on another."""

import pytest
from aiohttp import web
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import Activities
from dspex_core import LM
from dspex_core.artifacts import ArtifactStore
from dspex_core.requests import Generate
from dspex_core.seam import LMRequest, Message
from dspex_core.testing import FakeProvider


async def refuse(_):
    return web.json_response({"error": {"message": "no more"}}, status=429, headers={"Retry-After": "3600"})


@pytest.fixture
async def used_up():
    """Address of a server that takes no call for an hour."""
    app = web.Application()
    app.router.add_post("/{path:.*}", refuse)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_a_model_falls_back_in_an_activity_unless_that_is_part_of_a_compile(used_up, tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-tests")
    async with FakeProvider() as provider:
        other = LM("openai/second", api_base=provider.base_url)
        lm = LM("openai/first", api_base=used_up, fallbacks=[other]).config
        request = LMRequest(messages=(Message(role="user", content="hello"),))
        activities, environment = Activities(ArtifactStore(tmp_path.as_uri()), trust=()), ActivityEnvironment()
        answer = await environment.run(activities.generate, Generate(request=request, lm=lm))
        assert answer.usage.models == ("openai/second",)
        with pytest.raises(ApplicationError) as caught:
            await environment.run(activities.generate, Generate(request=request, lm=lm, compiling=True))
        assert caught.value.type == "LMRateLimitError"
        await activities.close()

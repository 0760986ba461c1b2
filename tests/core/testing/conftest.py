import aiohttp
import pytest

from dspex_core.testing.fake_provider import FakeProvider


@pytest.fixture
async def provider():
    async with FakeProvider() as running:
        yield running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer key"}) as session:
        yield session

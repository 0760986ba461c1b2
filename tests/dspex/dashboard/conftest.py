"""The dashboard as people have it: `dspex dashboard` in a process of its own, and a real browser."""

import shutil
from pathlib import Path

import pytest
import pytest_asyncio
from dashboards import served
from playwright.async_api import async_playwright

from dspex import Client
from dspex_core import LM
from dspex_core.testing import FakeProviderProcess

IN_SESSION = {"scope": "session", "loop_scope": "session"}


@pytest_asyncio.fixture(**IN_SESSION)
async def client(shared_platform):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_platform.variables.items():
            patch.setenv(name, value)
        async with await Client.connect() as connected:
            yield connected


@pytest.fixture(scope="session")
def slow_model():
    """A model that takes its time, so that a run can be seen under way."""
    with FakeProviderProcess(latency_ms=300) as provider:
        yield LM("openai/fake", api_base=provider.base_url, concurrency=4)


@pytest_asyncio.fixture(**IN_SESSION)
async def board(shared_platform):
    """A dashboard for all tests that disturb none."""
    async with served(shared_platform) as running:
        yield running


@pytest_asyncio.fixture(**IN_SESSION)
async def chromium():
    """The system's Chromium, or else the one that `playwright install chromium` brings."""
    async with async_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install your system's package, or run `playwright install chromium`")
        # Its own sandbox wants privileges that containers do not have, and only our pages are opened.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium, board):
    """Opens addresses of the dashboard, each in a browser session of its own; fails if a page's script did."""
    contexts, defects = [], []

    async def open_(path="/", *, at=board, **options):
        context = await chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: defects.append(str(error)))
        await page.goto(at.address.split("?")[0].rstrip("/") + path)
        return page

    yield open_
    for context in contexts:
        await context.close()
    assert defects == []

"""Who gets into a dashboard, and what happens to it."""

import asyncio

import aiohttp
import pytest
from dashboards import served, start
from playwright.async_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

TOKEN = "a-token-of-the-tests"
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


async def status_of(address, path="/", **headers):
    url = address.split("?")[0].rstrip("/") + path
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status


async def socket_opens(address, **headers):
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(address.split("?")[0].rstrip("/") + SOCKET, headers=headers) as socket:
                return (await socket.receive()).type is aiohttp.WSMsgType.TEXT
        except aiohttp.WSServerHandshakeError:
            return False


async def test_another_sites_page_gets_neither_pages_nor_the_socket(board):
    own = f"http://127.0.0.1:{board.port}"
    assert await status_of(board.address) == 200
    assert await status_of(board.address, Origin=own) == 200
    assert await socket_opens(board.address, Origin=own)
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        assert await status_of(board.address, Origin=origin) == 403
        assert not await socket_opens(board.address, Origin=origin)


async def test_a_name_that_was_pointed_at_this_machine_gets_nothing(board):
    for host in ("evil.example", f"evil.example:{board.port}", "127.0.0.1.evil.example"):
        assert await status_of(board.address, Host=host) == 403
        assert not await socket_opens(board.address, Host=host, Origin=f"http://{host}")
    assert await status_of(board.address, Host=f"localhost:{board.port}") == 200


async def test_elsewhere_than_on_this_machine_alone_a_token_is_made_up_and_demanded(shared_platform, open_page):
    async with served(shared_platform, "--host", "0.0.0.0", "--port", "0", DSPEX_DASHBOARD_TOKEN=TOKEN) as guarded:
        assert guarded.address.endswith(f"/?token={TOKEN}")
        local = guarded.address.replace("0.0.0.0", "127.0.0.1")
        for path in ("/", "/runs/any", "/?token=wrong", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"):
            assert await status_of(local, path) == 401
        assert not await socket_opens(local)
        assert not await socket_opens(local, Cookie="dspex_dashboard=wrong")
        assert await socket_opens(local, Cookie=f"dspex_dashboard={TOKEN}")
        page = await open_page(at=guarded)
        await expect(page.get_by_text("asks for its token")).to_be_visible()
        await page.get_by_label("Token").fill(TOKEN)
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        assert TOKEN not in page.url
        await page.reload()
        await expect(page.get_by_role("heading", name="Runs")).to_be_visible()


async def test_a_body_far_too_large_is_refused_unread(board):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(board.port))
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{board.port}\r\nContent-Length: 21000000\r\n\r\n"
    writer.write(head.encode())
    assert b"413" in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_killed_dashboard_comes_back_and_the_open_page_goes_on_by_itself(
    client, shared_platform, open_page, slow_model
):
    async with served(shared_platform) as first:
        run = await start(client, slow_model, name="killed")
        page = await open_page(f"/runs/{run.id}", at=first)
        await expect(page.get_by_role("status")).to_have_text("running")
        await first.kill()
    async with served(shared_platform, "--port", first.port):
        result = await run.result()
        await expect(page.get_by_role("status")).to_have_text("completed", timeout=20_000)
        rows = page.get_by_role("region", name="Candidates").get_by_role("row")
        await expect(rows).to_have_count(1 + len(result.candidates))


async def test_a_token_too_short_to_be_one_is_refused(shared_platform):
    done = shared_platform.cli("dashboard", "--port", "0", DSPEX_DASHBOARD_TOKEN="short")
    assert done.returncode == 2
    assert "DSPEX_DASHBOARD_TOKEN must be at least 16" in done.stderr


async def test_a_port_that_is_taken_is_said(board, shared_platform):
    done = shared_platform.cli("dashboard", "--port", board.port)
    assert done.returncode == 2
    assert f"port {board.port}" in done.stderr
    assert "Traceback" not in done.stderr

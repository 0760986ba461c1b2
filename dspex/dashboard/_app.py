import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from dspex.client import Client
from dspex.dashboard._board import Board
from dspex.dashboard._candidate_page import candidate_page, row_page
from dspex.dashboard._compare_page import compare_page
from dspex.dashboard._gate import LOOPBACK_HOSTS, Gate
from dspex.dashboard._run_page import run_page
from dspex.dashboard._runs_page import runs_page
from dspex.dashboard._start_page import start_page
from dspex.dashboard._transfers import add_downloads, add_uploads
from dspex_core.errors import ConfigurationError

_PAGE_SECONDS = 30.0
_STOP_SECONDS = 2


@asynccontextmanager
async def serving(
    client: Client, listener: socket.socket, *, token: str | None, for_this_machine: bool
) -> AsyncGenerator[None]:
    """Serve the pages on this socket while the block runs."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    board = Board(client)
    add_downloads(app, board)
    add_uploads(app, board)
    _add_pages(board)
    ui.run_with(  # pyright: ignore[reportUnknownMemberType] - partly untyped
        app,
        title="DSPEx",
        favicon="🜂",
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    gate = Gate(app, token=token, hosts=LOOPBACK_HOSTS if for_this_machine else None)
    config = uvicorn.Config(
        gate, log_level="warning", timeout_graceful_shutdown=_STOP_SECONDS, server_header=False, lifespan="on"
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if serving.done():
                await serving
                raise ConfigurationError("the dashboard did not start; its log says why")
            await asyncio.sleep(0.02)
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        board.uploads.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the command, which ends all that it started in order."""
        yield


def _add_pages(board: Board) -> None:
    style = files("dspex.dashboard").joinpath("style.css").read_text(encoding="utf-8")
    ui.add_css(style, shared=True)

    @ui.page("/", response_timeout=_PAGE_SECONDS)
    async def _() -> None:
        await runs_page(board)

    @ui.page("/runs/{run_id:path}", response_timeout=_PAGE_SECONDS)
    async def _(run_id: str) -> None:
        await run_page(board, run_id)

    @ui.page("/candidates/{run_id:path}/{index:int}", response_timeout=_PAGE_SECONDS)
    async def _(run_id: str, index: int) -> None:
        await candidate_page(board, run_id, index)

    @ui.page("/rows/{run_id:path}/{index:int}/{row:int}", response_timeout=_PAGE_SECONDS)
    async def _(run_id: str, index: int, row: int) -> None:
        await row_page(board, run_id, index, row)

    @ui.page("/compare", response_timeout=_PAGE_SECONDS)
    async def _(first: str = "", second: str = "") -> None:
        await compare_page(board, first, second)

    @ui.page("/start", response_timeout=_PAGE_SECONDS)
    async def _() -> None:
        await start_page(board)

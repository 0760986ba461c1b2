"""How answers go out: wholly, or in pieces at a pace, never faster than the client reads."""

import asyncio
import socket
from collections.abc import Iterable
from typing import cast

from aiohttp import web

from dspex_core.testing.fake_provider._disturbance import Cut, Stall, Step
from dspex_core.testing.fake_provider._stats import Ledger

_SEND_BUFFER_BYTES = 16 * 1024


async def write_body(request: web.Request, body: bytes) -> web.Response:
    """Return once the operating system has every byte of the body.

    Raises:
        ConnectionError: The client has gone.
    """
    transport = _unbuffered(request)
    response = web.Response(body=body, content_type="application/json")
    await response.prepare(request)
    await response.write_eof()
    if transport.is_closing():
        raise ConnectionResetError("the client has gone")
    return response


async def write_half(request: web.Request, body: bytes) -> web.StreamResponse:
    """Send half of a body whose whole length is announced, and close the connection."""
    transport = _unbuffered(request)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    transport.close()
    return response


async def write_stream(
    request: web.Request, steps: Iterable[Step], ledger: Ledger, *, chunk_seconds: float
) -> web.StreamResponse:
    """Send the events one by one; the next is made only when the operating system has taken the last one.

    The system's own buffer is kept small, so that a client that reads slowly is soon waited for.

    Raises:
        ConnectionError: The client has gone.
    """
    transport = _unbuffered(request)
    connection = cast("socket.socket | None", transport.get_extra_info("socket"))
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    with ledger.streaming():
        await response.prepare(request)
        for number, step in enumerate(steps):
            if isinstance(step, Cut):
                if not step.in_order:
                    transport.close()
                    return response
                break
            if isinstance(step, Stall):
                await asyncio.sleep(step.seconds)
                continue
            if number and chunk_seconds:
                await asyncio.sleep(chunk_seconds)
            await response.write(step)
            await request.writer.drain()
            ledger.chunks += 1
        await response.write_eof()
        if transport.is_closing():
            raise ConnectionResetError("the client has gone")
    return response


def _unbuffered(request: web.Request) -> asyncio.WriteTransport:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    writing = cast("asyncio.WriteTransport", transport)
    writing.set_write_buffer_limits(high=0)
    return writing

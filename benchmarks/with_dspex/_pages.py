"""Pages of the dashboard, read as browsers read them, without what browsers take to draw them."""

import ast
import asyncio
import json
import re
import uuid
from urllib.parse import urlencode

import aiohttp

SHOWN_AT_THE_END = '"completed"'


async def read_pages(address: str, run_id: str, count: int) -> None:
    """Open a run's page so many times, and read each until it shows that the run has completed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_read_page(session, address.rstrip("/"), run_id) for _ in range(count)))


async def _read_page(session: aiohttp.ClientSession, address: str, run_id: str) -> None:
    async with session.get(f"{address}/runs/{run_id}") as response:
        page = await response.text()
    told = re.search(r"query: (\{[^{}]+\})", page)
    if told is None:
        raise RuntimeError("the page does not say how it is kept up to date")
    query = ast.literal_eval(told.group(1)) | {
        "implicit_handshake": "true",
        "document_id": str(uuid.uuid4()),
        "tab_id": str(uuid.uuid4()),
        "EIO": "4",
        "transport": "websocket",
    }
    async with session.ws_connect(f"{address}/_nicegui_ws/socket.io/?{urlencode(query)}", max_msg_size=0) as socket:
        shown = int(query["next_message_id"])
        async for message in socket:
            said = message.data if message.type is aiohttp.WSMsgType.TEXT else ""
            # Engine.IO 4: 0 opens, 2 asks whether anybody is there; 42 is a message of Socket.IO's.
            if said.startswith("0"):
                await socket.send_str("40")
            elif said == "2":
                await socket.send_str("3")
                await socket.send_str(
                    "42" + json.dumps(["ack", {"client_id": query["client_id"], "next_message_id": shown}])
                )
            elif said.startswith("42"):
                shown += 1
                if SHOWN_AT_THE_END in said:
                    return
        raise RuntimeError(f"the page was told no more before its run ended: {socket.close_code}")

"""The same requests as `evaluate`, ready-made and sent by aiohttp alone: how fast the provider itself can be."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from benchmarks._child import all_ready, given, report
from benchmarks.with_dspex._triage import MODEL, Triage, examples
from benchmarks.with_dspex.evaluate import FIRST_DEMO
from dspex_core.adapters import ChatAdapter


def bodies(rows: int, *, first: int, demos: int) -> Iterator[bytes]:
    adapter = ChatAdapter()
    shown = tuple(example.to_dict() for example in examples(demos, first=FIRST_DEMO))
    prefix = adapter.prefix(Triage, Triage.instructions, shown)
    for example in examples(rows, first=first):
        messages = [message.model_dump() for message in (*prefix, *adapter.question(Triage, example.inputs()))]
        body: dict[str, Any] = {"model": MODEL.partition("/")[2], "messages": messages, "temperature": 0.0}
        yield json.dumps(body).encode()


async def main() -> None:
    options = given()
    url = f"{options['api_base']}/chat/completions"
    waiting = iter(list(bodies(options["rows"], first=options.get("first", 0), demos=options["demos"])))
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=options["in_flight"])
    async with aiohttp.ClientSession(headers=headers, connector=connector, raise_for_status=True) as session:

        async def work() -> None:
            for body in waiting:
                async with session.post(url, data=body) as response:
                    await response.json()

        all_ready()
        began_at, start, cpu = time.time(), time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(options["in_flight"])))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    report(seconds=seconds, cpu_seconds=cpu, began_at=began_at, ended_at=began_at + seconds)


if __name__ == "__main__":
    asyncio.run(main())

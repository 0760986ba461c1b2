"""A fake provider in a process of its own: `python -m dspex_core.testing.fake_provider --port 8000`."""

import argparse
import asyncio
import gc
import os
import sys
import threading

from dspex_core.errors import InputError
from dspex_core.testing.fake_provider import FAULT_KINDS, FakeProvider

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main() -> int:
    """Serve until told to stop; 0 after that, 2 if the flags cannot be used."""
    options = vars(_parser().parse_args())
    watch_stdin = options.pop("until_stdin_closes")
    # Requests leave no cycles behind; looking for some after every few hundred objects costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    try:
        asyncio.run(_serve(FakeProvider(**options), watch_stdin=watch_stdin))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _serve(provider: FakeProvider, *, watch_stdin: bool) -> None:
    stopping = asyncio.Event()
    if watch_stdin:
        loop = asyncio.get_running_loop()
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stopping), daemon=True).start()
    await provider.serve_forever(until=stopping)


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # Not sys.stdin: a daemon thread that holds its lock would make the interpreter's shutdown fail.
    while os.read(0, 4096):
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stopping.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fake-provider", description="A model provider that learns from its prompts.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of attempts that meet a fault, 0 to 1")
    parser.add_argument("--fault-kinds", default=",".join(FAULT_KINDS), help="with commas")
    parser.add_argument("--seed", type=int, default=0, help="decides which attempts meet which fault")
    parser.add_argument("--capacity", type=int, help="most requests at a time; above it, 429")
    parser.add_argument("--api-key", help="the one key accepted; any is, by default")
    parser.add_argument("--requests-per-minute", type=int, help="above it, 429")
    parser.add_argument("--tokens-per-minute", type=int, help="above it, 429")
    parser.add_argument("--retry-after-format", default="seconds", choices=("seconds", "date"))
    parser.add_argument("--outage", choices=("unavailable", "drop", "hang"), help="what happens to every request")
    parser.add_argument("--retry-after-seconds", type=float, default=1.0, help="what a 429 asks for")
    parser.add_argument("--slow-seconds", type=float, default=2.0, help="the least that a slow answer takes")
    parser.add_argument("--chunk-characters", type=int, default=8, help="text in each event of a stream")
    parser.add_argument("--chunk-latency-ms", type=float, default=0.0, help="between two events of a stream")
    parser.add_argument(
        "--no-structured-output", dest="structured_output", action="store_false", help="refuse JSON schemas for answers"
    )
    parser.add_argument("--prompt-caching", action="store_true", help="keep beginnings of prompts, and say so in usage")
    parser.add_argument("--fine-tuning-polls", type=int, default=2, help="before a fine-tuning job has succeeded")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin does")
    return parser


if __name__ == "__main__":
    sys.exit(main())

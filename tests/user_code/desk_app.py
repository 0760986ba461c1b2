"""Tools of a user's own, as a worker would import them."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Literal

from dspex_core import Module, Predict, Tool
from dspex_core.errors import AdapterParseError

PEOPLE = {"France": 68.4, "Spain": 48.6, "Portugal": 10.6}


def lookup(country: str) -> str:
    """Look up how many people live in a country, in millions.

    Args:
        country: Its English name.
    """
    return f"{PEOPLE[country]} million"


async def calculator(left: float, operation: Literal["add", "multiply"], right: float) -> float:
    """Calculate with two numbers."""
    return round(left + right if operation == "add" else left * right, 6)


@Tool
def decorated(text: str) -> str:
    """Shout."""
    return text.upper()


async def hang() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


impatient = Tool(hang, name="hang", timeout_seconds=0.05)


def key_of_call(idempotency_key: str) -> str:
    """Tell the key."""
    return idempotency_key


def die_once(folder: str, idempotency_key: str) -> str:
    """Write the call's key down; the first time, end the process as a crash would."""
    keys = Path(folder) / "keys"
    first = not keys.exists()
    with keys.open("a") as file:
        file.write(idempotency_key + "\n")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return idempotency_key


def pay_out(folder: str, amount: int) -> str:
    """Pay somebody."""
    with (Path(folder) / "paid").open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"


pay = Tool(pay_out, name="pay", needs_approval=True)
deposit = Tool(pay_out, name="deposit")
asked_for = Tool(lookup, name="asked_for", needs_approval=True)


async def ask_model(text: str) -> str:
    """Ask a model for a topic."""
    return (await Predict("text -> topic")(text=text)).topic


class Careless(Module):
    """Asks for a topic; the first time it fails. Writes a line for each try."""

    def __init__(self):
        self.topic = Predict("text -> topic")

    async def forward(self, text, folder):
        tries = Path(folder) / "tries"
        with tries.open("a") as file:
            file.write("tried\n")
        if len(tries.read_text().split()) < 2:
            raise AdapterParseError("a slip", answer="")
        return await self.topic(text=text)


class Stubborn(Careless):
    """The same, and its first try takes until it may go."""

    async def forward(self, text, folder):
        if not (Path(folder) / "tries").exists():
            (Path(folder) / "begun").touch()
            while not (Path(folder) / "may go").exists():
                await asyncio.sleep(0.05)
        return await super().forward(text, folder)


QUESTION = "How many people live in France and Spain together?"


def step(seen, name, args, thought="next"):
    return {
        "when": [QUESTION, seen],
        "answer": {"next_thought": thought, "next_tool_name": name, "next_tool_args": args},
    }


FINAL = {
    "when": [QUESTION, "`[[ ## reasoning ## ]]`"],
    "answer": {"reasoning": "The sum was calculated.", "answer": "117 million"},
}
SCRIPT = [
    FINAL,
    step("observation_2", "finish", {}),
    step("observation_1", "calculator", {"left": 68.4, "operation": "add", "right": 48.6}),
    step("observation_0", "lookup", {"country": "Spain"}),
    step("", "lookup", {"country": "France"}, thought="France first"),
]
TRAJECTORY = {
    "thought_0": "France first",
    "tool_name_0": "lookup",
    "tool_args_0": {"country": "France"},
    "observation_0": "68.4 million",
    "thought_1": "next",
    "tool_name_1": "lookup",
    "tool_args_1": {"country": "Spain"},
    "observation_1": "48.6 million",
    "thought_2": "next",
    "tool_name_2": "calculator",
    "tool_args_2": {"left": 68.4, "operation": "add", "right": 48.6},
    "observation_2": "117.0",
    "thought_3": "next",
    "tool_name_3": "finish",
    "tool_args_3": {},
    "observation_3": "Completed.",
}

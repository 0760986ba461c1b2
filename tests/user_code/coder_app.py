"""A tool of a user's own for models that write code, and the scripts of such models."""

import os
import signal
from pathlib import Path

from dspex_core import Predict

PEOPLE = {"France": 68.4, "Spain": 48.6}


def population(country: str) -> dict[str, float]:
    """Look up how many people live in a country, in millions.

    Args:
        country: Its English name.
    """
    return {"millions": PEOPLE[country]}


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


async def ask_model(text: str) -> str:
    """Ask a model for a topic."""
    return (await Predict("text -> topic")(text=text)).topic


QUESTION = "How many people live in France and Spain together?"


def step(seen, code, *, finished=True):
    return {"when": [QUESTION, seen], "answer": {"generated_code": code, "finished": finished}}


FINAL = {
    "when": [QUESTION, "`[[ ## reasoning ## ]]`"],
    "answer": {"reasoning": "The sum was printed.", "answer": "117 million"},
}
CODE = (
    "total = population('France')['millions']",
    "total += population(country='Spain')['millions']\ntotal",
    "print(f'{total:.0f} million')",
)
SCRIPT = [
    FINAL,
    step("code_output_1", CODE[2]),
    step("code_output_0", CODE[1], finished=False),
    step("", CODE[0], finished=False),
]
TRAJECTORY = {
    "generated_code_0": CODE[0],
    "code_output_0": "",
    "generated_code_1": CODE[1],
    "code_output_1": "117.0",
    "generated_code_2": CODE[2],
    "code_output_2": "117 million",
}

PROGRAM_SCRIPT = [
    {
        "when": [QUESTION, "`[[ ## answer ## ]]`", "117 million"],
        "answer": {"reasoning": "It was computed.", "answer": "117 million"},
    },
    {
        "when": [QUESTION, "ZeroDivisionError"],
        "answer": {"reasoning": "No division.", "generated_code": "print(round(68.4 + 48.6), 'million')"},
    },
    {"when": QUESTION, "answer": {"reasoning": "Divide.", "generated_code": "print(1)\nprint(68.4 / 0)"}},
]
PROGRAM_TRAJECTORY = {
    "generated_code_0": "print(1)\nprint(68.4 / 0)",
    "observation_0": (
        '1\nTraceback (most recent call last):\n  File "<python-input-0>", line 2, in <module>\n    print(68.4 / 0)\n'
        "          ~~~~~~~~\nZeroDivisionError: division by zero"
    ),
    "generated_code_1": "print(round(68.4 + 48.6), 'million')",
    "code_output_1": "117 million",
}

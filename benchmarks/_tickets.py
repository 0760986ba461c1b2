"""Rows for both sides: short messages from templates, each for one team. Needs the standard library only."""

import random

INSTRUCTIONS = "Route a customer's message to the team that handles it."
TEAMS = ("account", "billing", "bug", "shipping")

SCRIPT = [{"when": "", "answer": "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"}]
"""What a provider says whose thinking would take the machine's cores from those whose speed is measured."""

_OPENINGS = ("Hello,", "Hi there,", "Please help:", "Again:", "Dear team,", "Quick one:")
_TEMPLATES = {
    "account": ("I cannot sign in as user {n}", "the password of profile {n} is refused", "close my login {n}"),
    "billing": ("invoice {n} was charged twice", "refund payment {n}", "card fee {n} is not mine"),
    "bug": ("the app crashes with code {n}", "screen {n} stays blank", "error {n} when I press save"),
    "shipping": ("parcel {n} has not arrived", "box {n} came broken", "the courier lost order {n}"),
}


def tickets(count: int, *, first: int = 0, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of message and team, no two alike; the same for the same arguments.

    Args:
        count: How many.
        first: The number of the first one; sets of other numbers share no message.
        seed: Decides team, template and opening.
    """
    rng = random.Random(f"{seed}/{first}")
    rows: list[tuple[str, str]] = []
    for number in range(first, first + count):
        team = rng.choice(TEAMS)
        rows.append((f"{rng.choice(_OPENINGS)} {rng.choice(_TEMPLATES[team]).format(n=number)}.", team))
    return rows

"""A short form of `make chaos`."""

import pytest
from chaos_rounds import SLOW, planned, rounds

from dspex_core.optimizers import OPTIMIZERS

SEED, NUMBERS = 3, (3, 15)


@pytest.mark.slow
async def test_compiles_whose_parts_are_killed_and_stopped_at_random_end_as_if_undisturbed(tmp_path):
    outcomes = [outcome async for outcome in rounds(SEED, NUMBERS, tmp_path)]
    assert len(outcomes) == len(NUMBERS)
    # How fast a machine recovers that runs other tests as well says nothing.
    assert [str(outcome) for outcome in outcomes if {*outcome.wrong} - {SLOW}] == []


def test_twenty_rounds_disturb_every_optimizer_and_every_part():
    plans = [planned(1, number, "any")[0] for number in range(20)]
    assert {plan.optimizer for plan in plans} == set(OPTIMIZERS)
    assert {(blow.part, blow.how) for plan in plans for blow in plan.blows} == {
        *((part, how) for part in ("worker", "server") for how in ("kill", "end", "stop")),
        ("provider", "kill"),
        ("provider", "stop"),
    }

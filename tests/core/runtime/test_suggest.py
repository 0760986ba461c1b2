import warnings

from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import Trial

SPACE = {"instruction": 4, "demos": 6}


def tried(count):
    """Trials in which demos 5 is what counts."""
    return [
        Trial(choices={"instruction": n % 4, "demos": n % 6}, score=90.0 if n % 6 == 5 else 20.0 + n % 3)
        for n in range(count)
    ]


async def test_the_same_history_and_seed_give_the_same_suggestions():
    first = await InProcessRuntime().suggest(SPACE, tried(14), count=5, seed=9)
    second = await InProcessRuntime().suggest(SPACE, tried(14), count=5, seed=9)
    assert first == second
    assert await InProcessRuntime().suggest(SPACE, tried(14), count=5, seed=8) != first


async def test_suggestions_are_choices_within_the_space():
    found = await InProcessRuntime().suggest(SPACE, [], count=30, seed=0)
    assert len(found) == 30
    assert all(found_one.keys() == SPACE.keys() for found_one in found)
    assert {one["demos"] for one in found} == set(range(6))


async def test_what_did_well_is_suggested_again():
    found = await InProcessRuntime().suggest(SPACE, tried(36), count=20, seed=1)
    assert sum(one["demos"] == 5 for one in found) > 6


async def test_a_longer_history_draws_anew():
    drawn = [await InProcessRuntime().suggest(SPACE, tried(n), count=4, seed=3) for n in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]


async def test_no_warning_of_the_library_reaches_the_user():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await InProcessRuntime().suggest(SPACE, tried(3), count=1, seed=0)
    assert [warning for warning in caught if "optuna" in str(warning.filename)] == []

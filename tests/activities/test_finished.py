"""What an earlier run finished is found again, counts as free, and is done anew where it cannot be read."""

import pytest

from activities._finished import Finished
from dspex_core.artifacts import ArtifactStore
from dspex_core.requests import ChunkEvaluation, Kept
from dspex_core.seam import LMResponse
from dspex_core.usage import Usage

FIRST, RESUMED = (Kept(name=f"{'a' * 64}/{'b' * 64}-1", look=look) for look in (False, True))


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path.as_uri())


@pytest.fixture
def finished(store):
    return Finished(store)


def asked(text):
    async def ask():
        return LMResponse(text=text, usage=Usage(lm_calls=1, prompt_tokens=9, cost_usd=0.5))

    return ask


def chunk(*rows, score=1.0):
    digest = f"{rows[0]:064x}"
    return rows, ChunkEvaluation(
        scores=(score,) * len(rows), failures=(), usage=Usage(lm_calls=len(rows), cost_usd=1.0), rows=digest
    )


async def test_a_run_that_goes_on_gets_the_earlier_answer_for_nothing_and_another_run_asks(finished):
    assert (await finished.once(FIRST, LMResponse, asked("one"))).usage.lm_calls == 1
    again = await finished.once(RESUMED, LMResponse, asked("two"))
    assert (again.text, again.usage) == ("one", Usage(cached_calls=1))
    assert (await finished.once(FIRST, LMResponse, asked("three"))).text == "three"
    assert (await finished.once(None, LMResponse, asked("four"))).text == "four"


async def test_an_answer_of_another_form_is_asked_for_again(finished, store):
    await store.keep(f"{RESUMED.name}/answer", b'{"written by": "another version"}')
    assert (await finished.once(RESUMED, LMResponse, asked("anew"))).text == "anew"
    assert (await finished.once(RESUMED, LMResponse, asked("not asked"))).text == "anew"


async def test_of_pieces_that_share_rows_the_largest_counts_and_none_counts_twice(finished):
    for rows, piece in (chunk(0, 1), chunk(1, 2, 3, score=0.5), chunk(4)):
        await finished.keep_rows(RESUMED, piece, rows)
    await finished.keep_rows(RESUMED, chunk(9)[1], ())
    found = (await finished.rows(RESUMED)).chunks
    assert [piece.indices for piece in found] == [(1, 2, 3), (4,)]
    assert [piece.scores for piece in found] == [(0.5, 0.5, 0.5), (1.0,)]
    assert [piece.usage for piece in found] == [Usage(cached_calls=3), Usage(cached_calls=1)]

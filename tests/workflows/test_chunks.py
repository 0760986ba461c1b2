from hypothesis import given
from hypothesis import strategies as st

from workflows import plan_chunks

rows_wanted = st.integers(0, 200_000)
sizes = st.none() | st.integers(1, 5_000)


@given(rows=rows_wanted, size=sizes)
def test_chunks_hold_every_row_once_and_in_order(rows, size):
    chunks = plan_chunks(rows, chunk_rows=size)
    assert all(len(chunk) > 0 for chunk in chunks)
    ends = [0, *(chunk.stop for chunk in chunks)]
    assert [chunk.start for chunk in chunks] == ends[:-1]
    assert ends[-1] == rows


@given(rows=st.integers(1, 200_000), size=st.integers(1, 5_000))
def test_a_size_that_is_asked_for_is_kept(rows, size):
    chunks = plan_chunks(rows, chunk_rows=size)
    assert {len(chunk) for chunk in chunks[:-1]} <= {size}
    assert len(chunks[-1]) <= size


@given(rows=st.integers(1, 200_000))
def test_without_one_no_chunk_is_large_and_only_the_last_is_small(rows):
    chunks = plan_chunks(rows)
    assert max(len(chunk) for chunk in chunks) <= 100
    assert all(len(chunk) >= 10 for chunk in chunks[:-1])


def test_a_few_rows_are_one_activity_and_a_hundred_are_shared_among_workers():
    assert len(plan_chunks(8)) == 1
    assert len(plan_chunks(100)) == 10
    assert len(plan_chunks(200)) == 16

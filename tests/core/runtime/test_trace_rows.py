"""Which rows are traced, and when: as many as are still wanted, and never one in vain."""

import asyncio
import gc

import pytest

from dspex_core.runtime._trace import trace_rows
from dspex_core.seam import RowTrace, TraceRequest

ROWS = [(row, None) for row in range(10)]


class Runs:
    """Runs that end when a test lets them; some rows are accepted."""

    def __init__(self, *accepted):
        self.accepted = accepted
        self.begun = []
        self._ends = {row: asyncio.get_running_loop().create_future() for row, _ in ROWS}

    async def __call__(self, row, example, rollout):
        self.begun.append(row)
        await self._ends[row]
        return RowTrace(row=row, accepted=row in self.accepted, demos={})

    async def end(self, *rows, error=None):
        for row in rows:
            self._ends[row].set_exception(error) if error else self._ends[row].set_result(None)
        for _ in range(20):  # turns of the loop
            await asyncio.sleep(0)


async def test_a_slow_row_holds_up_no_other_and_none_is_tried_in_vain():
    runs = Runs(0, 4, 5)
    under_way = asyncio.create_task(trace_rows(runs, ROWS, TraceRequest(rows=tuple(range(10)), wanted=3)))
    await runs.end(1, 2)
    assert runs.begun == [0, 1, 2, 3, 4]  # row 0 may still be accepted, so two more are
    await runs.end(3)
    assert runs.begun == [0, 1, 2, 3, 4, 5]
    await runs.end(4, 5)
    assert runs.begun == [0, 1, 2, 3, 4, 5]  # enough, if row 0 is accepted
    await runs.end(0)
    found = await under_way
    assert ([trace.row for trace in found.accepted], found.tried, found.runs) == ([0, 4, 5], 6, 6)


async def test_after_an_error_no_row_is_begun_and_those_under_way_are_finished():
    runs = Runs(0)
    under_way = asyncio.create_task(trace_rows(runs, ROWS, TraceRequest(rows=tuple(range(10)), wanted=2)))
    await runs.end(1, error=ConnectionError("gone"))
    assert not under_way.done()
    await runs.end(0)
    with pytest.raises(ConnectionError):
        await under_way
    assert runs.begun == [0, 1]


async def test_rows_under_way_end_when_the_trace_is_cancelled():
    runs = Runs()
    under_way = asyncio.create_task(trace_rows(runs, ROWS, TraceRequest(rows=tuple(range(10)), wanted=2)))
    await runs.end()
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    assert {task for task in asyncio.all_tasks() if "_try_row" in repr(task)} == set()


async def test_of_rows_that_fail_together_one_is_told_and_none_is_complained_of():
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    runs = Runs()
    under_way = asyncio.create_task(trace_rows(runs, ROWS, TraceRequest(rows=tuple(range(10)), wanted=3)))
    await runs.end(0, 1, 2, error=ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await under_way
    del under_way, runs
    gc.collect()
    assert complaints == []

"""Evaluating rows that are read as they are needed."""

import asyncio
import gc
import json
import tracemalloc

import pytest

from dspex_core import Evaluate, Example, Prediction
from dspex_core.datasets import DataFile
from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, LMAuthenticationError


async def echo(text):
    await asyncio.sleep(0)
    return Prediction(team=text.upper())


def numbered(count, *, wrong=()):
    for number in range(count):
        yield Example(text=f"t{number}", team="wrong" if number in wrong else f"T{number}").with_inputs("text")


async def test_rows_of_a_generator_are_scored_like_those_of_a_list():
    streamed = await Evaluate(numbered(200, wrong=(7,)), "exact_match", concurrency=5)(echo)
    listed = await Evaluate(list(numbered(200, wrong=(7,))), "exact_match", concurrency=5)(echo)
    assert streamed.score == listed.score == 99.5
    assert streamed.rows == listed.rows
    assert streamed.scores == listed.scores
    assert streamed.scores[6:9] == [1.0, 0.0, 1.0]


async def test_no_row_is_read_before_there_is_a_place_for_it():
    read = done = ahead = 0

    def rows():
        nonlocal read, ahead
        for example in numbered(500):
            read += 1
            ahead = max(ahead, read - done)
            yield example

    def count(result):
        nonlocal done
        done += 1

    await Evaluate(rows(), "exact_match", concurrency=7, on_row=count)(echo)
    assert (read, done, ahead) == (500, 500, 7)


async def test_rows_that_are_done_are_let_go():
    alive = most = 0

    class Counted(Example):
        __slots__ = ()

        def __init__(self, *arguments, **fields):
            nonlocal alive, most
            super().__init__(*arguments, **fields)
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    rows = (Counted(example).with_inputs("text") for example in numbered(2_000))
    await Evaluate(rows, "exact_match", concurrency=4)(echo)
    gc.collect()
    assert alive == 0
    assert most <= 20


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_rows_of_a_file(tmp_path):
    async def peak_of(count):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps({"text": f"t{number}", "team": "x" * 500}) + "\n" for number in range(count))
        evaluate = Evaluate(DataFile(path, inputs=["text"]), "exact_match", keep_rows=100)
        gc.collect()
        tracemalloc.start()
        try:
            assert len((await evaluate(echo)).scores) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = await peak_of(500), await peak_of(10_000)
    # 10,000 scores of 8 bytes, as an array and as a list; the rows alone would be 10 million bytes.
    assert many - few < 1_500_000


async def test_only_the_first_results_are_kept_and_all_are_handed_over():
    seen = []
    result = await Evaluate(
        list(numbered(50, wrong=range(0, 50, 2))), "exact_match", keep_rows=3, on_row=seen.append, concurrency=4
    )(echo)
    assert [row.row for row in result.rows] == [0, 1, 2]
    assert sorted(row.row for row in seen) == list(range(50))
    assert (result.score, len(result.scores), result.failed) == (50.0, 50, 0)


async def test_of_a_stream_a_thousand_results_are_kept_unless_more_are_asked_for():
    assert len((await Evaluate(numbered(1_200), "exact_match")(echo)).rows) == 1_000
    assert len((await Evaluate(numbered(1_200), "exact_match", keep_rows=1_100)(echo)).rows) == 1_100


async def test_failures_are_counted_though_not_kept():
    async def failing(text):
        raise ValueError(text)

    result = await Evaluate(list(numbered(20)), "exact_match", keep_rows=0)(failing)
    assert (result.failed, result.errors, result.rows, result.score) == (20, [], [], 0.0)
    with pytest.raises(EvaluationError, match="3 rows failed"):
        await Evaluate(numbered(20), "exact_match", keep_rows=0, max_errors=2, concurrency=1)(failing)


async def test_an_iterator_that_is_used_up_has_no_rows():
    evaluate = Evaluate(numbered(3), "exact_match")
    await evaluate(echo)
    with pytest.raises(DatasetError, match="no rows; an iterator gives them once only"):
        await evaluate(echo)


async def test_a_row_without_inputs_is_named_when_it_is_read():
    rows = (Example(text="x") if number == 2 else example for number, example in enumerate(numbered(5)))
    with pytest.raises(DatasetError, match=r"row 2: .*with_inputs"):
        await Evaluate(rows, "exact_match")(echo)


async def test_what_the_rows_themselves_raise_arrives_as_it_is():
    def broken():
        yield from numbered(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await Evaluate(broken(), "exact_match", concurrency=1)(echo)


def test_a_files_name_alone_is_answered_with_how_to_read_it():
    with pytest.raises(ConfigurationError, match=r"DataFile\('tickets\.csv', inputs="):
        Evaluate("tickets.csv", "exact_match")
    with pytest.raises(ConfigurationError, match="keep_rows is -1"):
        Evaluate(list(numbered(1)), "exact_match", keep_rows=-1)


async def test_a_share_of_failed_rows_is_taken_of_those_done_and_not_of_those_begun():
    release = asyncio.Event()

    async def fails_early_at_the_end(text):
        if int(text[1:]) >= 150:
            raise ValueError("no")
        await release.wait()
        return Prediction(team=text.upper())

    def go_on(result):
        if result.row == 199:
            release.set()

    evaluation = Evaluate(numbered(200), "exact_match", concurrency=200, max_errors=0.26, on_row=go_on)
    assert (await evaluation(fails_early_at_the_end)).failed == 50
    with pytest.raises(EvaluationError, match=r"max_errors=0\.2;"):
        await Evaluate(numbered(200), "exact_match", concurrency=200, max_errors=0.2)(fails_early_at_the_end)


async def test_what_ends_an_evaluation_says_how_many_rows_were_done_and_how_many_are_kept():
    async def refused_at_last(text):
        if text == "t50":
            raise LMAuthenticationError("no such key", provider="p", model="m")
        return await echo(text)

    with pytest.raises(EvaluationError, match="stopped after 50 rows, 10 of whose results") as caught:
        await Evaluate(numbered(60), "exact_match", concurrency=1, keep_rows=10)(refused_at_last)
    assert len(caught.value.rows) == 10

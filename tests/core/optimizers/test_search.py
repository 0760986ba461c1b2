"""What a `Search` offers to every optimizer."""

import asyncio

import pytest
from model_servers import asked, lm_of, written

from dspex_core import ChainOfThought, Example, Predict, Score, events
from dspex_core.errors import EvaluationError, MetricError
from dspex_core.optimizers import Proposal, Search, _entries
from dspex_core.progress import Progress
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import ProgramState

ROWS = [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(8)]
STUDENT = Predict("text -> team")
STATE = STUDENT.get_state()


def told(messages):
    """A model that knows the teams whose numbers stand in its instruction."""
    number = asked(messages)["text"].removeprefix("text")
    return written(team=f"team{number}" if f"<{number}>" in messages[0]["content"] else "unknown")


def knowing(*numbers):
    instructions = " ".join(f"<{number}>" for number in numbers)
    return STATE.model_copy(
        update={"predictors": {"self": STATE.predictors["self"].model_copy(update={"instructions": instructions})}}
    )


def search_of(model, *, metric="exact_match", student=STUDENT, concurrency=None, **lm_options):
    runtime = InProcessRuntime(lm_of(model, **lm_options), concurrency=concurrency)
    return Search(
        runtime, student=student, trainset=ROWS, valset=ROWS, metric=metric, teacher=None, teacher_lm=None
    )  # fmt: skip


async def test_a_row_is_scored_once_for_each_state_whatever_rows_are_asked_for(start_model):
    model = start_model(told)
    search = search_of(model, cache=False)
    state = knowing(1, 2, 3)
    first = await search.evaluate_all([Proposal(state, "some", rows=(3, 1, 7))], phase="x")
    second = await search.evaluate_all([Proposal(state, "some", rows=(1, 0)), Proposal(state, "all")], phase="x")
    assert [candidate.score for candidate in (*first, *second)] == [66.67, 50.0, 37.5]
    assert [candidate.rows for candidate in (*first, *second)] == [3, 2, None]
    assert len(model.bodies) == search.metric_calls == 8
    assert search.scores(state) == (0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)


async def test_candidates_are_numbered_as_they_were_asked_for_whichever_is_done_first(start_model):
    release = asyncio.Event()

    async def slow_at_first(messages):
        if "<1>" in messages[0]["content"]:
            await release.wait()
        else:
            release.set()
        return told(messages)

    search = search_of(start_model(slow_at_first))
    with events.subscribe() as stream:
        slow, fast = await asyncio.gather(
            search.evaluate(knowing(1), "slow"), search.evaluate_all([Proposal(knowing(2), "fast")], phase="x")
        )
    assert (slow.index, fast[0].index) == (0, 1)
    assert [candidate.label for candidate in search.candidates] == ["slow", "fast"]
    assert [event.index async for event in stream if event.type == "candidate_evaluated"] == [0, 1]


async def test_a_proposal_is_told_with_its_state_before_its_score_and_the_step_after_all_scores(start_model):
    search = search_of(start_model(told))
    with events.subscribe(types={"candidate_proposed", "candidate_evaluated", "optimization_step"}) as stream:
        await search.evaluate(knowing(0), "first")
        found = await search.evaluate_all(
            [Proposal(knowing(8), "all", parent=0), Proposal(knowing(1), "few", parent=0, rows=(0, 1))], phase="x"
        )
    happened = [event async for event in stream]
    assert [event.type for event in happened[3:]] == [
        "candidate_proposed", "candidate_proposed", "candidate_evaluated", "candidate_evaluated", "optimization_step",
    ]  # fmt: skip
    all_rows, few_rows = happened[3:5]
    assert ProgramState.model_validate(all_rows.state) == knowing(8)
    assert (all_rows.index, all_rows.label, all_rows.parent, all_rows.rows) == (1, "all", 0, None)
    assert (few_rows.index, few_rows.rows) == (2, 2)
    first, second = happened[2], happened[-1]
    best = max(found, key=lambda candidate: candidate.score)
    assert (first.step, first.candidates, second.step, second.candidates) == (1, (0,), 2, (1, 2))
    assert (second.best, second.score) == (best.index, best.score)


async def test_rows_and_usage_of_evaluations_side_by_side_add_up(start_model):
    model = start_model(told)
    search = search_of(model)
    with events.subscribe() as stream:
        await search.evaluate_all([Proposal(knowing(n), f"knows {n}") for n in range(3)], phase="three")
    progress, most = Progress(), 0
    async for event in stream:
        before, progress = progress.usage_so_far.lm_calls, progress.after(event)
        assert progress.usage_so_far.lm_calls >= before
        most = max(most, progress.rows_done)
    assert most == progress.rows_total == 24
    assert progress.usage_so_far == search.usage
    assert search.usage.lm_calls == len(model.bodies) == 24


async def test_the_runtimes_limit_holds_for_all_evaluations_together(start_model):
    under_way, most = 0, 0

    async def counting(messages):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return told(messages)

    search = search_of(start_model(counting), concurrency=3)
    await search.evaluate_all([Proposal(knowing(n), f"knows {n}") for n in range(4)], phase="four")
    assert most == 3


async def test_a_candidate_scored_on_some_rows_never_wins(start_model):
    search = search_of(start_model(told))
    await search.evaluate(knowing(5), "baseline")
    await search.evaluate_all([Proposal(knowing(1), "lucky", rows=(1,), parent=0)], phase="x")
    result = search.result(knowing(1))
    assert (result.score, result.program.get_state()) == (12.5, knowing(5))
    assert (result.candidates[1].score, result.candidates[1].rows, result.candidates[1].parent) == (100.0, 1, 0)


async def test_scores_that_are_not_all_known_are_not_given(start_model):
    search = search_of(start_model(told))
    await search.evaluate_all([Proposal(STATE, "some", rows=(1,))], phase="x")
    with pytest.raises(EvaluationError, match="not scored on all rows"):
        search.scores(STATE)


async def test_observed_rows_tell_score_feedback_outputs_and_what_predictors_said(start_model):
    def strict(example, prediction, trace=None):
        assert trace is None
        right = prediction.team == example.team
        return Score(value=float(right), feedback="right" if right else f"it is {example.team}")

    def answer(messages):
        number = asked(messages)["text"].removeprefix("text")
        return "nonsense" if number == "6" else written(reasoning="so", team=f"team{int(number) // 2 * 2}")

    model = start_model(answer)
    search = search_of(model, metric=strict, student=ChainOfThought("text -> team"))
    state = search.student.get_state()
    wrong, failed, right = await search.observe(state, [5, 6, 4])
    assert (wrong.row, wrong.score, wrong.feedback, wrong.accepted) == (5, 0.0, "it is team5", False)
    assert wrong.outputs == {"reasoning": "so", "team": "team4"}
    assert wrong.demos == {"predict": [{"text": "text5", "reasoning": "so", "team": "team4"}]}
    assert (right.score, right.feedback, right.accepted) == (1.0, "right", True)
    assert (failed.score, failed.accepted) == (0.0, False)
    assert failed.failure.startswith("AdapterParseError")
    calls, scored = len(model.bodies), search.metric_calls
    again = await search.observe(state, [4, 5, 3])
    assert again[:2] == [right, wrong]
    assert (len(model.bodies), search.metric_calls) == (calls + 1, scored + 1)


async def test_observing_shows_the_model_all_demos_even_the_rows_own(start_model):
    model = start_model(lambda messages: written(team=f"team{len(messages)}"))
    search = search_of(model)
    state = STATE.with_demos({"self": (ROWS[0].to_dict(),)})
    await search.observe(state, [0])
    assert [message["role"] for message in model.conversations[0]] == ["system", "user", "assistant", "user"]


async def test_a_metric_that_raises_ends_the_search_with_its_name_once_the_others_are_done(start_model):
    model = start_model(told)

    def picky(example, prediction, trace=None):
        if prediction.team == "team1":
            raise ValueError("team1 is out")
        return 0.5

    search = search_of(model, metric=picky)
    with pytest.raises(MetricError, match="picky failed on row 1"):
        await search.evaluate_all([Proposal(knowing(1), "a", rows=(1,)), Proposal(knowing(2), "b")], phase="x")
    assert len(model.bodies) == 9


async def test_what_is_asked_for_the_search_itself_counts_and_may_go_to_another_model(start_model):
    model, other = start_model(told), start_model(lambda _: written(advice="be brief"))
    search = search_of(model)
    advise = Predict("task -> advice")
    config = lm_of(other).config
    first = await search.ask(advise, {"task": "x"}, lm=config, rollout=1, temperature=0.7)
    second = await search.ask(advise, {"task": "x"}, lm=config, rollout=2, temperature=0.7)
    assert (first.advice, second.advice) == ("be brief", "be brief")
    assert [body["temperature"] for body in other.bodies] == [0.7, 0.7]
    assert model.bodies == []
    assert search.usage.lm_calls == 2


def test_a_candidates_state_is_written_down_only_for_somebody_who_listens(monkeypatch):
    written_down = []
    monkeypatch.setattr(_entries, "plain", lambda state: written_down.append(state) or {})
    entries = _entries.Entries(InProcessRuntime())
    entries.propose(0, Proposal(STATE, "as given"), None)
    assert written_down == []
    with events.listen(lambda _: None, types={"candidate_proposed"}):
        entries.propose(0, Proposal(STATE, "as given"), None)
    assert written_down == [STATE]

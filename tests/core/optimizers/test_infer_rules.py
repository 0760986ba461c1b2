import itertools

import pytest
from aiohttp import web
from model_servers import asked, lm_of, written

from dspex_core import Example, Predict, using
from dspex_core.errors import ConfigurationError, DatasetError
from dspex_core.optimizers import InferRules
from dspex_core.runtime import InProcessRuntime
from dspex_core.testing import FakeProvider, conformance_program, conformance_rows

ROWS = [Example(text=f"text{n}", team=f"team{n}").with_inputs("text") for n in range(8)]


def task(messages):
    """Knows the teams whose numbers stand in its instruction."""
    number = asked(messages)["text"].removeprefix("text")
    return written(team=f"team{number}" if f"<{number}>" in messages[0]["content"] else "unknown")


def writer(*rules):
    turns = itertools.cycle(rules)
    return lambda messages: written(reasoning="so", rules=next(turns))


async def compiled(model, writes, *, valset=ROWS, trainset=ROWS, **options):
    with using(runtime=InProcessRuntime(lm_of(model), concurrency=1)):
        optimizer = InferRules(**{"metric": "exact_match", "max_labeled_demos": 2} | options)
        return await optimizer.compile(
            Predict("text -> team"), trainset=trainset, valset=valset, teacher_lm=lm_of(writes, concurrency=1)
        )


def writes_and_teaches(*rules):
    write = writer(*rules)

    def answer(messages):
        return write(messages) if "most_rules" in asked(messages) else written(team="unknown")

    return answer


async def test_the_best_rules_stand_under_the_instruction_beside_bootstrapped_demos(start_model):
    writes = start_model(writes_and_teaches("say <1>", "say <2> and <3>", "say <4>"))
    result = await compiled(start_model(task), writes, num_candidates=3, num_rules=7)
    [found] = result.program.get_state().predictors.values()
    own = Predict("text -> team").get_state().predictors["self"].instructions
    assert found.instructions == f"{own}\n\nFollow these rules:\nsay <2> and <3>"
    assert len(found.demos) == 2
    assert [c.label for c in result.candidates] == ["baseline", "bootstrapped demos", "rules 1", "rules 2", "rules 3"]
    assert (result.baseline_score, result.score) == (0.0, 25.0)
    written_for = [asked(body["messages"]) for body in writes.bodies if "most_rules" in asked(body["messages"])]
    assert [inputs["most_rules"] for inputs in written_for] == ["7"] * 3
    assert len({inputs["examples"] for inputs in written_for}) == 3


async def test_rules_that_cannot_be_read_leave_the_bootstrapped_program(start_model):
    writes = start_model(lambda messages: "no" if "most_rules" in asked(messages) else written(team="unknown"))
    result = await compiled(start_model(task), writes, num_candidates=2)
    assert [candidate.label for candidate in result.candidates] == ["baseline", "bootstrapped demos"]


async def test_rows_that_do_not_fit_the_context_are_halved(start_model):
    shown = []

    def answer(messages):
        if "most_rules" not in asked(messages):
            return written(team="unknown")
        shown.append(asked(messages)["examples"].count("\n") + 1)
        if shown[-1] > 2:
            error = {"message": "too long", "code": "context_length_exceeded"}
            return web.json_response({"error": error}, status=400)
        return written(reasoning="so", rules="say <1>")

    result = await compiled(start_model(task), start_model(answer), num_candidates=1)
    assert shown == [8, 4, 2]
    assert result.score == 12.5


async def test_without_a_validation_set_the_second_half_of_the_training_rows_scores(start_model):
    writes = start_model(writes_and_teaches("say <1> <5>"))
    result = await compiled(start_model(task), writes, num_candidates=1, valset=None)
    assert result.score == 25.0
    [inputs] = [asked(body["messages"]) for body in writes.bodies if "most_rules" in asked(body["messages"])]
    assert "text3" in inputs["examples"]
    assert "text4" not in inputs["examples"]


async def test_a_seed_gives_one_result_at_any_concurrency():
    trainset, valset, found = conformance_rows(24), conformance_rows(12, start=24), []
    async with FakeProvider() as provider:
        for concurrency in (1, 16):
            with using(runtime=InProcessRuntime(lm_of(provider, cache=False), concurrency=concurrency)):
                optimizer = InferRules(
                    metric="exact_match", num_candidates=3, seed=5, max_bootstrapped_demos=1, max_labeled_demos=2
                )
                found.append(await optimizer.compile(conformance_program(), trainset=trainset, valset=valset))
    assert found[0].candidates == found[1].candidates
    assert found[0].score > found[0].candidates[1].score + 30


async def test_what_cannot_be_searched_is_refused_before_any_call(start_model):
    model = start_model(task)
    with pytest.raises(ConfigurationError, match="needs a metric"):
        await compiled(model, model, metric=None)
    with pytest.raises(DatasetError, match="2 training rows at least"):
        await compiled(model, model, trainset=ROWS[:1], valset=None)
    with pytest.raises(DatasetError, match="no rows"):
        await compiled(model, model, trainset=[], valset=None)
    assert model.bodies == []

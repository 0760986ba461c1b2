import re

import pytest
from model_servers import lm_of

from dspex_core import ChainOfThought, JSONAdapter, Module, Predict, ReAct, TwoStepAdapter, using
from dspex_core.budget import Budget
from dspex_core.errors import ConfigurationError, DatasetError, ProgramError
from dspex_core.optimizers import (
    OPTIMIZERS,
    BetterTogether,
    BootstrapFewShot,
    BootstrapFewShotWithRandomSearch,
    BootstrapFinetune,
    LabeledFewShot,
    MIPROv2,
    Optimizer,
)
from dspex_core.seam import LMConfig, LMRequest, Message, StoredDataset
from dspex_core.testing import conformance_program, conformance_rows

TRAIN, VAL = conformance_rows(40), conformance_rows(40, start=40)
SMALL = {
    BetterTogether.name: {"p": LabeledFewShot(k=4), "w": BootstrapFinetune(poll_seconds=0.01, metric_threshold=0.0)},
    BootstrapFewShotWithRandomSearch.name: {"num_candidate_programs": 3},
    BootstrapFinetune.name: {"poll_seconds": 0.01, "metric_threshold": 0.0},
}
"""Options with which a run takes a second or two."""
CLOSE = 0.2
ABOUT = 0.02
"""How far an estimate may be out: a token is taken to have four characters."""
GPT = LMConfig(model="openai/gpt-4o-mini")


async def plan_of(optimizer, program=None, *, trainset=TRAIN, valset=VAL, **given):
    return await optimizer.plan(program or conformance_program(), trainset=trainset, valset=valset, **given)


def within(real, planned):
    return planned.low <= real <= planned.high * (1 + ABOUT) or abs(planned.expected - real) <= CLOSE * real


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
async def test_a_run_takes_what_was_planned_for_it_and_the_plan_itself_no_request(name, provider):
    optimizer = OPTIMIZERS[name](metric="exact_match", **SMALL.get(name, {}))
    plan = await plan_of(optimizer, lm=lm_of(provider))
    assert provider.stats().requests == 0
    with using(lm=lm_of(provider, cache=False)):
        result = await optimizer.compile(conformance_program(), trainset=TRAIN, valset=VAL)
    assert provider.stats().answered > 0
    assert within(result.usage.lm_calls, plan.lm_calls)
    assert within(result.usage.prompt_tokens, plan.prompt_tokens)
    assert within(result.usage.completion_tokens, plan.completion_tokens)
    assert plan.lm_calls.low <= plan.lm_calls.expected <= plan.lm_calls.high
    assert plan == await plan_of(optimizer, lm=lm_of(provider))


async def test_without_a_search_for_demos_the_count_is_exact():
    plan = await plan_of(LabeledFewShot(metric="exact_match"))
    assert (plan.lm_calls.low, plan.lm_calls.expected, plan.lm_calls.high) == (80, 80, 80)
    assert (plan.metric_calls.high, plan.evaluations.high) == (80, 2)


async def test_a_teacher_that_never_succeeds_makes_a_plan_of_every_row_in_every_round():
    plan = await plan_of(BootstrapFewShot(metric="exact_match", max_bootstrapped_demos=4, max_rounds=3))
    assert plan.lm_calls.low == 80 + 4
    assert plan.lm_calls.high == 80 + 3 * 40


async def test_demos_make_the_prompts_that_are_measured_longer():
    few, many = [await plan_of(LabeledFewShot(metric="exact_match", k=k)) for k in (1, 30)]
    assert many.prompt_tokens.expected > 2 * few.prompt_tokens.expected
    assert many.completion_tokens == few.completion_tokens


async def test_the_adapter_in_force_writes_the_prompts_that_are_measured():
    chat = await plan_of(LabeledFewShot(metric="exact_match"))
    with using(adapter=JSONAdapter()):
        json = await plan_of(LabeledFewShot(metric="exact_match"))
    with using(adapter=TwoStepAdapter(GPT)):
        two_step = await plan_of(LabeledFewShot(metric="exact_match"))
    assert json.prompt_tokens != chat.prompt_tokens
    assert two_step.lm_calls.expected == 2 * chat.lm_calls.expected


async def test_the_list_price_or_your_own_makes_the_cost(provider):
    optimizer = LabeledFewShot(metric="exact_match")
    listed = await plan_of(optimizer, lm=lm_of(provider, model="openai/gpt-4o-mini"))
    own = await plan_of(optimizer, lm=lm_of(provider, price_per_million=(1.0, 2.0)))
    config = await plan_of(optimizer, lm=LMConfig(model="openai/any", price_per_million=(1.0, 2.0)))
    assert 0 < listed.cost_usd.expected < own.cost_usd.expected
    tokens = own.prompt_tokens.expected + 2 * own.completion_tokens.expected
    assert own.cost_usd.expected == pytest.approx(tokens / 1_000_000)
    assert config.cost_usd == own.cost_usd


async def test_the_teacher_is_paid_for_at_its_own_price():
    optimizer, free = BootstrapFewShot(metric="exact_match"), GPT.model_copy(update={"price_per_million": (0.0, 0.0)})
    dear = GPT.model_copy(update={"price_per_million": (1_000_000.0, 0.0)})
    plan = await plan_of(optimizer, lm=free, teacher_lm=dear)
    evaluations = await plan_of(LabeledFewShot(metric="exact_match"))
    assert 0 < plan.cost_usd.low < evaluations.prompt_tokens.low


async def test_a_price_that_is_not_known_is_warned_of_by_the_models_name(provider):
    plan = await plan_of(LabeledFewShot(metric="exact_match"), lm=lm_of(provider))
    assert plan.cost_usd is None
    assert "openai/fake-learner" in plan.warnings[0]
    unnamed = await plan_of(LabeledFewShot(metric="exact_match"))
    assert "the model in force" in unnamed.warnings[0]


async def test_a_key_given_in_code_is_no_hindrance_and_in_no_plan(provider):
    plan = await plan_of(LabeledFewShot(metric="exact_match"), lm=lm_of(provider, api_key="sk-in-code"))
    assert "sk-in-code" not in plan.model_dump_json()


class Careful(Module):
    def __init__(self):
        self.draft = Predict("text -> note: str")
        self.answer = ChainOfThought("text, note -> topic")

    def calls_of_parts(self):
        return {"draft": (1, 5)}

    async def forward(self, text):
        raise AssertionError("a plan runs no code of a user's own")


async def test_a_program_of_ones_own_is_not_run_and_its_calls_are_those_it_names():
    def metric(example, prediction, trace=None):
        raise AssertionError("nor the metric")

    plan = await plan_of(LabeledFewShot(metric=metric), Careful())
    assert (plan.lm_calls.low, plan.lm_calls.high) == (80 * 2, 80 * 6)
    assert plan.lm_calls.low < plan.lm_calls.expected < plan.lm_calls.high
    assert "Careful.forward is not run" in plan.notes[0]


async def test_an_agent_takes_up_to_its_most_steps():
    def look_up(word: str) -> str:
        """Look a word up."""
        return word

    plan = await plan_of(LabeledFewShot(metric="exact_match"), ReAct("text -> topic", [look_up], max_iters=9))
    assert (plan.lm_calls.low, plan.lm_calls.high) == (80 * 2, 80 * 10)


async def test_the_calls_until_a_second_proposal_was_tried_are_told():
    plan = await plan_of(MIPROv2(metric="exact_match"))
    first_evaluation_and_two_more = 3 * len(VAL)
    assert plan.to_second_proposal.proposals == 2
    assert plan.to_second_proposal.lm_calls.high >= first_evaluation_and_two_more
    assert plan.to_second_proposal.lm_calls.expected < plan.lm_calls.expected


@pytest.mark.parametrize(
    ("budget", "warned"),
    [
        (
            Budget(lm_calls=60),
            "60 LM calls is used up before MIPROv2 has tried a second proposal, which takes about [0-9]+ LM calls",
        ),
        (Budget(tokens=500), "500 tokens is used up .* takes about [0-9,]+ tokens"),
        (Budget(usd=0.000001, lm_calls=10_000), r"\$1e-06, 10,000 LM calls is used up .* about \$0.0"),
        (Budget(lm_calls=1_000, usd=1, tokens=1_000_000), None),
        (Budget(seconds=1), None),
    ],
)
async def test_a_budget_that_cannot_reach_a_second_proposal_is_warned_of(budget, warned):
    lm = LMConfig(model="openai/any", price_per_million=(1.0, 2.0))
    plan = await plan_of(MIPROv2(metric="exact_match"), lm=lm, budget=budget)
    if warned is None:
        assert plan.warnings == ()
    else:
        assert re.search(warned, plan.warnings[-1])


async def test_where_one_proposal_is_all_there_is_the_budget_must_reach_that():
    optimizer = BootstrapFewShot(metric="exact_match")
    lm = LMConfig(model="openai/any", price_per_million=(1.0, 2.0))
    small, enough = [await plan_of(optimizer, lm=lm, budget=Budget(lm_calls=calls)) for calls in (50, 100)]
    assert small.to_second_proposal.proposals == 1
    assert "has scored its one proposal" in small.warnings[0]
    assert enough.warnings == ()


async def test_what_cannot_be_planned_is_not_warned_of():
    assert await MIPROv2(metric="exact_match").shortfall(
        conformance_program(), budget=Budget(lm_calls=1), trainset=StoredDataset(digest="x", size=9), valset=VAL
    ) is None  # fmt: skip


async def test_what_a_compile_would_refuse_a_plan_refuses():
    with pytest.raises(DatasetError, match="training set has no rows"):
        await plan_of(LabeledFewShot(metric="exact_match"), trainset=[])
    with pytest.raises(ConfigurationError, match="needs a metric"):
        await plan_of(LabeledFewShot())
    with pytest.raises(DatasetError, match="must be loaded"):
        await plan_of(LabeledFewShot(metric="exact_match"), valset=StoredDataset(digest="x", size=9))


async def test_an_optimizer_of_ones_own_is_planned_like_any_other():
    class Doubled(Optimizer):
        async def search(self, search):
            state = search.student.get_state()
            for count in (1, 2):
                demos = await search.labeled_demos(range(count))
                await search.evaluate(state.with_demos({"self": demos}), f"{count} demos")
            answer = await search.ask(ChainOfThought("rows -> advice: list[str]"), {"rows": "…"}, lm=GPT)
            assert isinstance(answer.advice, list)
            return state

    plan = await plan_of(Doubled(metric="exact_match"))
    assert plan.lm_calls.expected == 3 * 40 + 1
    assert plan.evaluations.expected == 3


async def test_an_optimizer_that_asks_past_its_search_is_not_planned_by_half():
    class Sly(Optimizer):
        async def search(self, search):
            await search.runtime.generate(LMRequest(messages=(Message(role="user", content="hello"),)))
            return search.student.get_state()

    with pytest.raises(ProgramError, match="past its Search"):
        await plan_of(Sly(metric="exact_match"))


async def test_a_run_that_needs_successes_says_what_becomes_of_it_without_any():
    class Needy(Optimizer):
        async def search(self, search):
            traces = await search.observe(search.student.get_state(), range(10))
            if not any(trace.accepted for trace in traces):
                raise DatasetError("no run succeeded")
            return search.student.get_state()

    plan = await plan_of(Needy(metric="exact_match"))
    assert plan.notes == ("if no row comes out right the run ends early: no run succeeded",)

import json
from functools import partial

import pytest

from dspex_core import LM, ReAct, Tool, using
from dspex_core.errors import ApprovalRequiredError, ConfigurationError
from dspex_core.seam import Decision
from dspex_core.testing import FakeProviderProcess

PAID = []


def pay(amount: int) -> str:
    """Pay somebody."""
    PAID.append(amount)
    return f"paid {amount}"


@partial(Tool, needs_approval=True)
def refund(amount: int) -> str:
    """Pay back."""
    return pay(amount)


careful = Tool(pay, needs_approval=True)
agent = ReAct("question -> answer", [careful])


@pytest.fixture(scope="module")
def lm():
    script = [
        {"when": "`[[ ## reasoning ## ]]`", "answer": {"reasoning": "-", "answer": "done"}},
        {"when": "observation_0", "answer": {"next_thought": "-", "next_tool_name": "finish", "next_tool_args": {}}},
        {"when": "", "answer": {"next_thought": "-", "next_tool_name": "pay", "next_tool_args": {"amount": 40}}},
    ]
    with FakeProviderProcess(script=script) as provider:
        yield LM("openai/fake", api_base=provider.base_url, api_key="unused", cache=False)


@pytest.fixture(autouse=True)
def nothing_paid():
    PAID.clear()


async def yes(call):
    assert (call.tool.name, call.args) == ("pay", {"amount": 40})
    return True


@pytest.mark.parametrize(
    ("approve", "paid", "said"),
    [
        (yes, [40], "paid 40"),
        (lambda _: False, [], "pay was not carried out, because a person rejected it"),
        (
            lambda _: Decision(approved=False, reason="too much"),
            [],
            "pay was not carried out, because a person rejected it: too much",
        ),
    ],
)
async def test_in_one_process_a_function_decides_and_the_model_reads_what_it_decided(lm, approve, paid, said):
    with using(lm=lm, approve=approve):
        prediction = await agent(question="?")
    assert paid == PAID
    assert prediction.trajectory["observation_0"] == said
    assert prediction.answer == "done"


async def test_with_nobody_to_ask_the_call_is_not_made_and_the_error_says_what_to_do(lm):
    with (
        using(lm=lm),
        pytest.raises(ApprovalRequiredError, match=r"pay needs a person's approval.*using\(lm=lm, appro"),
    ):
        await agent(question="?")
    assert PAID == []


async def test_what_is_no_decision_approves_nothing(lm):
    with using(lm=lm, approve=lambda _: "yes"), pytest.raises(ConfigurationError, match="gave 'yes': return True"):
        await agent(question="?")
    assert PAID == []


def test_what_cannot_be_asked_is_refused_at_once(lm):
    with pytest.raises(ConfigurationError, match="approve=…"), using(lm=lm, approve="me"):
        pass


def test_nobody_who_writes_a_request_does_away_with_the_approval_that_a_tool_asks_for():
    spec = refund.to_spec()
    assert spec.needs_approval
    assert Tool.from_spec(spec.model_copy(update={"needs_approval": False})).imported(trust=None).needs_approval
    asked_for = Tool(json.dumps, needs_approval=True).to_spec()
    assert Tool.from_spec(asked_for).imported(trust=None).needs_approval


async def test_who_calls_the_tool_themselves_needs_nobodys_approval():
    assert await careful(amount=3) == "paid 3"

import asyncio
import json
import random

import pytest
from intent_prompts import ask, intent_rows, prompt

from dspex_core.testing.fake_provider import FakeProvider, FakeProviderProcess


async def accuracy(http, provider, rows, demos, **options):
    limit = asyncio.Semaphore(16)

    async def right(text, label):
        async with limit:
            return (await ask(http, provider, prompt(text, demos, **options)))["label"] == label

    return sum(await asyncio.gather(*(right(text, label) for text, label in rows))) / len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
async def test_sixteen_demos_score_clearly_better_than_none(provider, http, seed):
    train, dev = intent_rows(400, 1), intent_rows(200, 2)
    demos = random.Random(seed).sample(train, 16)

    zero_shot = await accuracy(http, provider, dev, [])
    few_shot = await accuracy(http, provider, dev, demos)

    assert 0.2 < zero_shot < 0.5
    assert few_shot > zero_shot + 0.08


@pytest.mark.slow
async def test_more_demos_score_better(provider, http):
    train, dev = intent_rows(400, 1), intent_rows(200, 2)
    scores = [await accuracy(http, provider, dev, random.Random(0).sample(train, size)) for size in (4, 16, 64)]

    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.2


async def test_an_instruction_that_explains_the_labels_scores_better(provider, http):
    outputs = [("label", "Literal['billing', 'bug']")]
    rows = [("I paid twice", "billing"), ("the invoice is wrong", "billing"), ("it crashes", "bug"), ("froze", "bug")]
    explained = "Route the message.\nbilling: paid, charged, invoice\nbug: crash, froze, error"

    assert await accuracy(http, provider, rows, [], instruction=explained, outputs=outputs) == 1.0


async def test_wrong_demos_mislead_the_model(provider, http):
    outputs = [("label", "Literal['billing', 'bug']")]
    demo_text = "the invoice charged me twice"

    for label in ("billing", "bug"):
        answer = await ask(http, provider, prompt("invoice charged twice", [(demo_text, label)], outputs=outputs))
        assert answer["label"] == label


async def test_equal_requests_get_equal_answers_from_another_provider(provider, http):
    body = prompt("nothing here says anything")
    async with FakeProvider(seed=5) as other:
        assert await ask(http, provider, body) == await ask(http, other, body)


@pytest.mark.slow
async def test_answers_do_not_depend_on_the_hash_seed_of_the_process(http, monkeypatch):
    demos, queries = intent_rows(8, 1), [text for text, _ in intent_rows(60, 2)]
    guidance = "\n".join(f"{label}: {text}" for text, label in intent_rows(30, 3))
    answers = []
    for hash_seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        with FakeProviderProcess() as provider:
            answers.append([await ask(http, provider, prompt(q, demos, instruction=guidance)) for q in queries])

    assert answers[0] == answers[1]


async def test_reasoning_names_the_words_that_decided(provider, http):
    outputs = [("reasoning", "str"), ("label", "Literal['billing', 'bug']")]
    demos = [("charged twice by mistake", {"reasoning": "Money.", "label": "billing"})]

    answer = await ask(http, provider, prompt("You CHARGED me again", demos, outputs=outputs))

    assert list(answer) == ["reasoning", "label", "completed"]
    assert "'CHARGED'" in answer["reasoning"]
    assert answer["label"] == "billing"


async def test_an_enum_is_read_from_the_note_in_the_structure(provider, http):
    body = prompt("is this team blue enough", outputs=[("label", "Team")])
    system = body["messages"][0]
    note = "{label}        # note: the value you produce must be one of: red team; blue team"
    system["content"] = system["content"].replace("{label}", note)

    assert (await ask(http, provider, body))["label"] == "blue team"


async def test_labels_may_hold_quotes_brackets_and_numbers(provider, http):
    kind = """Literal["don't know (yet)", 'tick [x]', 3]"""

    assert (await ask(http, provider, prompt("tick this", outputs=[("label", kind)])))["label"] == "tick [x]"


@pytest.mark.parametrize(
    ("kind", "taught", "untaught"),
    [
        ("int", "7", "0"),
        ("float", "0.5", "0.0"),
        ("bool", "True", "False"),
        ("list[str]", '["a"]', "[]"),
        ("int | None", "7", "null"),
        ("date | None", "2024-05-01", "null"),
        ("str | None", "fruit", "green apples"),
    ],
)
async def test_other_types_take_the_nearest_demos_value(provider, http, kind, taught, untaught):
    outputs = [("label", kind)]
    demos = [("seven green apples", taught), ("three red cars", "9")]

    assert (await ask(http, provider, prompt("green apples", demos, outputs=outputs)))["label"] == taught
    assert (await ask(http, provider, prompt("green apples", outputs=outputs)))["label"] == untaught


async def test_a_demo_field_that_is_not_supplied_teaches_nothing(provider, http):
    outputs = [("label", "int")]
    demos = [("green apples", "Not supplied for this particular example. ")]

    assert (await ask(http, provider, prompt("green apples", demos, outputs=outputs)))["label"] == "0"


async def test_a_question_about_a_context_is_answered_by_its_nearest_sentence(provider, http):
    body = prompt("Who built the lighthouse?", outputs=[("label", "str")])
    system, query = body["messages"]
    system["content"] = system["content"].replace("1. `text`", "1. `context` (str):\n2. `text`", 1)
    query["content"] = "[[ ## context ## ]]\nIt rained. Ada built the lighthouse in May.\n\n" + query["content"]

    assert (await ask(http, provider, body))["label"] == "Ada built the lighthouse in May."


async def test_a_correction_is_answered_in_the_right_format(provider, http):
    body = prompt("I lost my card", correction="The field `[[ ## label ## ]]` is missing: answer again.")

    assert (await ask(http, provider, body))["label"] == "lost_or_stolen_card"


async def test_a_proposed_instruction_tells_the_labels_apart(provider, http):
    shown = "Text: charged twice\nLabel: billing\n\nText: it crashes\nLabel: bug\n\nText: charged again\nLabel: billing"
    body = prompt(shown, outputs=[("proposed_instruction", "str")])

    lines = (await ask(http, provider, body))["proposed_instruction"].splitlines()

    assert any(line.startswith("billing: ") and "charged" in line for line in lines)
    assert any(line.startswith("bug: ") and "crashes" in line for line in lines)


def judged(text, team, feedback, score):
    return json.dumps({"step": {"text": text, "team": team}, "score": score, "feedback": feedback})


async def improved(http, provider, *runs):
    """The lines of an instruction improved in the light of judged runs."""
    body = prompt("\n".join(runs), outputs=[("improved_instruction", "str")])
    return (await ask(http, provider, body))["improved_instruction"].splitlines()


async def test_an_instruction_improved_from_judged_runs_heeds_the_feedback(provider, http):
    lines = await improved(
        http,
        provider,
        judged("charged twice", "bug", "Not right. Wanted: team: billing", 0.0),
        judged("it crashes", "account", "This is no account matter: team should be 'bug'.", 0.0),
        judged("password lost", "account", "Right.", 1.0),
    )
    assert any(line.startswith("billing: ") and "charged" in line for line in lines)
    assert any(line.startswith("bug: ") and "crashes" in line for line in lines)
    assert any(line.startswith("account: ") and "password" in line for line in lines)


async def test_a_run_judged_without_saying_what_is_right_teaches_nothing(provider, http):
    lines = await improved(
        http, provider, judged("charged twice", "bug", "That was wrong.", 0.0), judged("it crashes", "account", "", 0)
    )
    assert not any("charged" in line or "crashes" in line for line in lines)


async def test_a_run_that_failed_teaches_by_its_feedback_alone(provider, http):
    failed = [
        json.dumps({"inputs": {"text": text}, "score": 0.0, "feedback": f"The program failed: x. Wanted: team: {team}"})
        for text, team in (("charged twice", "billing"), ("it crashes", "bug"))
    ]
    lines = await improved(http, provider, *failed)
    assert any(line.startswith("billing: ") and "charged" in line for line in lines)

import asyncio
import json
import random
import subprocess
import sys

import aiohttp
import openai
import pytest

from dspex_core.errors import ConfigurationError, UnknownNameError
from dspex_core.testing.fake_provider import FakeProvider, FakeProviderProcess

# Banking intents: per label, phrasings that share only some of their words with each other and with the label's name.
INTENTS = {
    "card_arrival": [
        "my new card has not arrived, it was posted {when}",
        "I ordered a card {when} and the mailbox is empty",
        "where is the card you mailed {when}?",
        "tracking for the plastic you shipped to {place}",
        "the envelope with my debit card never came to {place}",
    ],
    "lost_or_stolen_card": [
        "I lost my wallet in {place}, block everything",
        "someone took my card in {place} {when}",
        "my purse was snatched in {place}",
        "freeze the account, a thief has my card",
        "I left my card in a taxi in {place} and can't find it",
    ],
    "card_not_working": [
        "my card is declined in every shop in {place}",
        "the terminal in {place} refuses my chip",
        "contactless stopped functioning {when}",
        "the reader shows an error when I insert it in {place}",
        "my card is broken, the magnetic strip does nothing",
    ],
    "exchange_rate": [
        "what rate do you apply for {currency} to {money}?",
        "how many {currency} do I receive for a {money}?",
        "is the conversion of {currency} the interbank quote?",
        "the {currency} price {when} looks worse than the market",
        "do you add a margin when swapping {money} into {currency}?",
    ],
    "transfer_pending": [
        "my transfer of {amount} {money} is still pending",
        "I sent {amount} {money} {when} and the recipient has nothing",
        "the wire to {place} says processing",
        "how long until the payee sees {amount} {money}?",
        "my bank payment from {when} has been in limbo",
    ],
    "refund_missing": [
        "the refund of {amount} {money} is missing from my statement",
        "the shop returned my money {when}, but I do not see it",
        "a merchant in {place} promised reimbursement of {amount} {money}",
        "I sent the shoes back, where is my {amount} {money}?",
        "the seller cancelled my order {when}, yet no credit appeared",
    ],
    "atm_withdrawal_fee": [
        "I was charged {amount} {money} at an ATM in {place}",
        "why is there a fee for taking out cash in {place}?",
        "the cashpoint in {place} cost me extra",
        "withdrawing {currency} {when} had a commission",
        "is pulling notes from a machine in {place} free?",
    ],
    "change_pin": [
        "how do I change the PIN of my card?",
        "I forgot my four digits",
        "can I choose another code at a machine in {place}?",
        "my secret number was guessed, I want a different one",
        "reset the passcode I set {when}",
    ],
    "close_account": [
        "I want to close my account",
        "delete my profile and all data, I leave {when}",
        "how can I terminate our contract?",
        "cancel my membership, I moved to {place}",
        "I am switching to a competitor, shut everything down",
    ],
    "top_up_failed": [
        "my top up of {amount} {money} failed",
        "adding {amount} {money} from another bank does not go through",
        "I cannot load {currency} onto the app",
        "the deposit {when} was rejected",
        "funding my balance gives an error {when}",
    ],
}
SLOTS = {
    "when": ["yesterday", "last week", "on Monday", "two weeks ago", "this morning"],
    "place": ["Lisbon", "the airport", "a supermarket", "Berlin", "my street"],
    "currency": ["euros", "yen", "zloty", "francs"],
    "money": ["dollars", "pounds", "quid"],
    "amount": ["20", "50", "300", "75"],
}
OPENINGS = ["", "", "Hello, ", "Please help: ", "Hi there, ", "Quick question. "]
LABELS = sorted(INTENTS)
INSTRUCTION = "Classify the customer's message."

SYSTEM = """Your input fields are:
1. `text` (str): what the customer wrote
Your output fields are:
{outputs}
All interactions will be structured in the following way, with the appropriate values filled in.

[[ ## text ## ]]
{{text}}

[[ ## label ## ]]
{{label}}

[[ ## completed ## ]]
In adhering to this structure, your objective is:
        {instruction}"""
REMINDER = (
    "Respond with the corresponding output fields, starting with the field `[[ ## label ## ]]`, "
    "and then ending with the marker for `[[ ## completed ## ]]`."
)


def intent_rows(count, seed):
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        label = rng.choice(LABELS)
        text = rng.choice(OPENINGS) + rng.choice(INTENTS[label])
        rows.append((text.format(**{slot: rng.choice(values) for slot, values in SLOTS.items()}), label))
    return rows


def field_list(*fields):
    return "\n".join(f"{number}. `{name}` ({kind}):" for number, (name, kind) in enumerate(fields, 1))


def prompt(text, demos=(), *, instruction=INSTRUCTION, outputs=(("label", f"Literal{LABELS!r}"),), correction=None):
    system = SYSTEM.format(outputs=field_list(*outputs), instruction=instruction)
    messages = [{"role": "system", "content": system}]
    for demo_text, values in demos:
        given = values if isinstance(values, dict) else {"label": values}
        blocks = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in given.items())
        messages.append({"role": "user", "content": f"[[ ## text ## ]]\n{demo_text}"})
        messages.append({"role": "assistant", "content": f"{blocks}\n\n[[ ## completed ## ]]\n"})
    messages.append({"role": "user", "content": f"[[ ## text ## ]]\n{text}\n\n{REMINDER}"})
    if correction:
        messages += [{"role": "assistant", "content": "billing"}, {"role": "user", "content": correction}]
    return {"model": "fake-learner", "messages": messages, "temperature": 0.0}


def fields_of(answer):
    blocks = answer.split("[[ ## ")[1:]
    return {block.split(" ## ]]")[0]: block.split("## ]]", 1)[1].strip() for block in blocks}


@pytest.fixture
async def provider():
    async with FakeProvider() as running:
        yield running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer key"}) as session:
        yield session


async def post(http, provider, body):
    async with http.post(f"{provider.base_url}/chat/completions", json=body) as response:
        return response.status, await response.read()


async def ask(http, provider, body):
    status, raw = await post(http, provider, body)
    assert status == 200, raw
    return fields_of(json.loads(raw)["choices"][0]["message"]["content"])


async def accuracy(http, provider, rows, demos, **options):
    limit = asyncio.Semaphore(16)

    async def right(text, label):
        async with limit:
            return (await ask(http, provider, prompt(text, demos, **options)))["label"] == label

    return sum(await asyncio.gather(*(right(text, label) for text, label in rows))) / len(rows)


async def test_the_openai_sdk_reads_the_answer_and_its_usage(provider):
    body = prompt("my card is declined")
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0) as client:
        answer = await client.chat.completions.create(**body)
        names = [model.id async for model in client.models.list()]

    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.refusal is None
    assert fields_of(answer.choices[0].message.content)["label"] in LABELS
    assert answer.usage.prompt_tokens == sum(-(-len(message["content"]) // 4) for message in body["messages"])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model in names


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
    [("int", "7", "0"), ("float", "0.5", "0.0"), ("bool", "True", "False"), ("list[str]", '["a"]', "[]")],
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


async def test_a_prompt_without_fields_gets_a_sentence_back(provider, http):
    body = {"model": "m", "messages": [{"role": "user", "content": "Say hello. And more."}]}
    status, raw = await post(http, provider, body)

    assert status == 200
    assert json.loads(raw)["choices"][0]["message"]["content"] == "Say hello."


@pytest.mark.parametrize(
    ("change", "named"),
    [({"stream": True}, "stream"), ({"n": 2}, "`n`"), ({"messages": []}, "messages"), ({"model": None}, "model")],
)
async def test_what_is_not_served_is_refused_by_name(provider, http, change, named):
    status, raw = await post(http, provider, prompt("hello") | change)

    assert status == 400
    assert named in json.loads(raw)["error"]["message"]


async def test_a_request_without_the_right_key_gets_401():
    async with FakeProvider(api_key="right") as provider, aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with session.get(f"{provider.base_url}/models", headers=headers) as response:
                assert response.status == 401
                assert (await response.json())["error"]["type"] == "invalid_request_error"
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="right", max_retries=0) as client:
            assert await client.chat.completions.create(**prompt("hello"))


async def outcomes(http, provider, texts):
    """What each attempt met, until the answer."""
    met = {}
    for text in texts:
        met[text] = []
        while met[text][-1:] != ["answer"]:
            try:
                status, raw = await post(http, provider, prompt(text))
            except aiohttp.ClientError:
                met[text].append("drop")
                continue
            try:
                whole = status == 200 and bool(json.loads(raw)["choices"])
            except (ValueError, KeyError):
                whole = False
            met[text].append("answer" if whole else "malformed" if status == 200 else str(status))
    return met


async def test_faults_are_the_same_in_every_run_whatever_the_order(http):
    texts = [f"message {number}" for number in range(60)]
    runs = []
    for order in (texts, texts[::-1]):
        async with FakeProvider(fault_rate=0.4, seed=3, slow_seconds=0.001) as provider:
            runs.append(await outcomes(http, provider, order))
            faults = provider.stats().faults
            provider.reset()
            assert await outcomes(http, provider, order) == runs[-1]

    assert runs[0] == runs[1]
    assert set(faults) == {"429", "500", "drop", "malformed", "slow"}


async def test_at_most_three_faults_come_in_a_row(http):
    async with FakeProvider(fault_rate=1.0, fault_kinds=("500",)) as provider:
        met = await outcomes(http, provider, ["hello"])
        stats = provider.stats()

    assert met["hello"] == ["500", "500", "500", "answer"]
    assert (stats.requests, stats.answered, stats.distinct, stats.duplicates) == (4, 1, 1, 0)
    assert stats.faults == {"500": 3}


async def test_a_429_says_how_long_to_wait(http):
    async with FakeProvider(fault_rate=1.0, fault_kinds=("429",), retry_after_seconds=0.05) as provider:
        response = await http.post(f"{provider.base_url}/chat/completions", json=prompt("hello"))

    assert response.status == 429
    assert response.headers["Retry-After"] == "0.05"


async def in_flight(provider, count):
    async with asyncio.timeout(10):
        while provider.stats().in_flight != count:
            await asyncio.sleep(0)


async def test_a_full_provider_answers_429(http):
    async with FakeProvider(latency_ms=60_000, capacity=1) as provider:
        held = asyncio.create_task(post(http, provider, prompt("first")))
        await in_flight(provider, 1)
        status, _ = await post(http, provider, prompt("second"))
        held.cancel()

        assert status == 429
        assert provider.stats().faults == {"capacity": 1}
        assert provider.stats().max_in_flight == 1


async def test_a_client_that_goes_away_is_not_counted_as_answered(http):
    async with FakeProvider(latency_ms=60_000) as provider:
        leaving = asyncio.create_task(post(http, provider, prompt("hello")))
        await in_flight(provider, 1)
        leaving.cancel()
        await in_flight(provider, 0)

        assert provider.stats().requests == 1
        assert provider.stats().answered == 0


async def test_stats_tell_repeated_bodies_from_new_ones_and_reset_forgets_them(provider, http):
    for text in ("one", "two", "one"):
        await ask(http, provider, prompt(text))
    root = provider.base_url.removesuffix("/v1")
    async with http.get(f"{root}/stats") as response:
        stats = await response.json()
    async with http.post(f"{root}/reset") as response:
        assert (await response.json())["requests"] == 0

    assert (stats["requests"], stats["answered"], stats["distinct"], stats["duplicates"]) == (3, 3, 2, 1)
    assert stats["prompt_tokens"] > stats["completion_tokens"] > 0
    assert provider.stats().distinct == 0


def test_an_unknown_fault_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="malformed"):
        FakeProvider(fault_kinds=("malfromed",))


@pytest.mark.parametrize("wrong", [{"fault_rate": 1.5}, {"latency_ms": -1}, {"capacity": 0}])
def test_a_setting_out_of_its_range_is_named(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        FakeProvider(**wrong)


async def test_a_taken_port_is_named_in_the_error(provider):
    taken = int(provider.base_url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match=str(taken)):
        await FakeProvider(port=taken).start()


@pytest.mark.slow
async def test_a_provider_in_its_own_process_answers_counts_and_ends_with_its_block(http):
    with FakeProviderProcess(api_key="key", fault_rate=1.0, fault_kinds=("500",)) as provider:
        assert (await outcomes(http, provider, ["hello"]))["hello"][-1] == "answer"
        assert provider.stats().faults == {"500": 3}
        provider.reset()
        assert provider.stats().requests == 0
        url = f"{provider.base_url}/models"
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(url)


@pytest.mark.slow
async def test_a_killed_provider_refuses_connections(http):
    provider = FakeProviderProcess()
    provider.start()
    provider.kill()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{provider.base_url}/models")


@pytest.mark.slow
async def test_the_process_ends_when_the_one_that_started_it_is_killed(http):
    script = (
        "import os, signal; from dspex_core.testing.fake_provider import FakeProviderProcess as P; p = P(); p.start();"
        "print(p.base_url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    starter = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    # The provider inherits the pipe that is the starter's stderr, so `run` returned when both had ended.
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{starter.stdout.strip()}/models")


@pytest.mark.slow
def test_sigterm_ends_the_process_in_order():
    command = [sys.executable, "-m", "dspex_core.testing.fake_provider", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
        process.terminate()
        assert process.wait(10) == 0

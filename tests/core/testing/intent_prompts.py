"""Banking messages, prompts about them as the chat adapter writes them, and requests to a fake provider."""

import json
import random

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


async def post(http, provider, body):
    async with http.post(f"{provider.base_url}/chat/completions", json=body) as response:
        return response.status, await response.read()


async def ask(http, provider, body):
    status, raw = await post(http, provider, body)
    assert status == 200, raw
    return fields_of(json.loads(raw)["choices"][0]["message"]["content"])

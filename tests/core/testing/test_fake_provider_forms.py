import json

import openai
import pytest
from intent_prompts import INSTRUCTION, field_list, post
from pydantic import BaseModel

from dspex_core.testing import FakeProvider

KINDS = "Literal['billing', 'bug']"
SYSTEM = """Your input fields are:
1. `text` (str): what the customer wrote

Your output fields are:
{outputs}

{structure}

Within this structure, your task is:
{instruction}"""
STRUCTURES = {
    "json": '[[ ## text ## ]]\n{text}\n\n{\n  "label": "{label}"\n}',
    "xml": "<text>\n{text}\n</text>\n\n<label>\n{label}\n</label>",
}
REQUESTS = {"json": "Answer with a JSON object with the keys `label`.", "xml": "Answer with `<label>` tags."}


def prompt(form, text, demos=(), *, instruction=INSTRUCTION, outputs=(("label", KINDS),), request=None):
    def question(text):
        return f"[[ ## text ## ]]\n{text}" if form == "json" else f"<text>\n{text}\n</text>"

    def answer(values):
        if form == "json":
            return json.dumps(values)
        return "\n".join(f"<{name}>\n{value}\n</{name}>" for name, value in values.items())

    system = SYSTEM.replace("{outputs}", field_list(*outputs)).replace("{structure}", STRUCTURES[form])
    messages = [{"role": "system", "content": system.replace("{instruction}", instruction)}]
    for asked, values in demos:
        messages.append({"role": "user", "content": question(asked)})
        messages.append({"role": "assistant", "content": answer(values)})
    messages.append({"role": "user", "content": f"{question(text)}\n\n{request or REQUESTS[form]}"})
    return {"model": "fake-learner", "messages": messages, "temperature": 0.0}


async def said(http, provider, body):
    status, raw = await post(http, provider, body)
    assert status == 200, raw
    return json.loads(raw)["choices"][0]["message"]["content"]


def sdk_of(provider):
    return openai.AsyncOpenAI(base_url=provider.base_url, api_key="key", max_retries=0)


def label_in(form, text):
    return json.loads(text)["label"] if form == "json" else text.removeprefix("<label>\n").removesuffix("\n</label>")


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("label", ["billing", "bug"])
async def test_demos_teach_in_every_form_and_the_answer_has_the_same(provider, http, form, label):
    body = prompt(form, "invoice charged twice", [("the invoice charged me twice", {"label": label})])
    assert label_in(form, await said(http, provider, body)) == label


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_an_instruction_teaches_in_every_form(provider, http, form):
    explained = "Route the message.\nbilling: paid, invoice\nbug: crash, froze"
    for text, label in (("my invoice", "billing"), ("it froze", "bug")):
        assert label_in(form, await said(http, provider, prompt(form, text, instruction=explained))) == label


async def test_a_form_that_is_not_asked_for_last_does_not_count(provider, http):
    body = prompt("json", "a JSON object with the keys\n\nis what I lost", request="Begin with `[[ ## label ## ]]`.")
    assert (await said(http, provider, body)).startswith("[[ ## label ## ]]\n")


async def test_values_in_json_have_the_types_of_their_fields(provider, http):
    outputs = [
        ("reasoning", "str"), ("size", "Literal[1, 2]"), ("urgent", "bool"), ("count", "int"),
        ("tags", "list[str]"), ("when", "date | None"), ("note", "str | None"),
    ]  # fmt: skip
    values = {"size": 2, "urgent": True, "count": 7, "tags": ["a"], "when": None, "note": "fruit"}
    body = prompt("json", "green apples", [("seven green apples", {"reasoning": "Fruit."} | values)], outputs=outputs)
    answer = json.loads(await said(http, provider, body))
    assert list(answer) == [name for name, _ in outputs]
    assert {name: answer[name] for name in values} == values
    assert "'green'" in answer["reasoning"]


@pytest.mark.parametrize(
    "note",
    [
        '"label": "{label} one of: red team; blue team"',
        r'"label": "{label} fits {\"enum\": [\"red team\", \"blue team\"]}"',
        '{label}  # fits {"enum": ["red team", "blue team"]}',
    ],
)
async def test_choices_are_read_from_a_note_in_the_structure(provider, http, note):
    body = prompt("json", "is this team blue enough", outputs=[("label", "Team")])
    system = body["messages"][0]
    shown = note if note.startswith('"') else f"[[ ## label ## ]]\n{note}"
    system["content"] = system["content"].replace('"label": "{label}"', shown)
    assert label_in("json", await said(http, provider, body)) == "blue team"


class Part(BaseModel):
    name: str
    weight: float | None


class Order(BaseModel):
    team: str
    count: int
    parts: list[Part]
    first: Part


async def test_the_openai_sdk_parses_an_answer_into_the_model_it_asked_for(provider):
    async with sdk_of(provider) as client:
        answer = await client.chat.completions.parse(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "Two crates for Ada."}],
            response_format=Order,
        )
    found = answer.choices[0].message.parsed
    assert found == Order(team="Two crates for Ada.", count=0, parts=[], first=Part(name="", weight=None))


async def test_a_schema_binds_the_answer_to_a_prompt_of_any_form(provider, http):
    schema = {"type": "object", "properties": {"label": {"enum": ["billing", "bug"]}, "count": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema | {"required": ["count"]}}}
    demos = [("the invoice charged me twice", {"label": "billing"})]
    for form in ("json", "xml"):
        body = prompt(form, "the invoice", demos) | {"response_format": wanted}
        assert json.loads(await said(http, provider, body)) == {"label": "billing", "count": 0}


async def test_json_object_is_obeyed_and_must_be_asked_for_in_words(provider, http):
    wanted = {"response_format": {"type": "json_object"}}
    assert "label" in json.loads(await said(http, provider, prompt("json", "hello") | wanted))
    status, raw = await post(http, provider, prompt("xml", "hello") | wanted)
    assert status == 400
    assert json.loads(raw)["error"]["param"] == "messages"


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties' is required"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, "Missing 'a'"),
        ({"type": "array"}, 'type: "object"'),
    ],
)
async def test_a_strict_schema_is_checked_as_openai_checks_it(provider, http, schema, complaint):
    strict = {"name": "answer", "strict": True, "schema": schema}
    wanted = {"response_format": {"type": "json_schema", "json_schema": strict}}
    status, raw = await post(http, provider, prompt("json", "hello") | wanted)
    assert status == 400
    assert complaint in json.loads(raw)["error"]["message"]


async def test_a_provider_without_structured_output_refuses_a_schema():
    async with FakeProvider(structured_output=False) as provider, sdk_of(provider) as client:
        with pytest.raises(openai.BadRequestError, match="json_schema") as caught:
            await client.chat.completions.parse(
                model="m", messages=[{"role": "user", "content": "hello"}], response_format=Order
            )
    assert (caught.value.param, caught.value.type) == ("response_format", "invalid_request_error")


async def test_scripted_fields_are_written_in_the_form_that_is_asked_for(http):
    script = [{"when": "text", "answer": {"label": "bug", "count": 2}}]
    async with FakeProvider(script=script) as provider:
        answers = [await said(http, provider, prompt(form, "hello")) for form in ("json", "xml")]
    assert answers == ['{"label": "bug", "count": 2}', "<label>\nbug\n</label>\n<count>\n2\n</count>"]

"""What every adapter promises, whatever its format."""

import itertools
import json
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_servers import written
from pydantic import BaseModel

from dspex_core import History, Image, InputField, OutputField, Signature, Tool, ToolCalls
from dspex_core.adapters import ChatAdapter, JSONAdapter, XMLAdapter, adapter_of
from dspex_core.errors import AdapterParseError, FieldValueError
from dspex_core.seam import AdapterConfig, ImagePart, LMConfig, LMResponse, TextPart, ToolUse
from dspex_core.signature import signature_of

ADAPTERS = [ChatAdapter(), JSONAdapter(), XMLAdapter()]
PIXEL = Image("data:image/png;base64,iVBORw0KGgo=")

HALF = "\ud83d"

every_adapter = pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.config.name)


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Person(BaseModel):
    name: str
    age: int
    friends: "list[Person]" = []


class Everything(Signature):
    """Read it all."""

    text: str = InputField()
    label: Literal["billing", "Bug report"] = OutputField()
    count: int = OutputField(ge=0)
    share: float = OutputField()
    sure: bool = OutputField()
    words: list[str] = OutputField()
    person: Person = OutputField()
    mood: Mood = OutputField()
    when: date | None = OutputField()
    anything: Any = OutputField()
    title: str = OutputField(max_length=30)


VALUES = {
    "label": "Bug report",
    "count": 3,
    "share": 0.5,
    "sure": True,
    "words": ["a", 'b"c', "<d>", "é"],
    "person": Person(name="Ada", age=36, friends=[Person(name="Charles", age=61)]),
    "mood": Mood.BAD,
    "when": date(2024, 1, 2),
    "anything": {"deep": [1, None]},
    "title": "two\nlines: {x}",
}


class Looks(Signature):
    """Say what is on it."""

    picture: Image = InputField()
    more: list[Image] = InputField()
    question: str = InputField()
    answer: str = OutputField()


class Chats(Signature):
    """Go on."""

    history: History = InputField()
    question: str = InputField()
    answer: str = OutputField()


@every_adapter
def test_what_a_demo_shows_is_read_back_as_the_same_values(adapter):
    shown = adapter.prefix(Everything, "Read it all.", ({"text": "t", **VALUES},))[2].text
    assert adapter.parse(Everything, shown) == VALUES


@every_adapter
def test_fields_types_descriptions_constraints_and_the_task_reach_the_prompt(adapter):
    class Rated(Signature):
        """Rate it."""

        text: str = InputField(desc="what the customer wrote")
        stars: int = OutputField(desc="from 1 to 5", ge=1, le=5)

    system = adapter.prefix(Rated, "Rate it well.", ())[0].text
    for part in ("`text` (str): what the customer wrote", "`stars` (int): from 1 to 5", "Rate it well."):
        assert part in system
    schema = '"maximum": 5' if adapter.config.name != "json" else r"\"maximum\": 5"
    assert schema in system


@every_adapter
def test_a_constraint_is_enforced_and_the_field_named(adapter):
    shown = adapter.prefix(Everything, "", ({"text": "t", **VALUES, "title": "x" * 31},))[2].text
    with pytest.raises(AdapterParseError, match=r"output field 'title'.*at most 30 characters"):
        adapter.parse(Everything, shown)


@every_adapter
def test_the_correction_says_what_is_wrong_and_asks_in_the_adapters_format(adapter):
    signature = signature_of("q -> a: int")
    answer = adapter.prefix(signature, "", ({"q": "x", "a": "many"},))[2].text
    with pytest.raises(AdapterParseError) as caught:
        adapter.parse(signature, answer)
    said, request = adapter.correction(signature, caught.value)
    assert said.text == answer
    assert "output field 'a'" in request.text
    assert request.text.endswith(adapter.request(adapter.layout(signature)))


@every_adapter
def test_images_become_parts_where_they_stand_also_in_demos_read_from_json(adapter):
    demo = {"picture": PIXEL.model_dump(mode="json"), "more": [], "question": "q", "answer": "a"}
    inputs = {"picture": Image("https://x.test/a.png"), "more": [PIXEL, PIXEL], "question": "and?"}
    _, shown, _, question = (*adapter.prefix(Looks, "", (demo,)), *adapter.question(Looks, inputs))
    assert [part.url for part in shown.content if isinstance(part, ImagePart)] == [PIXEL.url]
    kinds = [part.url if isinstance(part, ImagePart) else part.text for part in question.content]
    assert [kind for kind in kinds if kind.startswith(("http", "data:"))] == [
        "https://x.test/a.png",
        PIXEL.url,
        PIXEL.url,
    ]
    assert "picture" in kinds[0]
    assert "and?" in kinds[-1]
    assert PIXEL.url not in question.text


@every_adapter
def test_earlier_exchanges_are_messages_of_their_own_before_the_question(adapter):
    history = History(messages=[{"question": "Capital of France?", "answer": "Paris"}])
    messages = adapter.question(Chats, {"history": history, "question": "And of Spain?"})
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert "Capital of France?" in messages[0].text
    assert adapter.parse(Chats, messages[1].text) == {"answer": "Paris"}
    assert "And of Spain?" in messages[2].text
    assert "history" not in messages[2].text
    assert adapter.prefix(Chats, "", ())[0].text.count("history") == 0


JUNK = st.text(max_size=30) | st.sampled_from(
    ["{", "}", "[", '"', "```json\n", "</label>", "<label>", "[[ ## label ## ]]\n", '{"label": ', "\\", "\n", "1e999"]
)


@every_adapter
@given(answer=st.lists(JUNK, max_size=12).map("".join))
def test_any_text_is_outputs_or_a_parse_error_that_quotes_it(adapter, answer):
    try:
        outputs = adapter.parse(Everything, answer)
    except AdapterParseError as error:
        assert error.answer == answer  # noqa: PT017 - either outcome is right
        adapter.correction(Everything, error)
    else:
        assert outputs.keys() == Everything.output_fields.keys()


FIELDS = st.dictionaries(st.sampled_from(["one", "two", "three"]), st.text(max_size=40), min_size=1)


@every_adapter
@given(values=FIELDS, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_pieces_put_together_are_what_the_whole_answer_holds(adapter, values, cuts):
    signature = signature_of("q -> one, two, three")
    whole = {"one": "", "two": "", "three": ""} | values
    answer = adapter.answer(list(whole), {name: value or " " for name, value in whole.items()})
    try:
        outputs = adapter.parse(signature, answer)
    except AdapterParseError:
        return
    reader = adapter.reader(adapter.layout(signature))
    found = dict.fromkeys(outputs, "")
    marks = [0, *sorted(cut % (len(answer) + 1) for cut in cuts), len(answer)]
    for start, stop in itertools.pairwise(marks):
        for name, piece in reader.feed(answer[start:stop]):
            found[name] += piece
    for name, piece in reader.close():
        found[name] += piece
    assert found == outputs


@every_adapter
def test_the_pieces_of_a_field_come_before_the_field_is_whole(adapter):
    signature = signature_of("q -> reasoning, answer")
    answer = adapter.answer(["reasoning", "answer"], {"reasoning": "first this and then that", "answer": "42"})
    reader = adapter.reader(adapter.layout(signature))
    early = list(reader.feed(answer[: answer.index("then that")]))
    assert "".join(text for name, text in early if name == "reasoning").strip() == "first this and"


@pytest.mark.parametrize(
    "adapter",
    [
        ChatAdapter(fallback=[JSONAdapter(), XMLAdapter()]),
        JSONAdapter(structured_output=False, native_tools=True),
        XMLAdapter(),
    ],
)
def test_an_adapter_is_made_again_from_its_configuration(adapter):
    config = AdapterConfig.model_validate_json(adapter.config.model_dump_json())
    assert config == adapter.config
    assert adapter_of(config).config == config
    assert type(adapter_of(config)) is type(adapter)


def test_a_two_step_configuration_without_its_model_is_refused():
    with pytest.raises(Exception, match="needs extraction_lm"):
        adapter_of(AdapterConfig(name="two_step"))
    lm = LMConfig(model="openai/small")
    assert adapter_of(AdapterConfig(name="two_step", extraction_lm=lm)).config.extraction_lm == lm


@pytest.mark.parametrize(
    "answer",
    [
        '{"reasoning": "r", "team": "bug"}',
        'Sure!\n```json\n{"reasoning": "r", "team": "bug"}\n```\nDone.',
        "{'reasoning': 'r', 'team': 'bug'}",
        'I think {so}: {"reasoning": "r", "team": "BUG", "more": 1} and {}',
    ],
)
def test_json_answers_in_odd_shapes_are_read(answer):
    signature = signature_of("text -> reasoning, team: Literal['billing', 'bug']")
    assert JSONAdapter().parse(signature, answer) == {"reasoning": "r", "team": "bug"}


def test_json_values_of_another_kind_than_text_become_text_where_text_is_wanted():
    answer = json.dumps({"a": 42, "b": ["x"]})
    assert JSONAdapter().parse(signature_of("q -> a, b"), answer) == {"a": "42", "b": '["x"]'}


def test_the_schema_for_the_provider_closes_every_object_and_keeps_constraints():
    adapter = JSONAdapter()
    schema = adapter.response_format(adapter.layout(Everything)).json_schema
    assert schema["required"] == list(Everything.output_fields)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["count"]["minimum"] == 0
    assert all(model["additionalProperties"] is False for model in schema["$defs"].values() if "properties" in model)
    plain = JSONAdapter(structured_output=False)
    assert plain.response_format(plain.layout(Everything)) is None


@pytest.mark.parametrize(
    "answer",
    [
        "<reasoning>because</reasoning><team>bug</team>",
        "Well:\n<reasoning>\nbecause\n</reasoning>\n\n<team>\n`bug`\n</team> bye",
        "<team>bug</team>\n<team>billing</team>\n<reasoning>because</reasoning>",
        "<reasoning>because</reasoning>\n<note>x</note><team>Bug</team>",
    ],
)
def test_xml_answers_in_odd_shapes_are_read(answer):
    signature = signature_of("text -> reasoning, team: Literal['billing', 'bug']")
    assert XMLAdapter().parse(signature, answer) == {"reasoning": "because", "team": "bug"}


def test_another_fields_tag_within_a_value_belongs_to_the_value():
    signature = signature_of("q -> code, answer")
    answer = "<code>print('<answer>')</code><answer>yes</answer>"
    assert XMLAdapter().parse(signature, answer) == {"code": "print('<answer>')", "answer": "yes"}


def test_text_without_images_stays_plain_text():
    content = ChatAdapter().question(signature_of("q -> a"), {"q": "x"})[0].content
    assert isinstance(content, str)
    assert not isinstance(content, TextPart)


@pytest.mark.parametrize("words", [None, "earlier", [{"question": "a"}]], ids=str)
@every_adapter
def test_a_history_that_is_none_is_refused_by_the_fields_name(adapter, words):
    class Talk(Signature):
        """Answer."""

        question: str = InputField()
        earlier: History = InputField()
        answer: str = OutputField()

    with pytest.raises(FieldValueError, match="field 'earlier' of Talk: Input should be"):
        adapter.question(Talk, {"question": "b", "earlier": words})


@every_adapter
def test_a_class_of_ones_own_named_history_is_an_input_like_any_other(adapter):
    namesake = type("History", (BaseModel,), {"__annotations__": {"born": int}})
    talk = signature_of({"person": (namesake, InputField()), "answer": OutputField()})
    (asked,) = adapter.question(talk, {"person": namesake(born=1815)})
    assert "1815" in asked.text


@every_adapter
def test_a_text_that_looks_like_the_mark_of_an_image_breaks_nothing(adapter):
    look = signature_of("note, picture: Image -> answer")
    (asked,) = adapter.question(look, {"note": "\ue000image 7\ue001", "picture": PIXEL})
    assert [part.url for part in asked.content if isinstance(part, ImagePart)] == [PIXEL.url]


@pytest.mark.parametrize(
    ("adapter", "answer"),
    [
        (ChatAdapter(), written(answer=HALF, words=f'["{HALF}"]', more=f'{{"{HALF}": "{HALF}"}}')),
        (XMLAdapter(), f'<answer>{HALF}</answer><words>["{HALF}"]</words><more>{{"{HALF}": "{HALF}"}}</more>'),
        (JSONAdapter(), rf'{{"answer": "{HALF}", "words": ["\udc00"], "more": {{"\udbff": "\ud800"}}}}'),
    ],
    ids=["chat", "xml", "json"],
)
def test_half_a_character_does_not_get_out_of_an_answer(adapter, answer):
    read = adapter.parse(signature_of("text -> answer, words: list[str], more: dict[str, str]"), answer)
    assert read == {"answer": "?", "words": ["?"], "more": {"?": "?"}}


@every_adapter
def test_a_native_tool_call_that_is_none_is_a_parse_error(adapter):
    class Act(Signature):
        """Act."""

        tools: list[Tool] = InputField()
        calls: ToolCalls = OutputField()

    native = type(adapter)(native_tools=True)
    with pytest.raises(AdapterParseError, match="output field 'calls'"):
        native.parse(Act, LMResponse(text="", tool_calls=(ToolUse(name="", args={}),)))


def test_a_history_of_chat_messages_is_told_how_to_write_exchanges():
    history = History(messages=[{"role": "user", "content": "hey"}])
    with pytest.raises(FieldValueError, match=r"'role', 'content', but is told by the fields of Chats"):
        ChatAdapter().question(Chats, {"history": history, "question": "and?"})

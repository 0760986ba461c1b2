"""What answers: the script and, where that has nothing to say, the learner."""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dspex_core.testing.fake_provider._call import Call, Said, ToolCall
from dspex_core.testing.fake_provider._forms import written
from dspex_core.testing.fake_provider._learner import Sampling, answer_fields, recalled, remark
from dspex_core.testing.fake_provider._prompt import TEXT_TYPE, Conversation, Field, read_conversation
from dspex_core.testing.fake_provider._schema import fitting, schema_fields
from dspex_core.testing.fake_provider._script import Script, ScriptRule
from dspex_core.testing.fake_provider._tool_choice import chosen_call
from dspex_core.testing.fake_provider._training import Memory


class Mind:
    """Answers calls, each from its own prompt alone.

    Args:
        script: What to say instead, to prompts that it has a rule for.
        tuned: What fine-tuned models have learnt besides, by their names.
    """

    def __init__(self, script: Script, tuned: Callable[[], Mapping[str, Memory]] = dict) -> None:
        self.script = script
        self._tuned = tuned

    def knows(self, model: str) -> bool:
        """Whether there is a model of this name: any, but of those fine-tuned only what came out of a job."""
        return not model.startswith("ft:") or model in self._tuned()

    def __call__(self, call: Call) -> Said:
        """What is said to a call."""
        return replace(self._said(call).within(call.most_tokens), effort=call.effort)

    def _said(self, call: Call) -> Said:
        memory = self._tuned().get(call.model, ()) if call.model.startswith("ft:") else ()
        conversation = read_conversation(call.turns, schema_fields(call.schema) if call.schema else (), memory)
        if rule := self.script.answer(call.asked()):
            return _scripted(rule, call, conversation)
        if call.tools and (call.demanded or not call.tools_answered()):
            query = conversation.query or {"text": conversation.last_text}
            if chosen := chosen_call(call.tools, query, demanded=call.demanded):
                return Said("", (chosen,))
        if not conversation.task.outputs:
            text = recalled(memory, conversation.last_text) or remark(conversation)
            return Said(json.dumps({"answer": text}, ensure_ascii=False) if call.wants_json else text)
        values = answer_fields(conversation, Sampling(call.salt, call.temperature))
        if not call.wants_json and conversation.form != "json":
            return Said(written(conversation.form, values))
        typed = {field.name: _json_value(field, values[field.name]) for field in conversation.task.outputs}
        return Said(written("json", fitting(call.schema, typed) if call.schema else typed))


def _scripted(rule: ScriptRule, call: Call, conversation: Conversation) -> Said:
    calls = tuple(ToolCall(wanted.name, wanted.arguments) for wanted in rule.tool_calls)
    if isinstance(rule.answer, str):
        return Said(rule.answer, calls)
    form = "json" if call.wants_json else conversation.form
    return Said(written(form, rule.answer) if rule.answer is not None else "", calls)


def _json_value(field: Field, text: str) -> Any:
    """The value that a text stands for, by the type of its field."""
    if field.labels:
        return _literal(field, text)
    kind = field.type_text.strip()
    if text == "null" and ("None" in kind or kind.startswith("Optional")):
        return None
    if not kind or TEXT_TYPE.fullmatch(kind):
        return text
    try:
        return json.loads(text.lower() if kind.startswith("bool") else text)
    except ValueError:
        return text


def _literal(field: Field, text: str) -> Any:
    """A label that is a number or a truth value in its `Literal[…]` is one in JSON as well."""
    try:
        choices: tuple[Any, ...] = tuple(ast.literal_eval(field.type_text.removeprefix("Literal")))
    except (SyntaxError, ValueError):
        return text
    return next((choice for choice in choices if str(choice) == text), text)

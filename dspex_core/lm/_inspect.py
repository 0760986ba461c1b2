import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from dspex_core.errors import InputError
from dspex_core.lm._history import LMCall, recent_calls
from dspex_core.seam import ImagePart, LMResponse, Message

_SHOWN_OF_A_URL = 80

Line = tuple[str, str]
"""A style, or none, and a text."""


def inspect_history(n: int = 1, *, file: TextIO | None = None) -> None:
    """Print the last calls to models that this process made, in any scope: what was asked, and what came back.

        program = Predict("question -> answer")
        program.run(question="What is the capital of Belgium?")
        inspect_history(1)

    Args:
        n: How many calls, at most; a process remembers its last 100. The oldest is printed first.
        file: Where to; None for standard output. Colours go to a terminal only.

    What workers did is not among them: they are processes of their own. A key is never printed.

    Raises:
        InputError: If `n` is not positive.
    """
    print_calls(recent_calls, n, file=file)


def print_calls(calls: Sequence[LMCall], n: int, *, file: TextIO | None) -> None:
    """Print the last `n` of these calls.

    Raises:
        InputError: If `n` is not positive.
    """
    if n < 1:
        raise InputError(f"inspect_history({n}): ask for 1 call or more")
    last = list(calls)[-n:]
    lines = [line for call in last for line in _lines(call)] or [("", "no model has been asked yet")]
    _write(lines, file or sys.stdout)


def _lines(call: LMCall) -> Iterator[Line]:
    yield "bold blue", _headline(call)
    for message in call.request.messages:
        yield "", ""
        yield "bold red", f"{message.role.capitalize()} message:"
        yield "", _text_of(message)
    yield "", ""
    if call.response is None:
        yield "bold red", "Failed:"
        yield "", call.error
    else:
        yield "bold red", "Answer:"
        if call.response.text:
            yield "green", call.response.text.strip()
        for use in call.response.tool_calls:
            yield "green", f"{use.name}({json.dumps(use.args, ensure_ascii=False, default=str)})"
    yield "", ""
    yield "", ""


def _headline(call: LMCall) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.started))
    parts = [call.model, f"{call.seconds * 1000:.0f} ms"]
    if call.response is not None:
        parts += _took(call.response)
    if call.request.rollout_id is not None:
        parts.append(f"rollout {call.request.rollout_id}")
    return f"[{when}] {' · '.join(parts)}"


def _took(response: LMResponse) -> list[str]:
    usage = response.usage
    if usage.cached_calls:
        return ["from the cache, for free"]
    cost = "price unknown" if usage.cost_usd is None else f"${usage.cost_usd:.6f}"
    return [f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out", cost]


def _text_of(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content.strip()
    return "".join(_shown(part.url) if isinstance(part, ImagePart) else part.text for part in message.content).strip()


def _shown(url: str) -> str:
    if len(url) <= _SHOWN_OF_A_URL:
        return f"<image {url}>"
    return f"<image {url[:_SHOWN_OF_A_URL]}… ({len(url)} characters)>"


def _write(lines: Iterable[Line], file: TextIO) -> None:
    if not file.isatty():
        file.writelines(f"{text}\n" for _, text in lines)
        return
    # Imported when used: only a terminal needs it, and it takes its time.
    from rich.console import Console  # noqa: PLC0415 - as said
    from rich.text import Text  # noqa: PLC0415 - as said

    console = Console(file=file, highlight=False)
    for style, text in lines:
        console.print(Text(text, style=style), soft_wrap=True)

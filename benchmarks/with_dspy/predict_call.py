# pyright: basic, reportMissingImports=false
import time
from types import SimpleNamespace
from typing import Any

import dspy

from benchmarks._child import given, report
from benchmarks.with_dspy._triage import Triage, examples

ANSWER = "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"


class Canned(dspy.BaseLM):
    """Answers at once. Of DSPy's two ways to bring a model of one's own, this takes less CPU than an engine."""

    def forward(self, prompt: str | None = None, messages: list[dict[str, Any]] | None = None, **kwargs: Any) -> Any:
        message = SimpleNamespace(content=ANSWER, tool_calls=None)
        usage = {"prompt_tokens": 200, "completion_tokens": 10, "total_tokens": 210}
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage=usage, model="canned")


def main() -> None:
    calls, demos = given()["calls"], given()["demos"]
    program = dspy.Predict(Triage)
    program.demos = examples(demos)
    messages = [example.message for example in examples(calls + calls // 10, first=1000)]
    with dspy.context(lm=Canned("canned/model", cache=False)):
        for message in messages[calls:]:
            program(message=message)
        start = time.process_time()
        for message in messages[:calls]:
            program(message=message)
        seconds = time.process_time() - start
    report(microseconds=seconds / calls * 1_000_000)


if __name__ == "__main__":
    main()

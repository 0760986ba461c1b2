import asyncio
import time

from benchmarks._child import given, report
from benchmarks.with_dspex._triage import Triage, examples
from dspex_core import Predict, Usage, using
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import LMRequest, LMResponse, add_usage

ANSWER = "[[ ## team ## ]]\nbilling\n\n[[ ## completed ## ]]"


class Canned(InProcessRuntime):
    """Answers at once, and accounts for it as a real runtime does."""

    async def generate(self, request: LMRequest) -> LMResponse:
        response = LMResponse(text=ANSWER, usage=Usage(lm_calls=1, prompt_tokens=200, completion_tokens=10))
        add_usage(response.usage)
        return response


async def main() -> None:
    calls, demos = given()["calls"], given()["demos"]
    program = Predict(Triage)
    shown = tuple(example.to_dict() for example in examples(demos))
    program = program.with_state(program.get_state().with_demos({"self": shown}))
    messages = [example.message for example in examples(calls + calls // 10, first=1000)]
    with using(runtime=Canned()):
        for message in messages[calls:]:
            await program(message=message)
        start = time.process_time()
        for message in messages[:calls]:
            await program(message=message)
        seconds = time.process_time() - start
    report(microseconds=seconds / calls * 1_000_000)


if __name__ == "__main__":
    asyncio.run(main())

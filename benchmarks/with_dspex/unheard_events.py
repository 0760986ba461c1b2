import time
from collections.abc import Callable

from benchmarks._child import report
from dspex_core import Predict, events
from dspex_core.optimizers import Candidate, Proposal
from dspex_core.optimizers._search import Search
from dspex_core.progress import RowTally
from dspex_core.runtime import InProcessRuntime
from dspex_core.seam import PredictorState, ProgramState
from dspex_core.usage import Usage

ROUNDS = 20_000
DEMO = {"text": "I was charged twice for the same order. " * 4, "team": "billing"}


def microseconds(act: Callable[[], object]) -> float:
    """CPU time of one call, over that of a call of nothing."""

    def clocked(each: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(ROUNDS):
            each()
        return (time.process_time() - began) / ROUNDS * 1e6

    clocked(act)
    return max(0.0, min(clocked(act) for _ in range(5)) - min(clocked(lambda: None) for _ in range(5)))


def main() -> None:
    runtime = InProcessRuntime()
    state = ProgramState(predictors={"self": PredictorState(instructions="Route it.", demos=(DEMO,) * 16)})
    search = Search(
        runtime, student=Predict("text -> team"), trainset=[], valset=None, metric=None, teacher=None, teacher_lm=None
    )
    entries = search._entries  # noqa: SLF001 - what tells of candidates has no other door
    proposal = Proposal(state, "16 demos")
    numbers = iter(range(10**9))
    usage = Usage(lm_calls=1, prompt_tokens=100)
    tally = RowTally(events.publish, wanted=lambda: events.wanted("rows_evaluated"))
    candidates = [Candidate(index=n, label="16 demos", state=state, score=50.0) for n in range(11 * ROUNDS)]
    with tally.evaluation():
        report(
            call=microseconds(events.watched),
            rows=microseconds(lambda: tally.add(rows=1, total=1.0, usage=usage)),
            phase=microseconds(lambda: search.phase("evaluating", detail="a set", rows=100)),
            proposed=microseconds(lambda: entries.propose(0, proposal, None)),
            evaluated=microseconds(lambda: entries.enter(candidates[next(numbers)])),
        )


if __name__ == "__main__":
    main()

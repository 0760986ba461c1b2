from collections.abc import Sequence

from dspex_core.events import CandidateProposed
from dspex_core.optimizers._result import Candidate, Proposal
from dspex_core.seam import Runtime, plain


class Entries:
    """A search's candidates: numbered in the order they were asked for, and entered in it, whichever is done first.

    Args:
        runtime: What is told of them.

    Attributes:
        candidates: Those that are scored and entered.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.candidates: list[Candidate] = []
        self._runtime = runtime
        self._numbered = 0
        self._waiting: dict[int, Candidate] = {}

    def numbers(self, count: int) -> range:
        """The next so many numbers."""
        first = self._numbered
        self._numbered += count
        return range(first, self._numbered)

    def propose(self, index: int, proposal: Proposal, rows: int | None) -> None:
        """Tell that one is to be scored, on so many rows if not on all."""
        # A state with many demos is long to write down.
        if not self._runtime.hears("candidate_proposed"):
            return
        self._runtime.emit(
            CandidateProposed(
                index=index,
                label=proposal.label,
                state=plain(proposal.state),
                parent=proposal.parent,
                merged_with=proposal.merged_with,
                rows=rows,
            )
        )

    def enter(self, candidate: Candidate) -> None:
        """Enter one that is scored, as soon as all before it are, and with it those that waited for it."""
        self._waiting[candidate.index] = candidate
        while (following := self._waiting.pop(len(self.candidates), None)) is not None:
            self._enter(following)

    def enter_the_rest(self) -> None:
        """Enter candidates that were scored before an earlier one was, which a search that ended early left so."""
        known = len(self.candidates) or 1
        for _, each in sorted(self._waiting.items()):
            if max(each.parent or 0, each.merged_with or 0) < known:
                self._enter(each.model_copy(update={"index": len(self.candidates)}))

    def take_over(self, candidates: Sequence[Candidate]) -> None:
        """Enter another search's, of which was told already."""
        self.candidates += candidates
        self._numbered += len(candidates)

    def _enter(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        if self._runtime.hears("candidate_evaluated"):
            self._runtime.emit(candidate.evaluated())

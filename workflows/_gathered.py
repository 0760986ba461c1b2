from collections.abc import Sequence
from dataclasses import dataclass

from dspex_core.evaluate import FAILURES_KEPT
from dspex_core.seam import Evaluation
from dspex_core.usage import Usage

from ._values import EvaluationOutput


@dataclass(frozen=True)
class _Piece:
    """Results of some rows: a score for each, in order."""

    indices: Sequence[int]
    scores: tuple[float, ...]
    failed_rows: tuple[int, ...]
    failures: tuple[str, ...]
    usage: Usage
    rows: tuple[str, ...]


class Gathered:
    """Results of an evaluation's rows as they come in, in whatever pieces; put in the order of the rows.

    Args:
        indices: The rows, each once.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        self._indices = indices
        self._pieces: list[_Piece] = []
        self._scores: dict[int, float] = {}

    @property
    def scores(self) -> dict[int, float]:
        """Scores so far, by row."""
        return self._scores

    @property
    def missing(self) -> Sequence[int]:
        """Rows that have no result yet, in order."""
        return [row for row in self._indices if row not in self._scores] if self._scores else self._indices

    @property
    def usage(self) -> Usage:
        """What it took so far; added up in the order of the rows, so that it is the same to the last digit."""
        return sum((piece.usage for piece in self._in_order()), start=Usage())

    def add(self, indices: Sequence[int], output: EvaluationOutput) -> None:
        """Take in results of some rows: of these, unless the output says of which."""
        indices = indices if output.indices is None else output.indices
        self._pieces.append(
            _Piece(indices, output.scores, output.failed_rows, output.failures, output.usage, output.rows)
        )
        self._scores.update(zip(indices, output.scores, strict=True))

    def output(self) -> EvaluationOutput:
        """All of it, in the order of the rows; says of which rows it is where some are missing."""
        pieces = self._in_order()
        done = [row for row in self._indices if row in self._scores]
        failed = {row for piece in pieces for row in piece.failed_rows}
        return EvaluationOutput(
            scores=tuple(self._scores[row] for row in done),
            failed_rows=tuple(row for row in done if row in failed),
            failures=tuple(failure for piece in pieces for failure in piece.failures)[:FAILURES_KEPT],
            usage=sum((piece.usage for piece in pieces), start=Usage()),
            rows=tuple(digest for piece in pieces for digest in piece.rows),
            indices=None if len(done) == len(self._indices) else tuple(done),
        )

    def evaluation(self) -> Evaluation:
        """The same, for an optimizer."""
        output = self.output()
        return Evaluation(
            scores=output.scores, failed_rows=output.failed_rows, failures=output.failures, usage=output.usage
        )

    def _in_order(self) -> list[_Piece]:
        return sorted(self._pieces, key=lambda piece: piece.indices[0] if piece.indices else -1)

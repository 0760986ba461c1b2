from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from dspex_core.errors import ConfigurationError
from dspex_core.events import CandidateEvaluated
from dspex_core.programs import write_whole
from dspex_core.record import Example
from dspex_core.reports import Gain, Plot, Reported, fold_facts, gain_of, pareto_front, plot_of, report_page
from dspex_core.seam import Program, ProgramState
from dspex_core.usage import Usage

P = TypeVar("P", bound=Program)


class Candidate(BaseModel):
    """A state that was scored. Two that differ only in what scoring took, as after a second run, are equal.

        best = await LabeledFewShot(metric="exact_match").compile(program, trainset=trainset, valset=valset)
        for candidate in best.candidates:
            print(candidate.index, candidate.label, candidate.score)
        other = program.with_state(best.candidates[0].state)

    Attributes:
        index: Its place in the order of the search; 0 is the program as it was given.
        label: How it came to be.
        state: Instructions and demos.
        score: Percent on the rows it was scored on.
        failed: Rows on which the program failed.
        parent: Index of the candidate that it was made from, if it was made from one.
        merged_with: Index of a second one that it was made from, if there is one.
        rows: Rows it was scored on, where that is not all of them; such a candidate never wins.
        estimate: Percent it would probably have come to, where a race stopped its evaluation.
        usage: What scoring it took; rows whose scores were known already took nothing.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    label: str
    state: ProgramState
    score: float
    failed: int = 0
    parent: int | None = None
    merged_with: int | None = None
    rows: int | None = None
    estimate: float | None = None
    usage: Usage = Usage()

    @property
    def likely_score(self) -> float:
        """What an optimizer may go by: the score or, where a race stopped its evaluation, the estimate."""
        return self.score if self.estimate is None else self.estimate

    def evaluated(self) -> CandidateEvaluated:
        """The event that tells of it."""
        return CandidateEvaluated.model_validate(self.model_dump(include=set(CandidateEvaluated.model_fields)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Candidate):
            return NotImplemented
        return self.__dict__ | {"usage": None} == other.__dict__ | {"usage": None}

    __hash__ = None  # pyright: ignore[reportAssignmentType] - a state holds dictionaries


@dataclass(frozen=True)
class Proposal:
    """A state to score.

        class Zeroshot(Optimizer):
            name = "zeroshot"

            async def search(self, search):
                state = search.student.get_state()
                bare = state.with_demos(dict.fromkeys(state.predictors, ()))
                await search.evaluate_all([Proposal(bare, "no demos"), Proposal(state, "as given")], phase="comparing")
                return state

    Attributes:
        state: Instructions and demos.
        label: How it came to be.
        parent: Index of the candidate that it was made from.
        rows: Indices of validation rows to score it on; None for all that the search scores on.
        merged_with: Index of a second candidate that it was made from.
    """

    state: ProgramState
    label: str
    parent: int | None = None
    rows: tuple[int, ...] | None = None
    merged_with: int | None = None


class Fold(BaseModel):
    """How a compile without some of the rows did on those rows.

        best = await BootstrapFewShot(metric="exact_match").compile(program, trainset=trainset, folds=3)
        for fold in best.folds:
            print(fold.rows, fold.baseline_score, "->", fold.score)

    Attributes:
        rows: Indices of the rows.
        baseline_score: Percent that the program as it was given scores on them.
        score: Percent that the program found without them scores.
    """

    model_config = ConfigDict(frozen=True)

    rows: tuple[int, ...]
    baseline_score: float
    score: float

    @property
    def gain(self) -> float:
        """How much better it is, in points of percent."""
        return round(self.score - self.baseline_score, 2)


@dataclass(frozen=True)
class CompileResult(Generic[P]):
    """What a compile found.

        best = await BootstrapFewShot(metric="exact_match").compile(program, trainset=trainset, valset=valset)
        print(best.baseline_score, "->", best.score, best.cost)

    Attributes:
        program: The program in its best state.
        score: Its score on the validation set in percent; None if there was none.
        baseline_score: Score of the program as it was given.
        candidates: Every state that was scored, in order.
        usage: What all of it took.
        scored_rows: Indices of the validation rows that candidates were scored on.
        baseline_scores: Scores of the program as it was given on these rows, 0.0 to 1.0.
        best_scores: Scores of the best one on them.
        ended_early: Why the search ended before it was done, with the best found so far; None if it did not.
        folds: With cross-validation, each fold. Score and `best_scores` are then of programs that were found without
            the row they are scored on.
    """

    program: P
    score: float | None
    baseline_score: float | None
    candidates: tuple[Candidate, ...]
    usage: Usage
    scored_rows: tuple[int, ...] = ()
    baseline_scores: tuple[float, ...] = ()
    best_scores: tuple[float, ...] = ()
    ended_early: str | None = None
    folds: tuple[Fold, ...] = ()

    @property
    def cost(self) -> float | None:
        """What it cost in US dollars; None if the price of a model is not known."""
        return self.usage.cost_usd

    @property
    def gain(self) -> Gain | None:
        """How much better the best program is than the given one, and how sure that is; None without scores."""
        return gain_of(self.baseline_scores, self.best_scores) if self.baseline_scores else None

    def pareto(self) -> list[Candidate]:
        """Candidates worth a choice: none scores higher with as short a prompt. The shortest prompt first.

        A prompt's length is that of its instructions and demos, which every call pays for.
        """
        return pareto_front([candidate for candidate in self.candidates if candidate.rows is None])

    def plot(self, what: Literal["search", "prompts"] = "search") -> Plot:
        """A chart that a notebook shows and `save` keeps as SVG; it needs no library.

        Args:
            what: "search": each candidate's score, and the best so far. "prompts": scores against the size of prompts.

        Raises:
            ConfigurationError: If there is no such chart.
            EvaluationError: If no candidate was scored on all rows.
        """
        if what not in {"search", "prompts"}:
            raise ConfigurationError(f"plot({what!r}): there are 'search' and 'prompts'")
        return plot_of(self.candidates, prompts=what == "prompts")

    def report(self, path: str | Path | None = None, *, rows: Sequence[Example] = (), title: str = "Compile") -> str:
        """A page of HTML, complete in itself: charts, what changed, demos, rows won and lost, how sure the gain is.

        Args:
            path: Where to write it; None writes nothing.
            rows: The validation set, to show the rows' values beside their scores.
            title: What the page is called.

        Returns:
            The page.

        Raises:
            ProgramError: If it cannot be written.
        """
        page = report_page(
            Reported(
                title=title,
                candidates=self.candidates,
                best=self.program.get_state(),
                baseline_scores=self.baseline_scores,
                best_scores=self.best_scores,
                scored_rows=self.scored_rows,
                usage=self.usage,
                rows={index: example.to_dict() for index, example in enumerate(rows)},
                facts=fold_facts([fold.gain for fold in self.folds]),
            )
        )
        if path is not None:
            write_whole(path, page, what="report")
        return page

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from dspex_core.errors import ConfigurationError, DatasetError, EvaluationError, UnknownNameError
from dspex_core.invalid import first_problem
from dspex_core.modules import KNNFewShotProgram, Module, NearestDemos, as_program
from dspex_core.optimizers._result import Candidate, CompileResult
from dspex_core.record import Example, require_inputs
from dspex_core.references import CodeReference, import_code
from dspex_core.seam import Retriever, current_runtime
from dspex_core.usage import Usage

KNN = CodeReference(path="dspex_core.retrieval:KNN")
"""Imported when it is needed: what searches does I/O, and brings numpy."""


class KNNFewShot:
    """Makes a program choose its demos for each call: the training examples nearest to the call's inputs.

        nearest = KNNFewShot(3, trainset, Embedder("openai/text-embedding-3-small"), metric="exact_match")
        best = await nearest.compile(triage, valset=valset)

    That program lives in this process. To save it, or to run it on workers, keep a `KNN` in a module of your own and
    write `KNNFewShot(3, retriever="my_app.data:nearest")`.

    Args:
        k: Nearest examples that are looked at in a call.
        trainset: Examples to choose from.
        vectorizer: What makes their inputs comparable: an `Embedder`, or a function of a list of texts that gives a
            vector for each.
        retriever: A `KNN`, or where one is imported from, in place of trainset and vectorizer.
        **few_shot_bootstrap_args: How demos are made of examples: `metric`, `metric_threshold`,
            `max_bootstrapped_demos` and `max_labeled_demos`; see `NearestDemos`.

    Raises:
        ConfigurationError: If an option does not fit, or it is not clear where examples come from.
        UnknownNameError: If there is no such option, or no metric of that name.
        DatasetError: If there are no examples, or one does not know its inputs.

    Source: DSPy's optimizer of that name; Liu et al. 2022, "What Makes Good In-Context Examples for GPT-3?", section 3.
    Differently from DSPy, examples near a call are run side by side, each without itself among its demos.
    """

    def __init__(
        self,
        k: int = 3,
        trainset: Sequence[Example] | None = None,
        vectorizer: Any = None,
        *,
        retriever: Retriever | CodeReference | str | None = None,
        **few_shot_bootstrap_args: Any,
    ) -> None:
        for option in few_shot_bootstrap_args:
            if option not in NearestDemos.model_fields:
                raise UnknownNameError("KNNFewShot option", option, NearestDemos.model_fields)
        try:
            self.options = NearestDemos(k=k, **few_shot_bootstrap_args)
        except ValidationError as error:
            where, what = first_problem(error)
            raise ConfigurationError(f"KNNFewShot option {where!r}: {what}") from None
        self.retriever = _retriever(k, trainset, vectorizer) if retriever is None else retriever
        if retriever is not None and (trainset is not None or vectorizer is not None):
            raise ConfigurationError("KNNFewShot: give a retriever, or a trainset and a vectorizer, not both")

    async def compile(
        self, student: Module, *, teacher: Module | None = None, valset: Sequence[Example] | None = None
    ) -> CompileResult[Module]:
        """Make the program. Without a validation set, nothing is called.

        Args:
            student: The program to run with chosen demos; it stays as it is.
            teacher: What runs examples, so that demos have what they lack; by default the student.
            valset: Rows that the student and the new program are scored on, with the `metric`.

        Returns:
            The program that chooses demos; of the two, the better one where there is a validation set.

        Raises:
            ConfigurationError: If there is a valset but no metric, or the teacher has other predictors.
            DatasetError: If the valset has no rows.
            EvaluationError, LMError, RetrievalError, MetricError: If scoring fails.
        """
        student, teacher = as_program(student), as_program(teacher)
        if teacher is not None and teacher.get_state().predictors.keys() != student.get_state().predictors.keys():
            raise ConfigurationError("teacher and student must have the same predictors")
        program = KNNFewShotProgram(student, self.retriever, teacher=teacher, options=self.options)
        if valset is None:
            return CompileResult(program, score=None, baseline_score=None, candidates=(), usage=Usage())
        before = await self._scored(student, valset, "baseline", index=0)
        after = await self._scored(program, valset, "nearest demos", index=1)
        better: tuple[Module, Candidate] = (program, after) if after.score >= before.score else (student, before)
        return CompileResult(
            program=better[0],
            score=better[1].score,
            baseline_score=before.score,
            candidates=(before, after),
            usage=before.usage + after.usage,
        )

    async def _scored(self, program: Module, valset: Sequence[Example], label: str, *, index: int) -> Candidate:
        metric = self.options.metric
        if metric is None:
            raise ConfigurationError("KNNFewShot needs a metric to score the validation set with")
        if not valset:
            raise DatasetError("the validation set has no rows")
        require_inputs(valset, what="validation set")
        found = await current_runtime().evaluate(program, valset, metric=metric)
        if found.failed == len(valset):
            raise EvaluationError(f"the program failed on every row; {found.failures[0]}")
        return Candidate(
            index=index,
            label=label,
            state=program.get_state(),
            score=found.score,
            failed=found.failed,
            parent=0 if index else None,
            usage=found.usage,
        )


def _retriever(k: int, trainset: Sequence[Example] | None, vectorizer: Any) -> Retriever:
    if trainset is None or vectorizer is None:
        raise ConfigurationError("KNNFewShot: give a trainset and a vectorizer, or a retriever")
    return import_code(KNN, trust=None, what="retriever")(k, trainset, vectorizer)

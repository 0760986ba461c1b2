import inspect
from functools import cache
from typing import Any, ClassVar, cast

from dspex_core.errors import AdapterParseError
from dspex_core.modules._best_of_n import Attempt, BestOfN
from dspex_core.modules._module import Module
from dspex_core.modules._predict import Predict
from dspex_core.seam import recorded_trace
from dspex_core.signature import InputField, OutputField, Signature, type_name
from dspex_core.tools import as_text


class Advise(Signature):
    """A program has run, and its result is not good enough. Advise the predictors that it is made of.

    Find out which of them led to the poor result. Each will be asked the same again without any memory of this run, so
    tell it in concrete words what to do otherwise. Leave out those that did nothing wrong.
    """

    program: str = InputField(desc="the program's own code, where there is any, and its predictors")
    inputs: str = InputField(desc="what the program was given")
    steps: str = InputField(desc="what each predictor saw and said, in order")
    outputs: str = InputField(desc="what the program gave back")
    reward_function: str = InputField(desc="how results are judged")
    reward: float = InputField(desc="the reward of this result")
    wanted_reward: float = InputField(desc="the least reward that is good enough")
    predictors: list[str] = InputField(desc="the names of the predictors that can be advised")
    discussion: str = OutputField(desc="what went wrong, and where")
    advice: dict[str, str] = OutputField(desc="a predictor's name, and what it is to do otherwise next time")


class Refine(BestOfN):
    """BestOfN that learns from its tries: after one that is not good enough, a model advises each predictor.

        one_word = Refine(Predict("question -> answer"), 3, lambda _, found: " " not in found.answer, threshold=1.0)

    The advice goes to the predictors as a hint at the end of their instructions, in the next try only. The model in
    force gives it, from the inputs, the steps, the outputs, the reward and the reward function's source. A try that
    is lost, or advice that cannot be read, leaves the next try with the last hint.

    Takes, promises and raises what `BestOfN` does.

    Source: DSPy's module of that name; Madaan et al. 2023, "Self-Refine: Iterative Refinement with Self-Feedback",
    section 2. Differently from DSPy, a hint is no field of its own, so that it never ends up in a demo.
    """

    DECLARED_AS: ClassVar[str] = "refine"

    async def next_module(self, module: Module, attempt: Attempt, inputs: dict[str, Any]) -> Module:
        """The module with hints for its predictors."""
        advice = await self._advice(attempt, inputs)
        state = self.module.get_state()
        predictors = {
            name: predictor.model_copy(update={"instructions": _hinted(predictor.instructions, advice[name])})
            for name, predictor in state.predictors.items()
            if advice.get(name)
        }
        if not predictors:
            return module
        return self.module.with_state(state.model_copy(update={"predictors": {**state.predictors, **predictors}}))

    def calls_of_parts(self) -> dict[str, tuple[int, int]]:
        """A try or more, up to `N`, with advice between two, which counts as a try does."""
        return {"module": (1, 2 * self.N - 1)}

    async def _advice(self, attempt: Attempt, inputs: dict[str, Any]) -> dict[str, str]:
        steps = [{"predictor": name, "inputs": step[1], "outputs": step[2]} for name, step in attempt.steps]
        try:
            with recorded_trace():  # this step is none of the program's
                given = await _adviser()(
                    program=_described(self.module),
                    inputs=as_text(inputs),
                    steps=as_text(steps),
                    outputs=as_text(attempt.prediction.to_dict()),
                    reward_function=_source_of(cast("Any", self.reward_fn)),
                    reward=float(attempt.reward),
                    wanted_reward=float(self.threshold),
                    predictors=list(self.module.named_predictors()),
                )
        except AdapterParseError:
            return {}
        return {name: text.strip() for name, text in given.advice.items() if text.strip().upper() not in ("", "N/A")}


@cache
def _adviser() -> Predict:
    return Predict(Advise)


def _hinted(instructions: str, advice: str) -> str:
    return f"{instructions}\n\nA hint from an earlier try at this very task: {advice}"


def _described(module: Module) -> str:
    parts = [
        f"{name}: {_fields(predictor.signature.input_fields)} -> {_fields(predictor.signature.output_fields)}\n"
        f"{predictor.state.instructions}"
        for name, predictor in module.named_predictors().items()
    ]
    own_code = not type(module).__module__.startswith(__package__ or "")
    return "\n\n".join([_source_of(type(module)), *parts] if own_code else parts)


def _fields(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {type_name(field.annotation)}" for name, field in fields.items())


def _source_of(code: Any) -> str:
    """Its source; where there is none to be had, such as in a console, its name and what it says of itself."""
    try:
        return inspect.getsource(code).strip()
    except (OSError, TypeError):
        return f"{getattr(code, '__qualname__', type(code).__qualname__)}: {inspect.getdoc(code) or 'no description'}"

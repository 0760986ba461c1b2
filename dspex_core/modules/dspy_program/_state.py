"""States of DSPy's predictors, read and set as DSPy's own `dump_state` and `load_state` do."""

from typing import Any

from pydantic_core import to_jsonable_python

from dspex_core.errors import ConfigurationError
from dspex_core.modules.dspy_program._library import library
from dspex_core.modules.dspy_program._run import NAME, fields_of
from dspex_core.programs import lm_from_dspy, lm_to_dspy
from dspex_core.seam import LMConfig, PredictorState, ProgramState


def read_state(name: str, predictor: Any) -> PredictorState:
    """The state of one predictor.

    Raises:
        ProgramError: If it has an LM of its own with options that have no equivalent here.
    """
    demos = tuple(to_jsonable_python(fields_of(demo), fallback=str) for demo in predictor.demos)
    return PredictorState(
        instructions=predictor.signature.instructions,
        demos=demos,
        lm=None if predictor.lm is None else _config_of(name, predictor.lm),
    )


def ready_to_run(source: Any, state: ProgramState) -> Any:
    """A copy of a DSPy program in a state, all of whose LMs ask ours.

    Raises:
        ProgramError: If one of its LMs has options that have no equivalent here.
        ConfigurationError: If the state has an adapter of ours.
    """
    from dspex_core.modules.dspy_program._bridge import Bridge  # noqa: PLC0415 - it needs DSPy

    module: Any = source.deepcopy()
    base: Any = library().BaseLM
    for part_name, part in module.named_sub_modules():
        attributes: dict[str, Any] = dict(part.__dict__)
        for attribute, value in attributes.items():
            if isinstance(value, base):
                setattr(part, attribute, Bridge(_config_of(f"{part_name}.{attribute}", value)))
    for name, predictor in module.named_predictors():
        wanted = state.predictors[name]
        _set(name, predictor, wanted)
        predictor.lm = None if wanted.lm is None else Bridge(wanted.lm)
        setattr(predictor, NAME, name)
    return module


def handed_back(source: Any, state: ProgramState) -> Any:
    """A copy of a DSPy program in a state, with LMs of DSPy's.

    Raises:
        ProgramError: If an LM of the state has no equivalent there.
        ConfigurationError: If the state has an adapter of ours.
    """
    module: Any = source.deepcopy()
    for name, predictor in module.named_predictors():
        wanted = state.predictors[name]
        if wanted.lm != read_state(name, predictor).lm:
            data = None if wanted.lm is None else lm_to_dspy(name, wanted.lm)
            predictor.lm = None if data is None else library().LM.load_state(data)
        _set(name, predictor, wanted)
    return module


def _set(name: str, predictor: Any, state: PredictorState) -> None:
    if state.adapter is not None:
        raise ConfigurationError(
            f"{name!r} is a predictor of a DSPy program, whose prompts DSPy's adapters write: "
            "leave out adapter= and set_adapter(…), and set DSPy's with dspy.configure(adapter=…) where the program is"
        )
    if predictor.signature.instructions != state.instructions:
        predictor.signature = predictor.signature.with_instructions(state.instructions)
    predictor.demos = [dict(demo) for demo in state.demos]


def _config_of(name: str, lm: Any) -> LMConfig:
    config = getattr(lm, "config", None)
    if isinstance(config, LMConfig):
        return config
    return lm_from_dspy(name, lm.dump_state(), instead="leave it out, and give the LM to the run")

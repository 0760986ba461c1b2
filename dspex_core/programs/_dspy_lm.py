from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dspex_core.errors import ConfigurationError, ProgramError
from dspex_core.seam import LMConfig

_SAME = {
    "model": "model",
    "api_base": "api_base",
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "cache": "cache",
    "timeout": "timeout_seconds",
}
"""Options of `dspy.LM` that `LMConfig` has, too."""

_AS_HERE: dict[str, Any] = {
    "_dspy_lm_class": "dspy.clients.lm.LM",
    "model_type": "chat",
    "num_retries": 3,
    "finetuning_model": None,
    "launch_kwargs": {},
    "train_kwargs": {},
    "use_developer_role": False,
}
"""What DSPy writes of an LM that was given none of the options that have no equivalent here."""

_INSTEAD = "set that 'lm' to null in the file, and give the program its LM with set_lm"


def lm_to_dspy(predictor: str, lm: LMConfig) -> dict[str, Any]:
    """A predictor's own LM as DSPy writes it.

    Raises:
        ProgramError: If an option has no equivalent there.
    """
    ours = lm.model_dump(mode="json")
    for option, default in LMConfig(model=lm.model).model_dump(mode="json").items():
        if option not in _SAME.values() and ours[option] != default:
            raise ProgramError(
                f"the LM of {predictor!r} has {option}={ours[option]!r}, which DSPy has no equivalent for"
            )
    written = {theirs: ours[name] for theirs, name in _SAME.items()}
    if written["api_base"] is None:
        del written["api_base"]
    return {key: value for key, value in _AS_HERE.items() if key != "use_developer_role"} | written


def lm_from_dspy(predictor: str, data: Mapping[str, Any], *, instead: str = _INSTEAD) -> LMConfig:
    """A predictor's own LM that DSPy wrote.

    Args:
        predictor: Whose it is, for errors.
        data: What DSPy wrote.
        instead: What to do about an LM that has no equivalent, for errors.

    Raises:
        ProgramError: If an option has no equivalent here. Its value is not repeated: it may be a secret.
    """
    for option, value in data.items():
        if option not in _SAME and (option not in _AS_HERE or value != _AS_HERE[option]):
            raise ProgramError(f"the LM of {predictor!r} has {option!r}, which has no equivalent here: {instead}")
    if data.get("temperature") is None:
        raise ProgramError(
            f"the LM of {predictor!r} leaves its temperature to the provider, and an LM here always has one: "
            f"give it a number, or {instead}"
        )
    try:
        return LMConfig(**{ours: data[theirs] for theirs, ours in _SAME.items() if theirs in data})
    except ConfigurationError as error:
        raise ProgramError(f"the LM of {predictor!r}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ProgramError(f"the LM of {predictor!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

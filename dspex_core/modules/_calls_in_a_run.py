from collections.abc import Iterator
from typing import Any, cast

from dspex_core.modules._module import Module
from dspex_core.modules._predict import Predict


def calls_in_a_run(program: Module) -> dict[str, tuple[int, int]]:
    """How often one run of a program calls each predictor, by its dotted name: at least, and at most.

    Each part is taken to be called once, but where a module's `calls_of_parts` says otherwise.
    """
    by_predictor = dict(_calls(program, (1, 1)))
    return {name: by_predictor[id(predictor)] for name, predictor in program.named_predictors().items()}


def _calls(part: Any, times: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Every predictor within a part by its identity, with how often a run calls it if it calls the part so often."""
    if isinstance(part, Predict):
        yield id(part), times
    elif isinstance(part, Module):
        known = part.calls_of_parts()
        for name, value in part.named_children().items():
            fewest, most = known.get(name, (1, 1))
            yield from _calls(value, (times[0] * fewest, times[1] * most))
    elif isinstance(part, (list, tuple, dict)):
        values = cast("dict[Any, Any]", part).values() if isinstance(part, dict) else cast("list[Any]", part)
        for value in values:
            yield from _calls(value, times)

from collections.abc import Sequence

from dspex_core.errors import InputError
from dspex_core.metrics._text import normalized
from dspex_core.record import Prediction


def majority(predictions: Sequence[Prediction], *, field: str | None = None) -> Prediction:
    """The first of the predictions whose value most of them agree on.

        votes = [Prediction(team="bug"), Prediction(team="billing"), Prediction(team="Bug")]
        print(majority(votes).team)    # bug

    Values are compared as `exact_match` compares them; an empty one counts only where all are empty. Of values with
    equally many votes, the one given first wins.

    Args:
        predictions: What to choose from.
        field: The output that is voted on; None for the last one, which is the answer where reasoning goes before it.

    Raises:
        InputError: If there are no predictions, or one lacks the output.
    """
    if not predictions:
        raise InputError("majority: there are no predictions to choose from")
    name = field or list(predictions[0])[-1]
    for number, prediction in enumerate(predictions, start=1):
        if name not in prediction:
            has = ", ".join(prediction) or "none"
            raise InputError(f"majority: prediction {number} has no output {name!r}; its outputs are {has}")
    values = [normalized(prediction[name]) for prediction in predictions]
    counted = [value for value in values if value] or values
    return predictions[values.index(max(dict.fromkeys(counted), key=counted.count))]

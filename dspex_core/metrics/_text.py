import json
import re
import string
import unicodedata
from collections import Counter
from typing import Any, cast

from pydantic_core import to_jsonable_python

from dspex_core.errors import MetricError
from dspex_core.record import Example, Prediction

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(example: Example, prediction: Prediction, trace: object = None) -> bool:
    """Whether every label equals the predicted field, after normalisation.

    Normalised as for SQuAD (Rajpurkar et al. 2016): case, punctuation, English articles and spacing do not count.
    A label may be a list of right answers: one of them is enough.
    """
    del trace
    return all(
        any(normalized(right) == normalized(given) for right in rights) for rights, given in _pairs(example, prediction)
    )


def f1(example: Example, prediction: Prediction, trace: object = None) -> float:
    """Token-level F1 of predicted and labelled text, averaged over the labels; the best of several right answers.

    Source: Rajpurkar et al. 2016, "SQuAD", section 6.1.
    """
    del trace
    scores = [max(_token_f1(right, given) for right in rights) for rights, given in _pairs(example, prediction)]
    return sum(scores) / len(scores)


def contains(example: Example, prediction: Prediction, trace: object = None) -> bool:
    """Whether every label occurs in the predicted field, after the same normalisation as `exact_match`."""
    del trace
    return all(
        any(normalized(right) in normalized(given) for right in rights) for rights, given in _pairs(example, prediction)
    )


def _pairs(example: Example, prediction: Prediction) -> list[tuple[list[Any], Any]]:
    labels = {name: value for name, value in example.labels().items() if name in prediction}
    if not labels:
        raise MetricError(
            f"nothing to compare: the labels are {', '.join(example.labels()) or 'none'}, "
            f"the prediction has {', '.join(prediction)}"
        )
    return [(_rights(value), prediction[name]) for name, value in labels.items()]


def _rights(label: Any) -> list[Any]:
    return list(cast("list[Any] | tuple[Any, ...]", label)) if isinstance(label, (list, tuple)) else [label]


def normalized(value: Any) -> str:
    """A value as text in which case, punctuation, English articles and spacing do not count."""
    text = unicodedata.normalize("NFD", _text(value)).lower()
    bare = text.translate(_PUNCTUATION)
    # A label that is nothing but an article or a sign ("A", "+") is told apart from others by just that.
    return " ".join(_ARTICLES.sub(" ", bare).split() or bare.split() or text.split())


def _text(value: Any) -> str:
    """A value as a data file holds it: a member of an enumeration as its value, a model as its fields."""
    if type(value) is str:
        return value
    plain = to_jsonable_python(value, fallback=str, bytes_mode="base64")
    return json.dumps(plain, sort_keys=True, ensure_ascii=False) if isinstance(plain, (dict, list)) else str(plain)


def _token_f1(right: Any, given: Any) -> float:
    expected, found = normalized(right).split(), normalized(given).split()
    common = (Counter(expected) & Counter(found)).total()
    return 2 * common / (len(expected) + len(found)) if common else float(expected == found)

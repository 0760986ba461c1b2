import re
from collections.abc import Sequence

Record = dict[str, str]

_FEEDBACK = "feedback"
_SCORE = "score"
_SAID = r"\b[`\"']?\s*(?:[:=]|is|was|should (?:be|have been)|must be)\s+[`\"']?"
_VALUE = r"([^;\n]+?)[`\"']?\s*(?:;|\n|\.\s|\.?$)"


def lessons_of(records: Sequence[Record]) -> list[Record]:
    """What judged runs teach: each as it should have been. Records without feedback are examples already.

    A run whose feedback names a field and its value, as in "team should be 'billing'", should have had that value. One
    with the full score was as it should be. Any other teaches nothing here.
    """
    if not any(_FEEDBACK in record for record in records):
        return list(records)
    return [lesson for record in records if (lesson := _lesson(record))]


def _lesson(record: Record) -> Record | None:
    run = {name: value for name, value in record.items() if name not in {_FEEDBACK, _SCORE}}
    feedback = record.get(_FEEDBACK, "")
    found = {
        name: match.group(1) for name in run if (match := re.search(rf"\b{re.escape(name)}{_SAID}{_VALUE}", feedback))
    }
    # A run that failed has no answer: the field is known by the feedback alone.
    if not found and (match := re.search(rf"\b[Ww]anted: (\w+){_SAID}{_VALUE}", feedback)):
        found = {match.group(1): match.group(2)}
    if found:
        return run | found
    return run if _is_full(record.get(_SCORE, "")) else None


def _is_full(score: str) -> bool:
    return re.fullmatch(r"1(\.0*)?|True|true", score) is not None

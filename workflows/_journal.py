import hashlib
from typing import Any

from pydantic import BaseModel, TypeAdapter
from temporalio import workflow

ANSWERS_AT_ONCE = 50
"""Known answers that a program gets in one turn; so long a turn as all of them would take, Temporal gives up on."""

_NO_PART_OF_A_QUESTION = {"allowance", "kept", "stream_to"}


class Journal:
    """What a program's calls gave in earlier legs of its run: with it, it comes to where it was and repeats no call.

    Equal calls find each other's answers, in the order in which they were given: it does not matter which of two tasks
    asks first.

    Args:
        entries: Answers, as JSON, by the digest of their call.
    """

    def __init__(self, entries: dict[str, list[Any]]) -> None:
        self.entries = {key: list(answers) for key, answers in entries.items()}
        self._unread = {key: list(answers) for key, answers in entries.items()}
        self._read = 0
        self.added = 0

    @staticmethod
    def key(what: str, call: BaseModel) -> str:
        """The digest of a call; fields that a later version adds change none, as long as they have their defaults."""
        asked = call.model_dump_json(exclude=_NO_PART_OF_A_QUESTION, exclude_defaults=True)
        return hashlib.sha256(f"{what}\n{asked}".encode()).hexdigest()

    def knows(self, key: str) -> bool:
        """Whether the next call of that digest has an answer."""
        return bool(self._unread.get(key))

    async def next_answer(self, key: str) -> Any:
        """That answer."""
        answer = self._unread[key].pop(0)
        self._read += 1
        if self._read % ANSWERS_AT_ONCE == 0:
            await workflow.sleep(0.001)
        return answer

    def add(self, key: str, answer: Any) -> None:
        """Enter what a call gave."""
        self.added += 1
        self.entries.setdefault(key, []).append(_ANYTHING.dump_python(answer, mode="json"))


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)

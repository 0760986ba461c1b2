from typing import Any, Self

from dspex_core.types._base import FieldValue


class History(FieldValue):
    """Earlier exchanges of a conversation, oldest first, as an input of a signature.

        history = History(messages=[{"question": "What is the capital of France?", "answer": "Paris"}])
        history = history.with_exchange(question="And of Spain?", answer="Madrid")

    Args:
        messages: One dict an exchange: values by the names of the signature's fields, of its inputs and its outputs.

    Raises:
        FieldValueError: If the messages are no list of dicts.
    """

    messages: tuple[dict[str, Any], ...] = ()

    def with_exchange(self, **fields: Any) -> Self:
        """This history and one more exchange.

        Args:
            **fields: Its values by field name; `**prediction` gives those of a Prediction.
        """
        return type(self)(messages=(*self.messages, fields))

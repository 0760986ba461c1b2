class Incoming:
    """The text of a model's answer, as an activity tells it; another try of the activity begins again.

    What was said once stays said. A try that says something else is heard no further: the answer itself tells.
    """

    def __init__(self) -> None:
        self._text = ""
        self._taken = 0
        self._is_other = False

    @property
    def has_more(self) -> bool:
        """Whether there is text that nobody has taken."""
        return self._taken < len(self._text)

    def hear(self, start: int, text: str) -> None:
        """Take in text that comes after so many characters."""
        known = self._text[start : start + len(text)]
        self._is_other = self._is_other or start > len(self._text) or not text.startswith(known)
        if not self._is_other:
            self._text += text[len(known) :]

    def take(self) -> str:
        """What has come since the last time."""
        text, self._taken = self._text[self._taken :], len(self._text)
        return text

    def rest(self, whole: str) -> str:
        """What of the whole answer has not been taken, if it is the one that was told."""
        return whole[self._taken :] if whole.startswith(self._text[: self._taken]) else ""

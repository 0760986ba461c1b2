"""Parts of forms: plain HTML fields with labels. What comes from the browser is checked here."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from nicegui.events import GenericEventArguments

from dspex.dashboard._elements import Words, box, set_attribute, words
from dspex_core.errors import ConfigurationError

_LONGEST_TEXT = 20_000


class Choice:
    """A field that takes one of a few values.

    Args:
        label: Its name.
        options: Values and what they are called; the first is chosen to begin with.
        on_change: Called when another is chosen.

    Attributes:
        value: The one that is chosen.
        on_change: As given.
    """

    def __init__(
        self, label: str, options: Sequence[tuple[str, str]], on_change: Callable[[], Any] = lambda: None
    ) -> None:
        self.value = options[0][0]
        self._options: Sequence[tuple[str, str]] = ()
        self.on_change = on_change
        with box("div", "field"):
            name = words("label", label)
            self._select = box("select")
        set_attribute(name, "for", self._select.html_id)
        self._select.on("change", self._choose, js_handler="(event) => emit(event.target.value)")
        self.offer(options)

    def offer(self, options: Sequence[tuple[str, str]]) -> None:
        """Offer these from now on; the chosen one stays so if it is still among them."""
        if list(options) == list(self._options):
            return
        self._options = list(options)
        self.choose(self.value if self.value in dict(options) else options[0][0])

    def choose(self, value: str) -> None:
        """Choose one of those that are offered."""
        self.value = value
        options = self._options
        self._select.clear()
        with self._select:
            for each, name in options:
                option = words("option", name, value=each)
                set_attribute(option, "selected", "selected" if each == value else None)

    def _choose(self, event: GenericEventArguments) -> Any:
        if event.args in dict(self._options):
            self.value = str(event.args)
            return self.on_change()
        return None


class Entry:
    """A field that takes a line of text, or several.

    Args:
        label: Its name.
        value: What is in it to begin with.
        hint: What to write in it.
        lines: Its height in lines.
        on_change: Called when it has changed.

    Attributes:
        value: What is in it.
    """

    def __init__(
        self,
        label: str,
        *,
        value: str = "",
        hint: str = "",
        lines: int = 1,
        on_change: Callable[[], Any] = lambda: None,
        **attributes: str,
    ) -> None:
        self.value = value
        self._on_change = on_change
        with box("div", "field"):
            name = words("label", label)
            if lines > 1:
                field = box("textarea", rows=str(lines), **attributes)
            else:
                field = box("input", value=value, **{"type": "text", **attributes})
            self._field = field
            set_attribute(name, "for", field.html_id)
            if hint:
                set_attribute(field, "aria-describedby", words("small", hint, "soft").html_id)
        field.on("input", self._take, js_handler="(event) => emit(event.target.value)", throttle=0.2)
        # Whoever types and presses a button at once is quicker than that; this comes before the button does.
        field.on("change", self._take, js_handler="(event) => emit(event.target.value)")

    def focus(self) -> None:
        """Have what is typed next go into it."""
        self._field.run_method("focus")

    def _take(self, event: GenericEventArguments) -> Any:
        if isinstance(event.args, str) and len(event.args) <= _LONGEST_TEXT:
            self.value = event.args
            return self._on_change()
        return None


def amount_in(text: str, *, what: str, whole: bool = False) -> float | int | None:
    """The number that somebody wrote into a field; None if it is empty.

    Args:
        text: What was written.
        what: What the field is called, for the error.
        whole: Whether only whole numbers will do.

    Raises:
        ConfigurationError: If it is no number above zero.
    """
    written = text.strip().replace(",", "").replace("_", "").removeprefix("$")
    if not written:
        return None
    try:
        amount = int(written) if whole else float(written)
    except ValueError:
        amount = 0
    if not 0 < amount < math.inf:
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{what}: write {kind} above 0, not {text.strip()[:40]!r}.")
    return amount


def notice(classes: str = "trouble") -> Words:
    """A place for what went wrong, which is read out when it appears."""
    return words("p", "", classes, role="alert")

from collections.abc import Awaitable, Callable
from typing import Any

from dspex.dashboard._elements import Words, button, set_attribute
from dspex.dashboard._feeds import Feed
from dspex.dashboard._fields import notice
from dspex.dashboard._following import RunView
from dspex_core.errors import DSPExError


class Actions:
    """Buttons that do something to a run, and a place that says what went wrong with the last one.

    Args:
        feed: The run, to be looked at once something was done.
    """

    def __init__(self, feed: Feed[RunView]) -> None:
        self._feed = feed
        self._trouble = notice()

    def button(self, name: str, do: Callable[[], Awaitable[Any]], classes: str = "") -> Words:
        """A button that does this, and cannot be pressed again until it is done."""

        async def press() -> None:
            set_attribute(element, "disabled", "disabled")
            self.forget()
            try:
                await do()
            except DSPExError as error:
                self._trouble.show(str(error))
            finally:
                set_attribute(element, "disabled", None)
                self._feed.stir()

        element = button(name, press, classes)
        return element

    def tell_below(self) -> None:
        """Say what went wrong below all that is there so far."""
        self._trouble.move()

    def forget(self) -> None:
        """Say no more what went wrong."""
        self._trouble.show("")

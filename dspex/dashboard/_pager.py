from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dspex.dashboard._elements import box, button, set_attribute, words

T = TypeVar("T")

ROWS_A_PAGE = 50


class Pager:
    """Which part of a long list is shown; the rest of it never leaves the server.

    Args:
        what: What the list is of, such as "candidates".
        on_turn: Called when another part is wanted.
    """

    def __init__(self, what: str, on_turn: Callable[[], Any]) -> None:
        self._what = what
        self._on_turn = on_turn
        self._page = 0
        with box("div", "pager", role="group", **{"aria-label": f"Pages of {what}"}) as self._box:
            self._before = button("Previous", lambda: self._turn(-1))
            self._told = words("span", "", "soft")
            self._after = button("Next", lambda: self._turn(1))

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The part of the list that is shown now."""
        pages = max(1, -(-len(items) // ROWS_A_PAGE))
        self._page = min(self._page, pages - 1)
        start = self._page * ROWS_A_PAGE
        end = min(start + ROWS_A_PAGE, len(items))
        self._box.set_visibility(pages > 1)
        self._told.show(f"{start + 1:,} to {end:,} of {len(items):,} {self._what}")
        set_attribute(self._before, "disabled", None if self._page else "disabled")
        set_attribute(self._after, "disabled", None if self._page < pages - 1 else "disabled")
        return items[start:end]

    def first(self) -> None:
        """Go back to the first page: the list is another one now."""
        self._page = 0

    def _turn(self, by: int) -> Any:
        self._page = max(0, self._page + by)
        return self._on_turn()

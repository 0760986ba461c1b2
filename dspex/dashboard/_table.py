from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from dspex.dashboard._elements import props_of


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: What it is sorted by.
        label: Its heading.
        kind: How its cells are set: "number" to the right, with digits below digits.
        sortable: Whether its heading sorts.
    """

    name: str
    label: str
    kind: Literal["text", "number", "long", "name"] = "text"
    sortable: bool = False


class Linked(TypedDict):
    """A cell that leads to an address of ours."""

    text: str
    to: str


class Marked(TypedDict):
    """A cell with a word that stands out; `badge` is one of the style sheet's."""

    text: str
    badge: str


Cell = str | Linked | Marked
Row = tuple[str, Sequence[Cell]]
"""A key that stays the same while the row does, and its cells."""


class Table(Element, component="table.js"):
    """A table. What it is given is shown as text, whatever it holds.

    Args:
        caption: What it shows, for those who hear the page.
        columns: Its columns.
        empty: What to say when there is no row.
        on_sort: Called with the name of the column whose heading is pressed.
    """

    def __init__(
        self, caption: str, columns: Sequence[Column], *, empty: str, on_sort: Callable[[str], None] | None = None
    ) -> None:
        super().__init__()
        self.props["caption"] = caption
        self.props["columns"] = [vars(column) for column in columns]
        self.props["rows"] = []
        self.props["empty"] = empty
        names = {column.name for column in columns if column.sortable}

        def sort(event: GenericEventArguments) -> None:
            # It comes from a browser, and may be anything.
            if on_sort is not None and isinstance(event.args, str) and event.args in names:
                on_sort(event.args)

        self.on("sort", sort)

    def show(self, rows: Sequence[Row], *, sorted_by: str = "", descending: bool = False) -> None:
        """Show these rows from now on; the browser is told only if they are others."""
        new: dict[str, Any] = {
            "rows": [[key, *cells] for key, cells in rows],
            "sorted": sorted_by,
            "descending": descending,
        }
        props = props_of(self)
        changed = {name: value for name, value in new.items() if props.get(name) != value}
        if changed:
            props.update(changed)

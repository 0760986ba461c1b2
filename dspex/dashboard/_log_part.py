from typing import Any

from dspex.dashboard._elements import box, section, words
from dspex.dashboard._following import LoggedEvent, RunView
from dspex.dashboard._pager import Pager
from dspex.dashboard._program_part import shown
from dspex.dashboard._table import Column, Row, Table

_COLUMNS = (Column("at", "Time"), Column("type", "Event"), Column("what", "What", kind="long"))
_LEFT_OUT = frozenset({"type", "state", "run_id", "offset", "at"})
_LONGEST = 300


class LogPart:
    """What happened in a run, the latest first."""

    def __init__(self) -> None:
        self._log: tuple[LoggedEvent, ...] = ()
        with section("Events"), box("details"):
            self._summary = words("summary", "none yet")
            self._table = Table("Events", _COLUMNS, empty="None yet.")
            self._pager = Pager("events", self._show)

    def show(self, view: RunView) -> None:
        """Show those that there are now."""
        self._log = view.log
        self._summary.show("1 event" if len(self._log) == 1 else f"{len(self._log):,} events")
        self._show()

    def _show(self) -> None:
        rows = [(str(number), logged) for number, logged in enumerate(self._log)]
        self._table.show([_row(key, logged) for key, logged in self._pager.of(rows[::-1])])


def _row(key: str, logged: LoggedEvent) -> Row:
    told: dict[str, Any] = logged.event.model_dump(mode="json", exclude=set(_LEFT_OUT), exclude_defaults=True)
    what = ", ".join(f"{name.replace('_', ' ')}: {shown(value)}" for name, value in told.items())
    at = logged.at.astimezone().strftime("%H:%M:%S")
    return key, (at, logged.event.type.replace("_", " "), what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…")

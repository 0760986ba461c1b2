from urllib.parse import quote

from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, link
from dspex.dashboard._following import RunView
from dspex.dashboard._transfers import EXPORT, REPORT


class Controls:
    """What can be done with a run, and fetched of it."""

    def __init__(self, board: Board, run_id: str) -> None:
        with box("div", "controls", role="group", **{"aria-label": "Actions"}):
            self._export = link("Export program", f"{EXPORT}/{quote(run_id)}", "button", download="")
            self._report = link("Report", f"{REPORT}/{quote(run_id)}", "button")

    def show(self, view: RunView) -> None:
        """Offer what can be done now."""
        for element in (self._export, self._report):
            element.set_visibility(view.status.status == "completed")

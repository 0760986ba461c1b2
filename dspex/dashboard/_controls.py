from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

from dspex.dashboard._board import Board
from dspex.dashboard._elements import Words, box, button, link, set_attribute, words
from dspex.dashboard._fields import notice
from dspex.dashboard._following import ENDED, RunView
from dspex.dashboard._transfers import EXPORT, REPORT
from dspex_core.errors import DSPExError

_STANDS_STILL = ("paused", "parked")


class Controls:
    """What can be done with a run, and fetched of it."""

    def __init__(self, board: Board, run_id: str) -> None:
        self._feed = board.run(run_id)
        run = board.client.get_run(run_id)
        with box("div", "controls", role="group", **{"aria-label": "Actions"}):
            self._pause = self._button("Pause", run.pause)
            self._resume = self._button("Resume", run.resume)
            self._cancel = button("Cancel", partial(self._ask, really=True))
            self._export = link("Export program", f"{EXPORT}/{quote(run_id)}", "button", download="")
            self._report = link("Report", f"{REPORT}/{quote(run_id)}", "button")
        with box("div", "controls confirm", role="alertdialog", **{"aria-label": "Cancel the run?"}) as self._confirm:
            words("span", "The run ends with the best program that it has found so far.")
            self._really = self._button("Cancel the run", run.cancel, "grave")
            button("Keep it going", partial(self._ask, really=False))
        self._confirm.set_visibility(False)
        self._trouble = notice()

    def show(self, view: RunView) -> None:
        """Offer what can be done now."""
        status = view.status.status
        self._pause.set_visibility(status in {"queued", "running"})
        self._resume.set_visibility(status in _STANDS_STILL)
        self._cancel.set_visibility(status not in ENDED)
        if status in ENDED:
            self._confirm.set_visibility(False)
        for element in (self._export, self._report):
            element.set_visibility(status == "completed")

    def _button(self, name: str, do: Callable[[], Awaitable[object]], classes: str = "") -> Words:
        async def press() -> None:
            set_attribute(element, "disabled", "disabled")
            self._trouble.show("")
            try:
                await do()
            except DSPExError as error:
                self._trouble.show(str(error))
            finally:
                set_attribute(element, "disabled", None)
                self._feed.stir()

        element = button(name, press, classes)
        return element

    def _ask(self, *, really: bool) -> None:
        self._confirm.set_visibility(really)
        if really:
            self._really.run_method("focus")

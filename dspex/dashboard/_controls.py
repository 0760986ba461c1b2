from functools import partial
from typing import Any, cast
from urllib.parse import quote

from dspex.client import Run
from dspex.dashboard._actions import Actions
from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, button, link, words
from dspex.dashboard._fields import Choice, Entry, amount_in
from dspex.dashboard._following import ENDED, RunView
from dspex.dashboard._transfers import EXPORT, REPORT
from dspex_core.errors import ConfigurationError

_STANDS_STILL = ("paused", "parked")
_LIMITS = (("usd", "US dollars"), ("lm_calls", "LM calls"), ("tokens", "tokens"), ("seconds", "seconds"))
_WHOLE = ("lm_calls", "tokens")


class Controls:
    """What can be done with a run, and fetched of it."""

    def __init__(self, board: Board, run_id: str) -> None:
        run = board.client.get_run(run_id)
        self._feed = board.run(run_id)
        self._actions = Actions(self._feed)
        with box("div", "controls", role="group", **{"aria-label": "Actions"}):
            self._pause = self._actions.button("Pause", run.pause)
            self._resume = self._actions.button("Resume", run.resume)
            self._budget = button("Raise budget", partial(self._offer_budget, really=True))
            self._cancel = button("Cancel", partial(self._ask, really=True))
            self._export = link("Export program", f"{EXPORT}/{quote(run_id)}", "button", download="")
            self._report = link("Report", f"{REPORT}/{quote(run_id)}", "button")
        with box("div", "controls confirm", role="group", **{"aria-label": "Budget"}) as self._raising:
            self._limit = Choice("Limit", _LIMITS)
            self._amount = Entry("How much in all", inputmode="decimal", size="12")
            self._actions.button("Set the budget", partial(self._raise, run), "main")
            button("Leave it as it is", partial(self._offer_budget, really=False))
        self._raising.set_visibility(False)
        with box("div", "controls confirm", role="alertdialog", **{"aria-label": "Cancel the run?"}) as self._confirm:
            self._what_cancelling_does = words("span")
            self._really = self._actions.button("Cancel the run", lambda: self._end(run), "grave")
            button("Keep it going", partial(self._ask, really=False))
        self._confirm.set_visibility(False)
        self._actions.tell_below()

    def show(self, view: RunView) -> None:
        """Offer what can be done now."""
        status = view.status.status
        self._pause.set_visibility(status in {"queued", "running"})
        # A run that waits for a decision goes on when that is made, and not before.
        self._resume.set_visibility(status in _STANDS_STILL and not (status == "parked" and view.status.approvals))
        self._budget.set_visibility(view.is_compile and status not in ENDED)
        self._budget.show("Set a budget" if view.status.budget is None else "Raise budget")
        self._cancel.set_visibility(status not in ENDED)
        found = "with the best program that it has found so far" if view.is_compile else "at once, without an answer"
        self._what_cancelling_does.show(f"The run ends {found}.")
        if status in ENDED:
            self._confirm.set_visibility(False)
            self._raising.set_visibility(False)
        for element in (self._export, self._report):
            element.set_visibility(view.has_program)

    async def _end(self, run: Run) -> None:
        view = self._feed.value
        await run.cancel(hard=view is not None and not view.is_compile)

    async def _raise(self, run: Run) -> None:
        limit = self._limit.value
        amount = amount_in(self._amount.value, what="Budget", whole=limit in _WHOLE)
        if amount is None:
            raise ConfigurationError("Budget: write how much the run may take in all.")
        await run.raise_budget(**{limit: cast("Any", amount)})
        self._raising.set_visibility(False)

    def _offer_budget(self, *, really: bool) -> None:
        self._actions.forget()
        self._raising.set_visibility(really)
        if really:
            self._amount.focus()

    def _ask(self, *, really: bool) -> None:
        self._confirm.set_visibility(really)
        if really:
            self._really.run_method("focus")

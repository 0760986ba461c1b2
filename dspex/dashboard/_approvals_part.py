from typing import TYPE_CHECKING

from nicegui import ui

from dspex.dashboard._actions import Actions
from dspex.dashboard._board import Board
from dspex.dashboard._elements import box, section, words
from dspex.dashboard._fields import Entry
from dspex.dashboard._following import RunView
from dspex.dashboard._program_part import shown

if TYPE_CHECKING:
    from dspex._rooms import workflows


class ApprovalsPart:
    """Calls of tools that wait for a person, each with what the model wants and the buttons that decide on it."""

    def __init__(self, board: Board, run_id: str) -> None:
        self._board = board
        self._cards: dict[tuple[str, str], ui.element] = {}
        with section("To be decided") as self._section:
            words("p", "The run waits for a person: each of these calls is made only if it is approved.", "soft")
            self._calls = box("div")
            self._actions = Actions(board.run(run_id))  # what went wrong is told below the calls
        self._section.set_visibility(False)

    def show(self, view: RunView) -> None:
        """Show those that wait now; what somebody is writing about one that still waits stays."""
        waiting = {(call.run_id, call.call_id): call for call in view.status.approvals if not view.ended}
        for key in self._cards.keys() - waiting.keys():
            self._cards.pop(key).delete()
        with self._calls:
            for key in waiting.keys() - self._cards.keys():
                self._cards[key] = self._card(waiting[key])
        self._section.set_visibility(bool(waiting))

    def _card(self, call: "workflows.AwaitedApproval") -> ui.element:
        # A call of a supervised part is decided on under the part's id.
        run = self._board.client.get_run(call.run_id)
        with box("article", "call", **{"aria-label": f"Call {call.call_id}"}) as card:
            with box("p"):
                words("strong", call.tool)
                words("span", f" · {call.call_id}", "soft")
            with box("dl", "values"):
                for name, value in call.args.items():
                    words("dt", name)
                    words("dd", shown(value))
            reason = Entry("Why", hint="The model reads it if the call is rejected.")
            with box("div", "controls", role="group", **{"aria-label": f"Decide on {call.call_id}"}):
                self._actions.button("Approve", lambda: run.approve(call.call_id, reason=reason.value))
                self._actions.button("Reject", lambda: run.reject(call.call_id, reason=reason.value), "grave")
        return card

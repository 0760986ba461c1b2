import json
from collections.abc import Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from dspex_core.events import ApprovalDecided, ApprovalRequested, Event
from dspex_core.seam import Decision

from ._values import AwaitedApproval, Verdict

ARGUMENTS_SHOWN = 2_000
"""Characters of a call's arguments that a person is shown in the Web UI."""


class Approvals:
    """Calls of tools that wait for a person, for however long, and what was decided of others.

    Args:
        tell: Told of every call that begins to wait, and of every decision.
        decided: What was decided in earlier legs of the run.
    """

    def __init__(self, tell: Callable[[Event], None], decided: Mapping[str, Decision]) -> None:
        self._tell = tell
        self._waiting: dict[str, AwaitedApproval] = {}
        self._decided = dict(decided)

    @property
    def waiting(self) -> tuple[AwaitedApproval, ...]:
        """The calls that wait, in the order in which they were asked for."""
        return tuple(self._waiting.values())

    @property
    def decided(self) -> dict[str, Decision]:
        """What was decided, by call."""
        return self._decided

    async def decision(self, tool: str, args: dict[str, Any]) -> Decision:
        """Wait until a person has decided; no activity and no timer is held meanwhile."""
        run_id = workflow.info().workflow_id
        awaited = AwaitedApproval(run_id=run_id, call_id=f"{tool}-{self._next_number()}", tool=tool, args=args)
        self._waiting[awaited.call_id] = awaited
        self._tell(ApprovalRequested(call_id=awaited.call_id, tool=tool, args=args))
        await workflow.wait_condition(lambda: awaited.call_id in self._decided)
        return self._decided[awaited.call_id]

    def decide(self, verdict: Verdict, *, approved: bool) -> None:
        """Let a call that waits be made, or not; said twice, this changes nothing."""
        awaited = self._waiting.pop(verdict.call_id, None)
        if awaited is not None:
            self._decided[awaited.call_id] = Decision(approved=approved, reason=verdict.reason)
            self._tell(
                ApprovalDecided(call_id=awaited.call_id, tool=awaited.tool, approved=approved, reason=verdict.reason)
            )

    def check(self, verdict: Verdict, *, approved: bool) -> None:
        """See that a decision can be taken.

        Raises:
            ApplicationError: If no such call waits, or the opposite was decided.
        """
        decided = self._decided.get(verdict.call_id)
        if decided is not None and decided.approved != approved:
            word = "approved" if decided.approved else "rejected"
            raise _refused(f"{verdict.call_id} was {word} already, which cannot be undone")
        if decided is None and verdict.call_id not in self._waiting:
            there = ", ".join(self._waiting)
            raise _refused(
                f"no call {verdict.call_id!r} waits for a decision: "
                + (f"there {'is' if len(self._waiting) == 1 else 'are'} {there}" if there else "none does")
            )

    def reason(self) -> str | None:
        """What a run waits for, in a line; None if no call waits."""
        if not self._waiting:
            return None
        first, *others = self.waiting
        more = f" and {len(others)} more" if others else ""
        run_id = workflow.info().workflow_id
        return (
            f"waits for a person's decision on {first.tool}({_arguments(first)}){more}: "
            f"`dspex runs approve {run_id} {first.call_id}`, or `reject`"
        )

    def details(self) -> str:
        """The calls that wait, in Markdown, each with how it is decided."""
        run_id = workflow.info().workflow_id
        return "\n\n".join(
            f"`{call.tool}` waits for a person's decision on\n\n```json\n{_arguments(call, indent=2)}\n```\n\n"
            f"Decide: `dspex runs approve {run_id} {call.call_id}`, or "
            f'`dspex runs reject {run_id} {call.call_id} --reason "…"`'
            for call in self.waiting
        )

    def _next_number(self) -> int:
        return len(self._waiting) + len(self._decided) + 1


def _arguments(call: AwaitedApproval, *, indent: int | None = None) -> str:
    written = json.dumps(call.args, ensure_ascii=False, indent=indent, default=str)
    return written if len(written) <= ARGUMENTS_SHOWN else f"{written[:ARGUMENTS_SHOWN]} …"


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="RunConflictError")

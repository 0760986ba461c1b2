import inspect

from dspex_core.errors import ApprovalRequiredError, ConfigurationError
from dspex_core.seam import Decision, ToolCall, ToolResult, current_approver, rejected


async def refusal_of(call: ToolCall) -> ToolResult | None:
    """What a model reads in place of a call's result if a person rejects it; None if the call may be made.

    Raises:
        ApprovalRequiredError: If a person must approve it, and there is nobody to ask.
        ConfigurationError: If who was asked gave something else than a decision.
    """
    if not call.tool.needs_approval or call.approved:
        return None
    approve = current_approver()
    if approve is None:
        raise ApprovalRequiredError(
            f"tool {call.tool.name} needs a person's approval, and there is nobody to ask here: run the program with "
            "client.run_program(…), where it waits for `dspex runs approve`, or name a function that decides: "
            "using(lm=lm, approve=…)"
        )
    given = approve(call)
    answer = await given if inspect.isawaitable(given) else given
    if isinstance(answer, bool):
        answer = Decision(approved=answer)
    if not isinstance(answer, Decision):  # pyright: ignore[reportUnnecessaryIsInstance] - it is a user's function
        raise ConfigurationError(
            f"approve=… was asked about {call.tool.name} and gave {answer!r}: return True, False or a Decision"
        )
    return None if answer.approved else rejected(call.tool.name, answer.reason)

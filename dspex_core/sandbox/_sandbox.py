from collections.abc import Awaitable, Callable

from dspex_core.sandbox._execution import BrokenOffError, Execution, Finished, Printed, load
from dspex_core.sandbox._limits import SandboxLimits
from dspex_core.sandbox._tool_calls import ToolCalls
from dspex_core.sandbox._values import shown
from dspex_core.sandbox._worker import Worker, worker
from dspex_core.seam import CodeCell, CodeResult, ToolCall, ToolResult
from dspex_core.tools import as_text

LONGEST_TRACEBACK = 4000
UNDONE = "The variables are as they were before this code."
LOST = "The variables of earlier code could not be read here and are gone: define again what is needed."


class Sandbox:
    """Runs code that nobody has read, a cell at a time, each in a fresh process of pydantic-monty's.

        result = await Sandbox().run(CodeCell(code="sum(range(10))"))    # result.text == "45"

    The code is Python without files, network, environment and processes, and with a part of the standard library. It
    calls the cell's tools by their names, and reaches nothing else on this side. Whatever it does ends in a result: an
    error, a limit that it went beyond, the death of its process. What one cell defines, the next one of its session
    has; of a cell that goes beyond a limit, nothing stays.

    Args:
        limits: How much a cell may take.

    Raises:
        ConfigurationError: When a cell is run, if pydantic-monty is not installed, or can start no process.
    """

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self.limits = limits or SandboxLimits()

    async def run(
        self, cell: CodeCell, call_tool: Callable[[ToolCall], Awaitable[ToolResult]] | None = None
    ) -> CodeResult:
        """Run a cell.

        Args:
            cell: The code, its tools, and the session that it goes on with.
            call_tool: Calls a tool; by default it is simply invoked.
        """
        printed = Printed(self.limits.printed_chars)
        calls = ToolCalls(cell, call_tool or _invoke, longest_arguments=self.limits.argument_chars)
        execution = Execution(cell.code, printed, calls.names)
        async with worker(self.limits) as held:
            try:
                if cell.session is not None and not await held.do(load, cell.session):
                    return CodeResult(text=LOST, failed=True)
                finished = await _run(held, execution, calls)
                return self._told(printed, finished, await held.do(execution.state))
            except BrokenOffError as error:
                why = f"{self._reason(error)} {UNDONE}"
                return CodeResult(text=self._joined(printed, why), failed=True, session=cell.session)

    def _told(self, printed: Printed, finished: Finished, session: bytes) -> CodeResult:
        if finished.error is not None:
            said = _cut(finished.error, LONGEST_TRACEBACK)
        else:
            said = "" if finished.value is None else shown(finished.value, self.limits.shown_chars)
        return CodeResult(text=self._joined(printed, said), failed=finished.error is not None, session=session)

    def _joined(self, printed: Printed, said: str) -> str:
        before = _cut(printed.text().rstrip("\n"), self.limits.shown_chars)
        return as_text("\n".join(part for part in (before, said) if part))

    def _reason(self, error: BrokenOffError) -> str:
        limits = self.limits
        return {
            "printed": f"MemoryError: the code printed more than {limits.printed_chars} characters.",
            "time": f"TimeoutError: the code ran for more than {limits.seconds:g} s.",
            "memory": f"MemoryError: the code needed more than {limits.memory_mb} MiB of memory.",
            "crash": "The process that ran the code has died, and another one takes its place.",
        }[error.kind]


async def _run(held: Worker, execution: Execution, calls: ToolCalls) -> Finished:
    step = await held.do(execution.begin)
    while not isinstance(step, Finished):
        step = await held.do(execution.go_on, await calls.answer(step))
    return step


async def _invoke(call: ToolCall) -> ToolResult:
    return await call.tool.invoke(call.args, idempotency_key=call.idempotency_key)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters are not shown)"

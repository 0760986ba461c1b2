import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from temporalio import workflow

from dspex_core.requests import Generate, StreamedText
from dspex_core.seam import CodeCell, CodeResult, LMConfig, LMRequest, LMResponse, ToolCall, ToolResult, rejected

from ._approvals import Approvals
from ._control import Controlled
from ._incoming import Incoming
from ._parts import Parts
from ._runtime import WorkflowRuntime


class ProgramRuntime(WorkflowRuntime):
    """The runtime of a program that runs in a workflow: persons may be asked, and answers read while they are written.

    Args:
        lm: The model in force.
        run: What holds it up.
        approvals: Where persons decide.
        parts: Runs supervised parts of the program.
    """

    def __init__(self, lm: LMConfig, *, run: Controlled, approvals: Approvals, parts: Parts) -> None:
        super().__init__(lm, run=run, parts=parts)
        self._approvals = approvals
        self._calls = 0
        self._incoming: dict[int, Incoming] = {}

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One call to a model: an activity, which tells what it hears."""
        self._calls += 1
        number, incoming = self._calls, Incoming()
        self._incoming[number] = incoming
        asking = asyncio.create_task(self._asked(Generate(request=request, lm=self._lm, stream_to=number)))
        try:
            while not asking.done() or incoming.has_more:
                await workflow.wait_condition(lambda: asking.done() or incoming.has_more)
                if incoming.has_more:
                    yield incoming.take()
            response = await asking
            if rest := incoming.rest(response.text):
                yield rest
            yield response
        finally:
            asking.cancel()
            del self._incoming[number]

    def hear(self, heard: StreamedText) -> None:
        """Take in what an activity tells of an answer; of one that is whole there is nothing more to know."""
        if heard.call in self._incoming:
            self._incoming[heard.call].hear(heard.start, heard.text)

    async def call_tool(self, call: ToolCall) -> ToolResult:
        """One call of a tool: an activity; where the tool needs it, after a person's approval."""
        if call.tool.needs_approval:
            decision = await self._approvals.decision(call.tool.name, call.args)
            if not decision.approved:
                return rejected(call.tool.name, decision.reason)
        return await super().call_tool(replace(call, approved=call.tool.needs_approval))

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """One cell: an activity; where it names a tool that needs approval, after that, before any of it is run."""
        needs_approval = any(tool.needs_approval and tool.name in cell.code for tool in cell.tools)
        if needs_approval:
            decision = await self._approvals.decision("code", {"code": cell.code})
            if not decision.approved:
                return CodeResult(text=rejected("this code", decision.reason).text, failed=True, session=cell.session)
        return await super().run_code(replace(cell, approved=needs_approval))

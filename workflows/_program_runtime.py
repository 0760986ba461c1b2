import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from dspex_core.errors import LMContextLengthError, LMRequestError
from dspex_core.requests import GENERATE, Generate, ProgramAnswer, StreamedText
from dspex_core.seam import (
    CodeCell,
    CodeResult,
    Decision,
    LMRequest,
    LMResponse,
    ToolCall,
    ToolResult,
    is_compiling,
    rejected,
)

from ._approvals import Approvals
from ._control import Controlled
from ._incoming import Incoming
from ._journal import Journal
from ._options import ActivityOptions
from ._parts import PROGRAM_RUN, Parts
from ._passing import usage_in
from ._runtime import WorkflowRuntime
from ._values import ProgramRunInput

T = TypeVar("T")

CURED = {cured.__name__: cured for cured in (LMContextLengthError, LMRequestError)}
"""Failures of calls that a module cures by itself: what comes of them is part of how a program came to where it is."""


class Question(BaseModel):
    """What a person is asked."""

    tool: str
    args: dict[str, Any]


class ProgramRuntime(WorkflowRuntime):
    """The runtime of a program that runs in a workflow: persons may be asked, and answers read while they are written.

    After so many calls it makes no more; once those under way are answered, the run may continue as new with the
    journal of all answers.

    Args:
        given: What the run was started with.
        run: What holds it up.
        approvals: Where persons decide.
        parts: Runs supervised parts of the program.
    """

    def __init__(self, given: ProgramRunInput, *, run: Controlled, approvals: Approvals, parts: Parts) -> None:
        super().__init__(given.lm, run=run, parts=parts)
        self.journal = Journal(given.journal)
        self._calls_a_leg = given.calls_a_leg
        self._approvals = approvals
        self._calls = 0
        self._incoming: dict[int, Incoming] = {}
        self._open_calls = 0
        self._put_off = 0

    @property
    def is_at_rest(self) -> bool:
        """Whether calls wait for the next leg, and nothing else is under way."""
        return self._put_off > 0 and self._open_calls == 0 and self._leg_is_full and self._run.gate.is_open

    @property
    def _leg_is_full(self) -> bool:
        # What waits for a person may wait for days; the others do not wait for it.
        if self._approvals.waiting or self._parts.are_under_way:
            return False
        return self.journal.added >= self._calls_a_leg or workflow.info().is_continue_as_new_suggested()

    async def stream(self, request: LMRequest) -> AsyncGenerator[str | LMResponse]:
        """One call to a model: an activity, which tells what it hears; an answer of an earlier leg was told then."""
        self._calls += 1
        number, incoming = self._calls, Incoming()
        call = Generate(request=request, lm=self._lm, compiling=is_compiling(), stream_to=number)
        if self.journal.knows(Journal.key(GENERATE, call)):
            yield await self._asked(call)
            return
        self._incoming[number] = incoming
        asking = asyncio.create_task(self._asked(call))
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
            decision = await self._decision(call.tool.name, call.args)
            if not decision.approved:
                return rejected(call.tool.name, decision.reason)
        return await super().call_tool(replace(call, approved=call.tool.needs_approval))

    async def run_code(self, cell: CodeCell) -> CodeResult:
        """One cell: an activity; where it names a tool that needs approval, after that, before any of it is run."""
        needs_approval = any(tool.needs_approval and tool.name in cell.code for tool in cell.tools)
        if needs_approval:
            decision = await self._decision("code", {"code": cell.code})
            if not decision.approved:
                return CodeResult(text=rejected("this code", decision.reason).text, failed=True, session=cell.session)
        return await super().run_code(replace(cell, approved=needs_approval))

    async def _decision(self, tool: str, args: dict[str, Any]) -> Decision:
        asked = Question(tool=tool, args=args)
        return await self._once("approval", asked, Decision, lambda: self._approvals.decision(tool, args))

    async def _run_part(self, request: ProgramRunInput, *, tries: int) -> ProgramAnswer:
        if self.journal.knows(Journal.key(PROGRAM_RUN, request)):
            self._parts.skip()
        run = super()._run_part
        return await self._once(PROGRAM_RUN, request, ProgramAnswer, lambda: run(request, tries=tries))

    async def _perform(
        self,
        name: str,
        request: BaseModel,
        answer: type[T],
        *,
        summary: str | None = None,
        options: ActivityOptions | None = None,
        gated: bool = True,
    ) -> T:
        perform = super()._perform
        work = partial(perform, name, request, answer, summary=summary, options=options, gated=gated)
        return await self._once(name, request, answer, work)

    async def _once(self, what: str, call: BaseModel, answer: type[T], make: Callable[[], Awaitable[T]]) -> T:
        """What an earlier leg's journal knows of a call; else make it, in this leg or in the next one."""
        key = Journal.key(what, call)
        if self.journal.knows(key):
            known = await self.journal.next_answer(key)
            if "failed" in known:
                raise CURED[known["failed"]](known["said"])
            found = TypeAdapter(answer).validate_python(known["answer"])
            if what != PROGRAM_RUN:
                self._run.ledger.settle(None, usage_in(found))
            return found
        while self._leg_is_full:
            self._put_off += 1
            try:
                await workflow.wait_condition(lambda: not self._leg_is_full)
            finally:
                self._put_off -= 1
        self._open_calls += 1
        try:
            found = await make()
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError) and error.cause.type in CURED:
                self.journal.add(key, {"failed": error.cause.type, "said": error.cause.message})
            raise
        finally:
            self._open_calls -= 1
        self.journal.add(key, {"answer": found})
        return found

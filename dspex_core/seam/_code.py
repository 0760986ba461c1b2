from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from dspex_core.seam._tools import CallableTool
from dspex_core.usage import Usage


@dataclass(frozen=True, kw_only=True)
class CodeCell:
    """Python to run where it can do no harm, after the cells before it.

    Attributes:
        code: The source.
        tools: The only functions of this side that it may call, by their names.
        session: What the cell before it gave back; None for the first one.
        idempotency_key: The same in every try of this cell, and in no other; its tools get keys made of it. None lets
            the runtime make one.
        approved: Whether a person has approved that it calls tools which need that.
    """

    code: str
    tools: tuple[CallableTool, ...] = ()
    session: bytes | None = None
    idempotency_key: str | None = None
    approved: bool = False


class CodeResult(BaseModel):
    """What came of a cell, as a model reads it.

    Attributes:
        text: What it printed, and then the value of its last line; or what went wrong, and where.
        failed: Whether it raised, was no Python, or went beyond a limit.
        session: All variables, functions and classes as they are now; for the kind of runtime that gave it.
        usage: What the models took that its tools asked, where it ran in another process.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    failed: bool = False
    session: bytes | None = None
    usage: Usage = Usage()

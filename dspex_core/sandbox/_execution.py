from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic_monty import (
        ExternalSettledResult,
        FunctionSnapshot,
        MontyError,
        MontySession,
        SyncSnapshot,
    )


class BrokenOffError(Exception):
    """The code was ended from outside, and what it leaves behind is not to be used."""

    def __init__(self, kind: Literal["time", "memory", "printed", "crash"]) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Finished:
    """The code has come to its end: its last line has this value, or it raised this."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class Asked:
    """The code calls a tool."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Printed:
    """Collects what the code prints, and ends the code that prints too much."""

    def __init__(self, most_chars: int) -> None:
        self._most = most_chars
        self._pieces: list[str] = []
        self._length = 0

    def __call__(self, _stream: str, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)
        if self.overflowed:
            raise BrokenOffError("printed")

    @property
    def overflowed(self) -> bool:
        """Whether it was too much."""
        return self._length > self._most

    def text(self) -> str:
        """All of it."""
        return "".join(self._pieces)


class Execution:
    """One piece of code on its way through a session. Its methods block, and belong in a thread.

    Args:
        code: The source.
        printed: Gets what the code prints.
        names: The tools that the code may call.
    """

    def __init__(self, code: str, printed: Printed, names: Collection[str]) -> None:
        self._code = code
        self._printed = printed
        self._names = names
        self._at: FunctionSnapshot | None = None
        self._awaited: dict[int, ExternalSettledResult] = {}

    def begin(self, session: "MontySession") -> Finished | Asked:
        """Run the code up to its end, or until it calls a tool.

        Raises:
            BrokenOffError: If it went beyond a limit, or its process died.
        """
        return self._until_asked(lambda: session.feed_start(self._code, print_callback=self._printed))

    def go_on(self, _session: "MontySession", answer: "ExternalSettledResult") -> Finished | Asked:
        """The same, from the tool's answer on."""
        at = self._at
        if at is None:
            raise RuntimeError("no tool was called")
        if at.allow_eager_await:
            # The code wrote `await tool(…)`, which costs nothing to allow.
            self._awaited[at.call_id] = answer
            return self._until_asked(lambda: at.resume({"future": ...}))
        return self._until_asked(lambda: at.resume(answer))

    def state(self, session: "MontySession") -> bytes:
        """All that the session holds, to be loaded into another one.

        Raises:
            BrokenOffError: If writing it down goes beyond a limit.
        """
        from pydantic_monty import MontyError  # noqa: PLC0415 - an extra, imported when used

        try:
            return session.dump()
        except MontyError as error:
            raise BrokenOffError(_limit_of(error) or "crash") from None

    def _until_asked(self, step: "Callable[[], SyncSnapshot]") -> Finished | Asked:
        from pydantic_monty import (  # noqa: PLC0415 - an extra, imported when used
            FunctionSnapshot,
            MontyComplete,
            MontyError,
            MontyRuntimeError,
            MontySyntaxError,
        )

        try:
            snapshot = step()
            while not isinstance(snapshot, MontyComplete):
                if isinstance(snapshot, FunctionSnapshot) and self._is_tool(snapshot):
                    self._at = snapshot
                    return Asked(snapshot.function_name, snapshot.args, snapshot.kwargs)
                snapshot = self._answered(snapshot)
            return Finished(value=snapshot.output)
        except MontyError as error:
            if self._printed.overflowed:
                raise BrokenOffError("printed") from None
            if kind := _limit_of(error):
                raise BrokenOffError(kind) from None
            if isinstance(error, (MontyRuntimeError, MontySyntaxError)):
                return Finished(error=error.display())
            return Finished(error=str(error))

    def _is_tool(self, snapshot: "FunctionSnapshot") -> bool:
        return not snapshot.is_os_function and snapshot.function_name in self._names

    def _answered(self, snapshot: "SyncSnapshot") -> "SyncSnapshot":
        """What the code asks for and does not get: files, modules, names; and tools, which it may hold as values."""
        from pydantic_monty import FunctionSnapshot, FutureSnapshot, NameLookupSnapshot  # noqa: PLC0415 - as above

        if isinstance(snapshot, NameLookupSnapshot):
            name = snapshot.variable_name
            return snapshot.resume(value=_stand_in(name)) if name in self._names else snapshot.resume()
        if isinstance(snapshot, FutureSnapshot):
            return snapshot.resume({number: self._awaited.pop(number) for number in snapshot.pending_call_ids})
        if isinstance(snapshot, FunctionSnapshot) and snapshot.is_os_function:
            return snapshot.resume_not_handled()
        if isinstance(snapshot, FunctionSnapshot):
            return snapshot.resume(
                {"exc_type": "NameError", "message": f"name {snapshot.function_name!r} is not defined"}
            )
        raise RuntimeError(f"unknown suspension {snapshot!r}")


def load(session: "MontySession", state: bytes) -> bool:
    """Put what another session held into this one; False if it cannot be read, as after an upgrade of the sandbox.

    Raises:
        BrokenOffError: If the process died meanwhile.
    """
    from pydantic_monty import MontyCrashedError, MontyError  # noqa: PLC0415 - an extra, imported when used

    try:
        session.load_session(state)
    except MontyCrashedError:
        raise BrokenOffError("crash") from None
    except (MontyError, ValueError):
        return False
    return True


def _limit_of(error: "MontyError") -> Literal["time", "memory", "crash"] | None:
    from pydantic_monty import MontyCrashedError  # noqa: PLC0415 - an extra, imported when used

    if isinstance(error, MontyCrashedError):
        return "time" if error.timed_out else "crash"
    # The code may raise these itself.
    limited = "limit" in str(error)
    inner = error.exception()
    if limited and isinstance(inner, TimeoutError):
        return "time"
    return "memory" if limited and isinstance(inner, MemoryError) else None


def _stand_in(name: str) -> Callable[..., None]:
    def tool() -> None:
        """Never called here: the sandbox asks for the tool of this name."""

    tool.__name__ = name
    return tool

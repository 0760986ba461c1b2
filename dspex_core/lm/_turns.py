from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue in which callers take turns: one with 10,000 waiting does not hold up one with a single one.

    The calls of one caller keep their order. Not safe for threads: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._callers: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for waiting in self._callers.values():
            yield from waiting

    def add(self, caller: Hashable, item: T) -> None:
        """Queue an item behind the others of its caller."""
        self._callers.setdefault(caller, deque()).append(item)
        self._length += 1

    def peek(self) -> T:
        """The item whose turn it is.

        Raises:
            IndexError: If none waits.
        """
        for waiting in self._callers.values():
            return waiting[0]
        raise IndexError("nobody waits")

    def pop(self) -> T:
        """Take out the item whose turn it is; its caller goes to the end of the line.

        Raises:
            IndexError: If none waits.
        """
        item = self.peek()
        caller, waiting = self._callers.popitem(last=False)
        waiting.popleft()
        self._length -= 1
        if waiting:
            self._callers[caller] = waiting
        return item

    def remove(self, caller: Hashable, item: T) -> None:
        """Take out an item that no longer wants its turn."""
        waiting = self._callers[caller]
        waiting.remove(item)
        self._length -= 1
        if not waiting:
            del self._callers[caller]

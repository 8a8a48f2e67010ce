"""What a card's engines did for one client, task by task: what its profiler asks for (`acl.prof`)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ascend_emulator.wire import TASK, Op

if TYPE_CHECKING:
    from ascend_emulator.card.streams import Stream, Task

_MOST = 1 << 20


class Label(NamedTuple):
    """What a task is.

    Attributes:
        op: the op that asked for it.
        way: `wire.Way` of a copy, else 0.
        model: the client's number of the model, else 0.
        size: bytes copied or filled, else 0.
    """

    op: Op
    way: int = 0
    model: int = 0
    size: int = 0


class Journal:
    """The tasks that ended since the last `take`. Call everything here under the card's lock.

    Attributes:
        on: whether tasks are noted.
    """

    def __init__(self) -> None:
        self.on = False
        self._tasks: deque[bytes] = deque(maxlen=_MOST)
        self._lost = 0

    def note(self, task: Task, stream: Stream, start_ns: int, end_ns: int) -> None:
        """Note a task that ended; the oldest is lost when there are too many."""
        self._lost += len(self._tasks) == _MOST
        op, way, model, size = task.label
        self._tasks.append(TASK.pack(op, way, model, stream.number, size, task.arrival_ns, start_ns, end_ns))

    def take(self) -> tuple[list[bytes], int]:
        """The tasks noted, each as `wire.TASK`, and how many were lost; both are forgotten."""
        tasks, lost = list(self._tasks), self._lost
        self._tasks.clear()
        self._lost = 0
        return tasks, lost

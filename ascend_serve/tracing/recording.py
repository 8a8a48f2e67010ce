"""What is kept of a model while its replica is traced. Bounded: the oldest goes first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ascend_serve.batching.journal import Event
from ascend_serve.spec.timing import DeviceRun


@dataclass(frozen=True, slots=True)
class ModelTrace:
    """What a model did while it was traced.

    Attributes:
        name: of the model.
        version: of the model.
        events: of its journal, in their order.
        runs: on the device, in the order in which they ended.
        lost: events that were too many to be kept; they were the oldest.
    """

    name: str
    version: str
    events: tuple[Event, ...]
    runs: tuple[DeviceRun, ...]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaTrace:
    """What a replica did while it was traced.

    Attributes:
        replica: its id.
        node: address of its node.
        soc_name: of its device.
        began_at: when tracing began, in seconds of the replica's `time.monotonic`, as all times in it.
        ended_at: when it ended.
        unix_offset_s: what makes such a time one since 1970.
        models: what each of its models did.
    """

    replica: str
    node: str
    soc_name: str
    began_at: float
    ended_at: float
    unix_offset_s: float
    models: tuple[ModelTrace, ...]


class Ring:
    """A `Journal` that keeps the latest events, and takes runs on the device from another thread.

    Args:
        most: events that are kept, and runs.
    """

    def __init__(self, most: int) -> None:
        self._events: deque[Event] = deque(maxlen=most)
        self._runs: deque[DeviceRun] = deque(maxlen=most)
        self._noted = 0

    def note(self, event: Event) -> None:
        """Keep one event."""
        self._noted += 1
        self._events.append(event)

    def ran(self, run: DeviceRun) -> None:
        """Keep one run; called on the lane."""
        self._runs.append(run)

    def trace(self, name: str, version: str) -> ModelTrace:
        """What was kept, of the model of that name and version."""
        events = tuple(self._events)
        return ModelTrace(name, version, events, tuple(self._runs), self._noted - len(events))

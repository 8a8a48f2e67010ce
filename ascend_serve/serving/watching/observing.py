"""Looks at a live replica: a timeline of some seconds, a profile by CANN's profiler, and how full its device is.

None of it costs anything while nobody looks, but for one question to the runtime every ten seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ascend_serve.batching.journal import Journal
from ascend_serve.errors import AclError, ConfigError, Refusal
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.lane import Lane, LaneSession
from ascend_serve.runtime.profiling import Counters, Profile
from ascend_serve.serving.log import logger
from ascend_serve.spec.text import nearest
from ascend_serve.tracing import ReplicaTrace, Ring

MOST_S = 60.0
"""The longest look: a profile grows by megabytes a second."""

MOST_EVENTS = 200_000
"""Events of one model that a timeline keeps; the oldest go first."""

MEMORY_EVERY_S = 10.0

_PROFILES = "PROF_*"
"""Folders that the profiler makes."""

T = TypeVar("T")


class Followed(Protocol):
    """What tells of a model's events; `Engine` does."""

    def follow(self, journal: Journal | None) -> None:
        """Have a journal take what happens from now on; None ends that."""


class MemoryGauge(Protocol):
    """Takes how full the device is."""

    def memory(self, free_bytes: int, total_bytes: int) -> None:
        """Note it."""


class Observer:
    """Looks at one replica, in one way at a time. Made and used on its event loop.

    Args:
        lane: of the replica.
        replica: its id.
        node: address of its node.
    """

    def __init__(self, lane: Lane, replica: str, node: str) -> None:
        self._lane = lane
        self._replica = replica
        self._node = node
        self._looking = ""

    async def trace(self, models: Sequence[tuple[str, str, Followed]], seconds: float) -> ReplicaTrace:
        """Record what happens for some seconds.

        Args:
            models: name, version and engine of each, in the order of the lane's sessions.
            seconds: how long; at most `MOST_S`.

        Raises:
            ConfigError: seconds out of their range.
            Refusal: somebody looks already.
            AclError: the device gives no events for it.
        """
        async with self._look("a timeline", seconds):
            rings = [Ring(MOST_EVENTS) for _ in models]
            try:
                soc_name = await self._on_lane(
                    lambda sessions: _trace(sessions, [ring.ran for ring in rings])
                )
                began_at = time.monotonic()
                for (_, _, engine), ring in zip(models, rings, strict=True):
                    engine.follow(ring)
                await asyncio.sleep(seconds)
            finally:
                for _, _, engine in models:
                    engine.follow(None)
                await self._on_lane(lambda sessions: _trace(sessions, [None] * len(rings)))
            ended_at = time.monotonic()
            return ReplicaTrace(
                replica=self._replica,
                node=self._node,
                soc_name=soc_name,
                began_at=began_at,
                ended_at=ended_at,
                unix_offset_s=time.time() - time.monotonic(),
                models=tuple(
                    ring.trace(name, version) for ring, (name, version, _) in zip(rings, models, strict=True)
                ),
            )

    async def profile(self, seconds: float, folder: str, counters: str) -> dict[str, Any]:
        """Run CANN's profiler for some seconds.

        Args:
            seconds: how long; at most `MOST_S`.
            folder: absolute, on this node; the data goes into a folder of it that bears the replica's id.
            counters: of the AI core; a name of `Counters`, in lower case.

        Returns:
            `replica`, `node` and `folder`, where the data lies.

        Raises:
            ConfigError: seconds out of their range, a folder that is not absolute, or counters there are not.
            Refusal: somebody looks already.
            AclError: the profiler refused.
            OSError: the folder cannot be made.
        """
        names = {each.name.lower(): each for each in Counters}
        if counters not in names:
            raise ConfigError(f"counters {counters!r} are not known{nearest(counters, names)}")
        if not Path(folder).is_absolute():
            raise ConfigError(
                f"folder {folder!r}: give an absolute one, since replicas run in folders of their own"
            )
        target = Path(folder) / self._replica
        async with self._look("a profile", seconds):
            before = set(target.glob(_PROFILES))
            profile = await self._on_lane(
                lambda sessions: Profile(_first(sessions).device.ordinal, target, names[counters])
            )
            try:
                await asyncio.sleep(seconds)
            finally:
                await self._on_lane(lambda _: profile.stop())
            made = set(target.glob(_PROFILES)) - before
        return {
            "replica": self._replica,
            "node": self._node,
            "folder": str(made.pop() if len(made) == 1 else target),
        }

    async def keep_memory_told(self, gauge: MemoryGauge) -> None:
        """Tell a gauge how full the device is, every ten seconds, until cancelled or the lane closes."""
        while True:
            try:
                memory = await self._on_lane(_memory)
            except AclError as error:
                logger.warning(f"how full the device is cannot be asked: {error}")
            except RuntimeError:
                return  # the lane closes
            else:
                if memory is not None:
                    gauge.memory(memory.free_bytes, memory.total_bytes)
            await asyncio.sleep(MEMORY_EVERY_S)

    async def _on_lane(self, what: Callable[[Sequence[LaneSession]], T]) -> T:
        return await asyncio.wrap_future(self._lane.do(what))

    @asynccontextmanager
    async def _look(self, how: str, seconds: float) -> Any:
        if not 0 < seconds <= MOST_S:
            raise ConfigError(f"seconds is {seconds:g}: give more than 0 and at most {MOST_S:g}")
        if self._looking:
            raise Refusal(f"{self._looking} of replica {self._replica} is being taken: wait for it", MOST_S)
        self._looking = how
        try:
            yield
        finally:
            self._looking = ""


def _trace(sessions: Sequence[LaneSession], sinks: Sequence[Any]) -> str:
    """Switch tracing of each session; the SoC's name. A lane whose device failed has no sessions."""
    for session, sink in zip(sessions, sinks, strict=False):
        session.trace(sink)
    return sessions[0].device.soc_name if sessions else ""


def _first(sessions: Sequence[LaneSession]) -> LaneSession:
    if not sessions:
        raise RuntimeError("the device is not open")
    return sessions[0]


def _memory(sessions: Sequence[LaneSession]) -> MemoryInfo | None:
    return sessions[0].device.memory() if sessions else None

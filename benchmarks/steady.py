"""One engine that stays up over several streams of rows, in this process and without Ray, and keeps its journal.

So it has learnt in one stream what it goes by in the next, as a replica has that has served for some seconds. Rows of
150 KB come alone or in groups, each group at one moment. Between two streams there is a pause in which the engine's
estimate of the rate fades, so that each begins as a simulation does.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from ascend_serve.batching.journal import Event, Happened, Header, Retuned
from ascend_serve.batching.policy import policy_named
from ascend_serve.batching.rates import TIME_CONSTANT_S
from ascend_serve.engine import Engine, Results
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.simulating.replaying import Recording

_DISTINCT = 16
_MOST_QUEUED_ROWS = 1 << 16
_BEGIN_S = 3 * TIME_CONSTANT_S
_SETTLE_S = 30.0


class Group(NamedTuple):
    """Rows that come together, a request each.

    Attributes:
        at: seconds from the stream's start.
        rows: how many.
    """

    at: float
    rows: int


class Streamed(NamedTuple):
    """What came of one stream.

    Attributes:
        latencies_ms: of each row, from when it was due until its caller had the answer.
        recording: the journal from the stream's beginning until the last answer; its header tells by which tables the
            engine decided when the stream began.
    """

    latencies_ms: list[float]
    recording: Recording


class Steady:
    """An engine with its journal; made by `steady`.

    Args:
        engine: prepared.
        journal: its own.
        rows: requests of one row, to take turns.
    """

    def __init__(self, engine: Engine, journal: _Kept, rows: Sequence[dict[str, np.ndarray]]) -> None:
        self._engine = engine
        self._journal = journal
        self._rows = rows

    async def stream(self, groups: Sequence[Group]) -> Streamed:
        """Send these groups, ascending by time, and wait for all answers.

        Raises:
            TimeoutError: the answers did not come.
            AscendServeError: a row was refused or failed.
        """
        loop = asyncio.get_running_loop()
        latencies_ms: list[float] = []
        answers: list[asyncio.Future[Results]] = []
        first = len(self._journal.happened)
        begin = time.monotonic() + _BEGIN_S

        def answered(at: float, _: asyncio.Future[Results]) -> None:
            latencies_ms.append((time.monotonic() - begin - at) * 1e3)

        def offer(group: Group) -> None:
            for _ in range(group.rows):
                result = self._engine.offer(self._rows[len(answers) % len(self._rows)]).result
                answers.append(result)
                result.add_done_callback(partial(answered, group.at))

        await asyncio.to_thread(_feed, loop, offer, begin, groups)
        await asyncio.wait_for(asyncio.gather(*answers), _SETTLE_S)
        return Streamed(latencies_ms, self._journal.since(first))


@asynccontextmanager
async def steady(lane: Lane, report: LaneReport, policy: str) -> AsyncIterator[Steady]:
    """An engine on the lane's first session, for as long as the block lasts.

    Args:
        lane: open.
        report: what it found.
        policy: by name.
    """
    journal = _Kept()
    engine = Engine(
        report.spec,
        lane.runner(0),
        slots=report.slots,
        times=report.times,
        policy=policy_named(policy),
        max_queued_rows=_MOST_QUEUED_ROWS,
        journal=journal,
    )
    await engine.prepared()
    rng = np.random.default_rng(1)
    (tensor,) = report.spec.inputs
    shape = (1, *tensor.shape[1:])
    rows = [{tensor.name: rng.integers(0, 256, shape, np.uint8)} for _ in range(_DISTINCT)]
    yield Steady(engine, journal, rows)
    await asyncio.wait_for(engine.drain(), _SETTLE_S)


class _Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self.happened: list[Happened] = []

    def note(self, event: Event) -> None:
        if isinstance(event, Header):
            self._header = event
        else:
            self.happened.append(event)

    def since(self, first: int) -> Recording:
        assert self._header is not None, "an engine notes its header first"
        return recording_since(self._header, self.happened, first)


def recording_since(header: Header, happened: Sequence[Happened], first: int) -> Recording:
    """The part of a journal from event number `first` on, before which nothing waited or ran.

    Its header has the tables and the policy that held then.
    """
    held = next((one for one in reversed(happened[:first]) if isinstance(one, Retuned)), None)
    if held is not None:
        header = header._replace(tables=held.tables, policy=held.policy)
    return Recording(header, tuple(happened[first:]))


def _feed(
    loop: asyncio.AbstractEventLoop, offer: Callable[[Group], None], begin: float, groups: Sequence[Group]
) -> None:
    """On a thread of its own: a timer of the event loop is a millisecond coarse."""
    waits = threading.Event()
    for group in groups:
        waits.wait(max(0.0, begin + group.at - time.monotonic()))
        loop.call_soon_threadsafe(offer, group)

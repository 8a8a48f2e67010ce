"""A cluster in simulated time: replicas that take a while to start, each with the queue of one device. Pure.

A request goes to the running replica with the fewest under way, as HAProxy's `leastconn` does it; of equals to the one
that got its last one the longest ago. One that comes while none runs is held until one does. A replica serves what came
to it in order, by `ascend_serve.scaling.bearing.Service`, and refuses what may not wait any more. When it is given up
it finishes what it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random

from ascend_serve.scaling.bearing import Service


@dataclass(frozen=True, slots=True)
class Nodes:
    """What there is, and how long things take.

    Attributes:
        npus: the most replicas.
        service: of each of them.
        slo_s: a row that is answered later breaks the SLO.
        start_s: from asking for a replica until it serves, the least and the most; drawn evenly.
        drain_s: for which a replica that is given up keeps its NPU, and longer while it has work.
        most_waiting: rows that may wait in a replica; more are refused, which breaks the SLO, too.
        seed: of what is drawn.
    """

    npus: int
    service: Service
    slo_s: float
    start_s: tuple[float, float] = (8.0, 12.0)
    drain_s: float = 1.0
    most_waiting: int = 256
    seed: int = 1


@dataclass(eq=False, slots=True)
class Replica:
    """One replica.

    Attributes:
        number: counted in the order in which they were asked for.
        since: from when on it has its NPU; infinite while it waits for one.
        ready_at: when it serves.
        under_way: rows that came and are not answered.
        came: all rows that ever came.
        turn: when it got its last row, counted in rows of the cluster.
        free_at: when its device can take a batch.
        done_at: when its last batch is answered.
        retired_at: when it was given up.
        queue: when the rows came that wait.
    """

    number: int
    since: float
    ready_at: float
    under_way: int = 0
    came: int = 0
    turn: int = -1
    free_at: float = 0.0
    done_at: float = 0.0
    retired_at: float = inf
    queue: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class Ran:
    """What came of a run.

    Attributes:
        rows: that came.
        late: of them, those answered after the SLO or refused.
        npu_s: NPU-seconds within the load's time.
        starts: replicas that were asked for, the first ones not counted.
        replicas: how many had an NPU, as (second, number) at each change.
    """

    rows: int = 0
    late: int = 0
    npu_s: float = 0.0
    starts: int = 0
    replicas: list[tuple[float, int]] = field(default_factory=list)

    @property
    def late_share(self) -> float:
        """Rows beyond the SLO, as a share of all."""
        return self.late / self.rows if self.rows else 0.0

    @property
    def npu_hours(self) -> float:
        """NPU-hours."""
        return self.npu_s / 3600


class Cluster:
    """Replicas and the requests among them; times only go forward.

    Args:
        nodes: what there is.
        arrivals: seconds, ascending.
        seconds: how long NPUs are counted.
        replicas: how many run at 0.
    """

    def __init__(self, nodes: Nodes, arrivals: Sequence[float], seconds: float, replicas: int = 1) -> None:
        self._nodes = nodes
        self._arrivals = arrivals
        self._seconds = seconds
        self._at = 0
        self._chance = Random(nodes.seed)  # noqa: S311 - no secret: the same seed, the same run
        self._events: list[
            tuple[float, int, Replica, int]
        ] = []  # when, a number, whose, rows answered (0: it is free)
        self._numbers = 0
        self.ran = Ran(rows=len(arrivals))
        self.held: list[float] = []
        self.running: list[Replica] = []
        self.starting: list[Replica] = []
        self._draining: list[Replica] = []
        for _ in range(replicas):
            self.running.append(Replica(self._number(), 0.0, 0.0))
        self._count(0.0)

    @property
    def target(self) -> int:
        """Replicas that there are to be."""
        return len(self.running) + len(self.starting)

    def scale(self, now: float, target: int) -> None:
        """Have so many replicas from now on; those that start, and the newest, are given up first."""
        nodes = self._nodes
        target = min(target, nodes.npus)
        while self.target < target:
            self.starting.append(Replica(self._number(), inf, inf))
            self.ran.starts += 1
        while self.target > target:
            replica = (self.starting or self.running).pop()
            if replica.ready_at > now:
                self._give_back(replica, now)
            else:
                replica.retired_at = now
                self._draining.append(replica)
        self._give_out(now)
        self._count(now)

    def advance(self, until: float) -> None:
        """All that happens before `until`."""
        events, arrivals = self._events, self._arrivals
        count = len(arrivals)
        while True:
            coming = arrivals[self._at] if self._at < count else inf
            ready = min((replica.ready_at for replica in self.starting), default=inf)
            ends = events[0][0] if events else inf
            now = min(coming, ready, ends)
            if now >= until:
                break
            if ends == now:
                _, _, replica, answered = heappop(events)
                if answered:
                    replica.under_way -= answered
                elif replica.queue:
                    self._run(replica, now)
            elif ready == now:
                self._start(next(one for one in self.starting if one.ready_at == ready), now)
            else:
                self._at += 1
                self._come(coming, now)
        self._let_go(until)

    def finish(self) -> Ran:
        """Answer all that came, and count NPUs to the end."""
        self.advance(self._seconds)
        for replica in [*self.running, *self.starting, *self._draining]:
            self._give_back(replica, self._seconds)
        self.starting.clear()  # what comes to serve now answers nobody in time
        self.ran.late += len(self.held)
        self.advance(inf)
        return self.ran

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    def _come(self, came_at: float, now: float) -> None:
        running = self.running
        if not running:
            self.held.append(came_at)
            return
        best = running[0]
        for replica in running:
            if replica.under_way < best.under_way or (
                replica.under_way == best.under_way and replica.turn < best.turn
            ):
                best = replica
        self._numbers += 1
        best.turn = self._numbers
        best.came += 1
        if len(best.queue) >= self._nodes.most_waiting:
            self.ran.late += 1
            return
        best.under_way += 1
        best.queue.append(came_at)
        if best.free_at <= now:
            self._run(best, now)

    def _run(self, replica: Replica, now: float) -> None:
        service, queue = self._nodes.service, replica.queue
        waiting = len(queue)
        place = min(waiting, len(service.gear_of) - 1)
        rows = min(service.gear_of[place], waiting)
        replica.done_at = done_at = now + service.total_s[place]
        replica.free_at = now + service.pace_s[place]
        in_time = done_at - self._nodes.slo_s
        late = 0
        for _ in range(rows):
            if queue.popleft() < in_time:
                late += 1
        self.ran.late += late
        self._numbers += 2
        heappush(self._events, (done_at, self._numbers, replica, rows))
        heappush(self._events, (replica.free_at, self._numbers + 1, replica, 0))

    def _start(self, replica: Replica, now: float) -> None:
        self.starting.remove(replica)
        self.running.append(replica)
        held, self.held = self.held, []
        for came_at in held:
            self._come(came_at, now)

    def _let_go(self, now: float) -> None:
        """Take the NPUs of replicas that were given up and have nothing left to do."""
        for replica in [one for one in self._draining if not one.under_way]:
            gone_at = max(replica.done_at, replica.retired_at + self._nodes.drain_s)
            if gone_at <= now:
                self._draining.remove(replica)
                self._give_back(replica, gone_at)
                self._give_out(now)
                self._count(now)

    def _give_out(self, now: float) -> None:
        """Start who waits for an NPU, as far as there are some."""
        free = self._nodes.npus - len(self.running) - len(self._draining)
        for replica in self.starting[:free]:
            if replica.since == inf:
                replica.since = now
                replica.ready_at = now + self._chance.uniform(*self._nodes.start_s)

    def _give_back(self, replica: Replica, now: float) -> None:
        self.ran.npu_s += max(0.0, min(now, self._seconds) - replica.since)

    def _count(self, now: float) -> None:
        if now < inf:
            started = sum(replica.since <= now for replica in self.starting)
            self.ran.replicas.append((now, len(self.running) + started + len(self._draining)))

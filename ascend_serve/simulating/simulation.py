"""The planner in simulated time: what a policy gives on devices that take what their cost tables say.

The planner and the policies are those that serve. A device is three engines (copy in, compute, copy out) that each take
one batch at a time, in the order of the batches. The host around it is `Host`: one thread launches, one waits, and
both take as long as was measured, with its spread; the event loop's alarms are late as its timers are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import ceil, inf
from random import Random

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.forecast import EARLY_S
from ascend_serve.batching.planner import Planner
from ascend_serve.batching.ticket import Batch, Ticket
from ascend_serve.errors import ConfigError, Refusal, RequestError
from ascend_serve.simulating.host import NO_HOST, Host
from ascend_serve.simulating.outcome import Outcome, Ran
from ascend_serve.simulating.traces import Arrival

_TICK_S = 1e-6
"""How much later a planner is asked again that wants to be asked now and then does nothing: floats round."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How each planner is set, as `Planner` takes it, and what the host costs.

    Attributes:
        slots: batches there is room for.
        in_flight: the most that may run at once; None is `slots`.
        max_queued_rows: the most rows that may wait.
        priority_levels: how many levels there are.
        deferred: whether a batch waits for its deadline.
        early_ms: how much earlier than needed a batch is chosen while one runs, for timers that are late.
        host: what the host adds around the devices.
        seed: of what is drawn from the host's spread.
    """

    slots: int = 2
    in_flight: int | None = None
    max_queued_rows: int = 1 << 20
    priority_levels: int = 1
    deferred: bool = False
    early_ms: float = EARLY_S * 1e3
    host: Host = NO_HOST
    seed: int = 1

    def used(self, tables: Sequence[CostTable]) -> tuple[CostTable, ...]:
        """The cost tables as a planner with these settings goes by them.

        A table that tells the host's part keeps it; another gets what a replica would learn. Stages overlap only where
        a table allows it: a planner that has no measured times to go by does not choose ahead.
        """
        many = (self.slots if self.in_flight is None else self.in_flight) > 1
        learnt_ms = self.host.learnt_ms
        return tuple(
            replace(table, host_ms=table.host_ms or learnt_ms, overlap=table.overlap and many)
            for table in tables
        )


def simulate(
    tables: Sequence[CostTable],
    policy: Policy,
    arrivals: Sequence[Arrival],
    *,
    devices: int = 1,
    settings: Settings | None = None,
    timeline: bool = False,
) -> Outcome:
    """Run a trace through planners and devices until the last answer (open loop).

    Each device has a planner of its own; a request goes to the device with the least rows that wait or run.

    Args:
        tables: cost table of each bucket.
        policy: is prepared here for `tables`.
        arrivals: ascending by time.
        devices: how many devices share the load.
        settings: of the planners; None is the defaults.
        timeline: whether to keep every batch.

    Raises:
        ConfigError: no device, an arrival in a bucket that there is not, or what `Planner` and the policy do not take.
    """
    if devices < 1:
        raise ConfigError(f"{devices} devices: at least 1 is needed")
    if strange := next((one for one in arrivals if max(one.fits) >= len(tables)), None):
        raise ConfigError(
            f"the arrival at {strange.at:g} s fits buckets {list(strange.fits)}, but there are {len(tables)}, "
            "counted from 0: give a cost table for each"
        )
    run = _Run(tables, policy, devices, settings or Settings(), timeline=timeline)
    return run.through(deque(arrivals), lambda _: None)


def simulate_clients(
    tables: Sequence[CostTable],
    policy: Policy,
    clients: int,
    seconds: float,
    *,
    settings: Settings | None = None,
    timeline: bool = False,
) -> Outcome:
    """Run callers of single rows who send their next one the moment they have an answer (closed loop).

    Args:
        tables: cost table of each bucket; rows run in the first.
        policy: is prepared here for `tables`.
        clients: how many callers there are, all from 0 on.
        seconds: until when they send.
        settings: of the planner; None is the defaults.
        timeline: whether to keep every batch.

    Raises:
        ConfigError: what `Planner` and the policy do not take.
    """
    run = _Run(tables, policy, 1, settings or Settings(), timeline=timeline)
    waiting = deque([Arrival(0.0)] * clients)

    def again(now: float) -> None:
        if now < seconds:
            waiting.append(Arrival(now))

    return run.through(waiting, again)


class _Run:
    """Devices side by side, one event after the other."""

    def __init__(
        self, tables: Sequence[CostTable], policy: Policy, devices: int, settings: Settings, *, timeline: bool
    ) -> None:
        self._seen = Outcome(devices=devices)
        tables = settings.used(tables)
        solved = policy.prepared(tables)
        self._devices = [
            _Device(number, tables, solved, settings, self._seen, timeline=timeline)
            for number in range(devices)
        ]

    def through(self, waiting: deque[Arrival], answered: Callable[[float], None]) -> Outcome:
        """All events until nothing waits; `answered` is told when each answer comes, and may add arrivals."""
        devices = self._devices
        alone = devices[0] if len(devices) == 1 else None
        now = 0.0
        while True:
            nearest = alone or min(devices, key=_next_of)
            if waiting and waiting[0].at <= nearest.next_at:
                arrival = waiting.popleft()
                now = arrival.at
                (alone or min(devices, key=_rows_of)).offer(arrival)
            elif nearest.next_at < inf:
                now = nearest.next_at
                for _ in range(nearest.step()):
                    answered(now)
            else:
                break
        self._seen.seconds = now
        return self._seen


class _Device:
    """One device and its planner.

    Attributes:
        next_at: when something happens next without an arrival, in seconds; infinite when nothing will.
        rows: rows that wait or run.
    """

    def __init__(
        self,
        number: int,
        tables: Sequence[CostTable],
        policy: Policy,
        settings: Settings,
        seen: Outcome,
        *,
        timeline: bool,
    ) -> None:
        self.next_at = inf
        self.rows = 0
        self._number = number
        self._seen = seen
        self._timeline = timeline
        self._host = settings.host
        self._timer_s = settings.host.timer_ms / 1e3
        self._chance = Random(settings.seed + number)  # noqa: S311 - no secret: the same seed, the same run
        self._planner = Planner(
            tables,
            policy,
            slots=settings.slots,
            max_queued_rows=settings.max_queued_rows,
            in_flight=settings.in_flight,
            priority_levels=settings.priority_levels,
            deferred=settings.deferred,
            early_s=settings.early_ms / 1e3,
        )
        # Seconds of each stage by (bucket, gear): looked up for each batch.
        self._stages_s = {
            (bucket, gear): tuple(ms / 1e3 for ms in stages)
            for bucket, table in enumerate(tables)
            for gear, *stages in zip(table.gears, table.copy_in_ms, table.ms, table.copy_out_ms, strict=True)
        }
        self._free_at = (0.0, 0.0, 0.0)
        self._launcher_free_at = self._known_at = 0.0
        self._running: deque[tuple[float, Batch]] = deque()  # the waiter tells of them in their order
        self._leaving: list[tuple[float, int, Ticket]] = []
        self._plan_at = inf
        self._asked_at = -inf

    def offer(self, arrival: Arrival) -> None:
        """Take a request; what comes at one moment is planned together, as the engine does."""
        seen = self._seen
        seen.offered += 1
        try:
            ticket = self._planner.offer(
                arrival.at,
                arrival.rows,
                fits=arrival.fits,
                deadline=arrival.deadline,
                priority=arrival.priority,
            )
        except (Refusal, RequestError):
            seen.refused += 1
            return
        self.rows += arrival.rows
        if arrival.leaves is not None:
            heappush(self._leaving, (arrival.leaves, ticket.number, ticket))
        if self._planner.quiet(arrival.at):
            self._set_alarm(arrival.at, self._planner.next_wakeup())
            self._look_ahead()
        else:
            self._plan_at = self.next_at = arrival.at

    def step(self) -> int:
        """Do what comes next, and return how many requests were answered by it."""
        now = self.next_at
        if self._leaving and self._leaving[0][0] <= now:
            ticket = heappop(self._leaving)[2]
            if self._planner.cancel(ticket):
                self.rows -= ticket.rows
                self._seen.cancelled += 1
            self._plan_at = now
            self._look_ahead()
            return 0
        if self._running and self._running[0][0] <= now:
            return self._land(now, self._running.popleft()[1])
        self._plan(now)
        return 0

    def _land(self, now: float, batch: Batch) -> int:
        seen = self._seen
        ended = self._planner.finished(now, batch)
        for ticket in ended:
            self.rows -= ticket.rows
            seen.answered_rows += ticket.rows
            seen.latencies_ms.append((now - ticket.offered_at) * 1e3 + self._host.door_ms)
            if ticket.deadline is not None and now > ticket.deadline:
                seen.late += 1
        self._plan_at = now if self._planner.queued_tickets else inf
        self._look_ahead()
        return len(ended)

    def _plan(self, now: float) -> None:
        """Seal all that can be started, and find out when something happens next."""
        planner = self._planner
        started = False
        while planner.queued_tickets and (batch := planner.plan(now)) is not None:
            self._start(now, batch)
            started = True
        for ticket in planner.take_expired(now):
            self.rows -= ticket.rows
            self._seen.expired += 1
        wakeup = planner.next_wakeup()
        if wakeup is None or wakeup > now:
            self._set_alarm(now, wakeup)
        else:
            self._plan_at = now if started or self._asked_at < now else now + _TICK_S
        self._asked_at = now
        self._look_ahead()

    def _set_alarm(self, now: float, wakeup: float | None) -> None:
        """Plan when an alarm that is set at `now` rings, if nothing else wakes the event loop before."""
        if wakeup is None:
            self._plan_at = inf
        elif self._timer_s:
            self._plan_at = now + ceil((wakeup - now) / self._timer_s) * self._timer_s
        else:
            self._plan_at = wakeup

    def _start(self, now: float, batch: Batch) -> None:
        seen = self._seen
        before_s, after_s = self._host.draw_s(self._chance, batch.rows, beside=bool(self._running))
        launched_at = (now if now > self._launcher_free_at else self._launcher_free_at) + before_s
        self._launcher_free_at = launched_at
        copy_in_s, compute_s, copy_out_s = self._stages_s[batch.bucket, batch.gear]
        copy_in_free_at, compute_free_at, copy_out_free_at = self._free_at
        copy_in_at = launched_at if launched_at > copy_in_free_at else copy_in_free_at
        copied_at = copy_in_at + copy_in_s
        compute_at = copied_at if copied_at > compute_free_at else compute_free_at
        computed_at = compute_at + compute_s
        copy_out_at = computed_at if computed_at > copy_out_free_at else copy_out_free_at
        done_at = copy_out_at + copy_out_s
        self._free_at = (copied_at, computed_at, done_at)
        known_at = done_at + after_s
        if known_at > self._known_at:
            self._known_at = known_at
        self._running.append((self._known_at, batch))
        seen.batches[batch.bucket, batch.gear] += 1
        seen.batch_rows += batch.rows
        seen.compute_ms += compute_s * 1e3
        if self._timeline:
            seen.timeline.append(
                Ran(
                    self._number,
                    batch.bucket,
                    batch.gear,
                    batch.rows,
                    batch.sealed_at,
                    copy_in_at,
                    compute_at,
                    copy_out_at,
                    done_at,
                )
            )

    def _look_ahead(self) -> None:
        next_at = self._plan_at
        if self._running and self._running[0][0] < next_at:
            next_at = self._running[0][0]
        if self._leaving and self._leaving[0][0] < next_at:
            next_at = self._leaving[0][0]
        self.next_at = next_at


def _next_of(device: _Device) -> float:
    return device.next_at


def _rows_of(device: _Device) -> int:
    return device.rows

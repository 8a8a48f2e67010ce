"""A journal read again: what happened, whether the planner decides the same today, and what another policy would do.

`retrace` feeds a planner the recorded events at their recorded times and compares its batches with the recorded ones;
they are the same, for a planner is a pure machine. `what_if` takes only the arrivals, and simulates the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import (
    Bounded,
    Cancelled,
    Drained,
    Expired,
    Failed,
    FailedAll,
    Happened,
    Header,
    Landed,
    Offered,
    Refused,
    Retuned,
    Sealed,
    decode_all,
)
from ascend_serve.batching.planner import Planner
from ascend_serve.batching.ticket import Batch, Ticket
from ascend_serve.errors import ConfigError, Refusal, RequestError
from ascend_serve.simulating.host import HostRun, host_of
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival
from ascend_serve.spec.timing import Stages, Timing


@dataclass(frozen=True, slots=True)
class Recording:
    """A journal.

    Attributes:
        header: what the planner was made of.
        events: all events after it, in their order.
    """

    header: Header
    events: tuple[Happened, ...]

    @classmethod
    def read(cls, lines: Iterable[bytes | str]) -> Recording:
        """The recording in the lines of a journal.

        Raises:
            ConfigError: a line is wrong, the first is no header, nothing follows it, or an event is about what none
                before tells of, so that this is no whole journal of one planner.
        """
        events = tuple(decode_all(lines))
        if not events or not isinstance(events[0], Header):
            raise ConfigError("the journal does not begin with its header: give the whole file")
        if len(events) == 1:
            raise ConfigError("the journal has a header, but no event: nothing was asked while it was kept")
        happened = tuple(event for event in events[1:] if not isinstance(event, Header))
        if len(happened) < len(events) - 1:
            raise ConfigError(
                "the journal has a second header: two were written to one file; give one of them"
            )
        recording = cls(events[0], happened)
        recording._check()
        return recording

    def _check(self) -> None:
        told = _SoFar(self.header)
        for number, event in enumerate(self.events, start=2):
            if (fault := told.fault(event)) is not None:
                raise ConfigError(f"line {number} of the journal, {type(event).__name__.lower()}: {fault}")

    @property
    def tables(self) -> tuple[CostTable, ...]:
        """The cost tables that held at the end."""
        later = [event.tables for event in self.events if isinstance(event, Retuned)]
        return later[-1] if later else self.header.tables

    @property
    def policy(self) -> Policy:
        """The policy that decided at the end, not yet prepared.

        Raises:
            ConfigError: this program has no such policy or option.
        """
        later = [event.policy for event in self.events if isinstance(event, Retuned)]
        told = later[-1] if later else self.header.policy
        return told._replace(prepared=False).policy(())


class Retraced(NamedTuple):
    """What `retrace` found.

    Attributes:
        decisions: recorded decisions (batches, refusals and expiries) that came again, up to the first that did not.
        departure: the first that did not, in words; None when all came again.
    """

    decisions: int
    departure: str | None


def retrace(recording: Recording) -> Retraced:
    """Feed the recorded events to a new planner, and compare what it decides with what was recorded.

    Raises:
        ConfigError: what the planner does not take of the header.
    """
    tracer = _Tracer(recording.header)
    for number, event in enumerate(recording.events, start=2):
        departure = tracer.follow(event)
        if departure is not None:
            return Retraced(tracer.decisions, f"event {number}, at {event.at:.6f} s: {departure}")
    return Retraced(tracer.decisions, None)


def recorded(recording: Recording) -> Outcome:
    """What happened, in the words of a simulation; times count from the first event on."""
    begin = recording.events[0].at
    seen = Outcome(seconds=recording.events[-1].at - begin)
    tables = recording.header.tables
    living: dict[int, Offered] = {}
    landed_rows: defaultdict[int, int] = defaultdict(int)
    running: dict[int, Sealed] = {}
    for event in recording.events:
        if isinstance(event, Offered):
            living[event.ticket] = event
            seen.offered += 1
        elif isinstance(event, Refused):
            seen.offered += 1
            seen.refused += 1
        elif isinstance(event, Cancelled):
            seen.cancelled += living.pop(event.ticket, None) is not None
        elif isinstance(event, Expired):
            seen.expired += sum(living.pop(ticket, None) is not None for ticket in event.tickets)
        elif isinstance(event, Sealed):
            running[event.slot] = event
            seen.batches[event.bucket, event.gear] += 1
            seen.batch_rows += event.rows
        elif isinstance(event, Landed):
            batch = running.pop(event.slot)
            timed = event.stages
            seen.compute_ms += timed.compute_ms if timed else tables[batch.bucket].ms_of(batch.gear)
            for ticket, _, rows in batch.pieces:
                landed_rows[ticket] += rows
                asked = living.get(ticket)
                if asked is not None and landed_rows[ticket] == asked.rows:
                    del living[ticket]
                    seen.answered_rows += asked.rows
                    seen.latencies_ms.append((event.at - asked.at) * 1e3)
                    seen.late += asked.deadline is not None and event.at > asked.deadline
        elif isinstance(event, Failed):
            pieces = running.pop(event.slot).pieces
            seen.failed += sum(living.pop(ticket, None) is not None for ticket, _, _ in pieces)
        elif isinstance(event, FailedAll):
            seen.failed += len(living)
            living.clear()
        elif isinstance(event, Retuned):
            tables = event.tables
    return seen


def what_if(recording: Recording, policy: Policy, *, timeline: bool = False) -> Outcome:
    """What `policy` would have made of the recorded arrivals, by simulation.

    The device takes what it took: the median of the timed runs of each gear, else the last cost table. The host takes
    what it took around batches that ran alone (`host_runs`). The planner reckons with the host as it did at the end,
    and chooses ahead if it did then. A caller who left leaves at the same moment, unless the answer comes before.

    Raises:
        ConfigError: what the planner does not take with this policy.
    """
    header = recording.header
    tables = _observed(recording)
    settings = Settings(
        slots=header.slots,
        in_flight=header.in_flight,
        max_queued_rows=header.max_queued_rows,
        priority_levels=header.priority_levels,
        deferred=header.deferred,
        early_ms=header.early_s * 1e3,
        host=host_of(host_runs(recording)),
    )
    return simulate(tables, policy, arrivals_of(recording), settings=settings, timeline=timeline)


def host_runs(recording: Recording) -> list[HostRun]:
    """What the host took around each batch with nothing beside it: all of its time, less what the device takes."""
    tables = _observed(recording)
    return [
        HostRun(batch.rows, (landed.at - batch.at) * 1e3 - _device_ms(tables[batch.bucket], batch, landed))
        for batch, landed in _runs(recording, alone=True)
    ]


def arrivals_of(recording: Recording) -> list[Arrival]:
    """Everything that was offered, taken or not; times count from the first event on."""
    begin = recording.events[0].at
    left = {event.ticket: event.at - begin for event in recording.events if isinstance(event, Cancelled)}
    arrivals = []
    for event in recording.events:
        if isinstance(event, Offered | Refused):
            deadline = None if event.deadline is None else event.deadline - begin
            leaves = left.get(event.ticket) if isinstance(event, Offered) else None
            arrivals.append(
                Arrival(event.at - begin, event.rows, event.fits, deadline, event.priority, leaves)
            )
    return arrivals


class _SoFar:
    """What a journal has told so far: an event can only be about that."""

    def __init__(self, header: Header) -> None:
        self._gears = [table.gears for table in header.tables]
        self._tickets: set[int] = set()
        self._running: set[int] = set()

    def fault(self, event: Happened) -> str | None:
        """Take one event; what is wrong with it, or None."""
        if isinstance(event, Offered | Refused):
            if max(event.fits) >= len(self._gears):
                return f"there are {len(self._gears)} buckets, counted from 0, and it fits {list(event.fits)}"
            if isinstance(event, Offered):
                self._tickets.add(event.ticket)
        elif isinstance(event, Cancelled | Expired):
            return self._strange({event.ticket} if isinstance(event, Cancelled) else set(event.tickets))
        elif isinstance(event, Sealed):
            if event.slot in self._running:
                return f"slot {event.slot} holds another batch"
            if event.bucket >= len(self._gears) or event.gear not in self._gears[event.bucket]:
                return f"no cost table has gear {event.gear} of bucket {event.bucket}"
            rows = sum(rows for _, _, rows in event.pieces)
            if not rows == event.rows <= event.gear:
                return (
                    f"it has {event.rows} rows, in pieces of {rows}, and its gear has room for {event.gear}"
                )
            self._running.add(event.slot)
            return self._strange({ticket for ticket, _, _ in event.pieces})
        elif isinstance(event, Landed | Failed):
            if event.slot not in self._running:
                return f"no batch was sealed in slot {event.slot}"
            self._running.discard(event.slot)
        elif isinstance(event, Retuned) and [table.gears for table in event.tables] != self._gears:
            return "its cost tables are of other gears"
        return None

    def _strange(self, tickets: set[int]) -> str | None:
        unknown = tickets - self._tickets
        return f"ticket {min(unknown)} was never offered" if unknown else None


class _Tracer:
    """A planner that is led along recorded events."""

    def __init__(self, header: Header) -> None:
        self.decisions = 0
        self._planner = Planner(
            header.tables,
            header.policy.policy(header.tables),
            slots=header.slots,
            max_queued_rows=header.max_queued_rows,
            in_flight=header.in_flight,
            priority_levels=header.priority_levels,
            deferred=header.deferred,
            early_s=header.early_s,
        )
        self._tickets: dict[int, Ticket] = {}
        self._running: dict[int, Batch] = {}

    def follow(self, event: Happened) -> str | None:
        """Take one event; None, or in what the planner departs from it."""
        if isinstance(event, Offered | Refused):
            return self._offer(event)
        if isinstance(event, Sealed):
            return self._seal(event)
        if isinstance(event, Expired):
            gone = {ticket.number for ticket in self._planner.take_expired(event.at)}
            if gone != set(event.tickets):
                # The others were dropped by a decision that sealed nothing, which has no event of its own.
                if self._planner.plan(event.at) is not None:
                    return f"{_shown_tickets(event.tickets)} expired, and a batch is sealed now"
                gone |= {ticket.number for ticket in self._planner.take_expired(event.at)}
            return self._compare("expired", _shown_tickets(event.tickets), _shown_tickets(gone))
        if isinstance(event, Cancelled):
            self._planner.cancel(self._tickets[event.ticket])
        elif isinstance(event, Landed):
            self._planner.finished(event.at, self._running.pop(event.slot))
        elif isinstance(event, Failed):
            self._planner.failed(self._running.pop(event.slot))
        elif isinstance(event, FailedAll):
            self._planner.fail_all()
        elif isinstance(event, Drained):
            self._planner.drain()
        elif isinstance(event, Retuned):
            self._planner.retune(event.tables, event.policy.policy(event.tables))
        elif isinstance(event, Bounded):
            self._planner.bound(event.max_queued_rows)
        return None

    def _offer(self, event: Offered | Refused) -> str | None:
        was = "taken" if isinstance(event, Offered) else event.reason
        try:
            ticket = self._planner.offer(
                event.at, event.rows, fits=event.fits, deadline=event.deadline, priority=event.priority
            )
        except (Refusal, RequestError) as error:
            return self._compare("answer to an offer", was, type(error).__name__)
        if isinstance(event, Refused):
            return self._compare("answer to an offer", was, "taken")
        self._tickets[event.ticket] = ticket
        return None

    def _seal(self, event: Sealed) -> str | None:
        batch = self._planner.plan(event.at)
        if batch is None:
            return self._compare("batch", _shown(event), "none")
        self._running[batch.slot] = batch
        pieces = tuple((piece.ticket.number, piece.start, piece.rows) for piece in batch.pieces)
        sealed = Sealed(event.at, batch.slot, batch.bucket, batch.gear, batch.rows, pieces)
        return self._compare("batch", _shown(event), _shown(sealed))

    def _compare(self, what: str, was: str, is_now: str) -> str | None:
        if was != is_now:
            return f"{what} was {was}, and is {is_now} now"
        self.decisions += 1
        return None


def _shown(batch: Sealed) -> str:
    """A batch in words that tell any two apart."""
    pieces = ", ".join(
        f"{ticket}" if (start, rows) == (0, 1) else f"{ticket} (rows {start} to {start + rows - 1})"
        for ticket, start, rows in batch.pieces
    )
    return f"gear {batch.gear} of bucket {batch.bucket} in slot {batch.slot} with tickets {pieces}"


def _shown_tickets(tickets: Collection[int]) -> str:
    return f"tickets {', '.join(map(str, sorted(tickets)))}" if tickets else "no ticket"


def _observed(recording: Recording) -> tuple[CostTable, ...]:
    """The last cost tables, with what the timed runs of each gear took; of the host they tell what they told."""
    timed: defaultdict[tuple[int, int], list[Stages]] = defaultdict(list)
    for batch, landed in _runs(recording):
        if landed.stages is not None:
            timed[batch.bucket, batch.gear].append(landed.stages)
    return tuple(_refined(bucket, table, timed) for bucket, table in enumerate(recording.tables))


def _refined(bucket: int, table: CostTable, timed: Mapping[tuple[int, int], list[Stages]]) -> CostTable:
    measured = {}
    for place, gear in enumerate(table.gears):
        runs = timed.get((bucket, gear))
        if runs:
            stages = Stages(*(median(times) for times in zip(*runs, strict=True)))
        else:
            stages = Stages(table.copy_in_ms[place], table.ms[place], table.copy_out_ms[place])
        measured[gear] = Timing(stages, 0.0, len(runs or ()))
    return replace(CostTable.of(table.gears, measured), host_ms=table.host_ms, overlap=table.overlap)


def _device_ms(table: CostTable, batch: Sealed, landed: Landed) -> float:
    """What a batch took on the device, if it was timed; else what its gear takes."""
    return table.total_ms_of(batch.gear) - table.host_ms if landed.stages is None else sum(landed.stages)


def _runs(recording: Recording, *, alone: bool = False) -> list[tuple[Sealed, Landed]]:
    """Each batch that came back, with its end; of `alone` only those beside which no other ran."""
    running: dict[int, Sealed] = {}
    shared: set[int] = set()
    runs = []
    for event in recording.events:
        if isinstance(event, Sealed):
            running[event.slot] = event
            if len(running) > 1:
                shared |= set(running)
            else:
                shared.discard(event.slot)
        elif isinstance(event, Landed | Failed):
            batch = running.pop(event.slot)
            if isinstance(event, Landed) and not (alone and event.slot in shared):
                runs.append((batch, event))
            shared.discard(event.slot)
    return runs

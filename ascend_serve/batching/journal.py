"""The journal: everything that went into a planner and every batch that came out, one JSON line for each event.

It is enough to take the same decisions again (`replaying`), and to ask what another policy would have done with the
same arrivals. The first line is the header: what the planner was made of. Times are in seconds of one monotonic clock.

A running batch is named by its slot, since a slot holds one at a time; a ticket by its number, which counts offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, Protocol

import orjson

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.fields import amount, buckets, count, finite, many, maybe, positive, switch, word
from ascend_serve.batching.forecast import EARLY_S
from ascend_serve.batching.optimal import Solved
from ascend_serve.batching.policy import POLICIES, policy_named
from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages

SCHEMA = 2
"""Grows when a line of today could be misread."""


class Told(NamedTuple):
    """A policy in words that can be written down.

    Attributes:
        name: as `policy_named` takes it.
        options: its options.
        prepared: whether its tables were solved; until then it decides by simpler means.
    """

    name: str
    options: Mapping[str, Any]
    prepared: bool

    @classmethod
    def of(cls, policy: Policy) -> Told:
        """What `policy` is.

        Raises:
            ConfigError: it is none of `POLICIES`, so that it could not be made again.
        """
        bare = policy.policy if isinstance(policy, Solved) else policy
        for name, kind in POLICIES.items():
            if type(bare) is kind:
                own: Any = kind
                options = {one.name: getattr(bare, one.name) for one in fields(own) if one.init}
                return cls(name, options, isinstance(policy, Solved))
        raise ConfigError(
            f"policy {policy!r} has no name that a journal could keep: use one of {list(POLICIES)}"
        )

    def policy(self, tables: Iterable[CostTable]) -> Policy:
        """The policy again.

        Raises:
            ConfigError: no such policy or option.
        """
        policy = policy_named(self.name, **self.options)
        return policy.prepared(tuple(tables)) if self.prepared else policy

    def shown(self) -> str:
        """For people, and as the command line takes it: the name, and the options that are not the usual ones."""
        options = {one.name: one.default for one in fields(POLICIES[self.name])}
        given = [f"{name}={value}" for name, value in self.options.items() if value != options[name]]
        return f"{self.name}:{','.join(given)}" if given else self.name


class Header(NamedTuple):
    """What the planner was made of; the first event.

    Attributes:
        tables: cost table of each bucket.
        policy: what it decided by.
        slots: batches there was room for.
        max_queued_rows: the most rows that could wait.
        in_flight: the most batches that could run at once; None is `slots`.
        priority_levels: how many levels there were.
        deferred: whether batches waited for their deadlines.
        early_s: how much earlier than needed a batch was chosen.
    """

    tables: tuple[CostTable, ...]
    policy: Told
    slots: int
    max_queued_rows: int
    in_flight: int | None = None
    priority_levels: int = 1
    deferred: bool = False
    early_s: float = EARLY_S


class Offered(NamedTuple):
    """A ticket was taken into the queue."""

    at: float
    ticket: int
    rows: int
    fits: tuple[int, ...] = (0,)
    deadline: float | None = None
    priority: int | None = None


class Refused(NamedTuple):
    """A request was not taken; `reason` is the name of the error's class."""

    at: float
    rows: int
    fits: tuple[int, ...]
    deadline: float | None
    priority: int | None
    reason: str


class Cancelled(NamedTuple):
    """A ticket's caller left before it had ended."""

    at: float
    ticket: int


class Expired(NamedTuple):
    """Tickets ran out of time while they waited."""

    at: float
    tickets: tuple[int, ...]


class Sealed(NamedTuple):
    """A batch was closed; a piece is (ticket, first of its rows, how many of them)."""

    at: float
    slot: int
    bucket: int
    gear: int
    rows: int
    pieces: tuple[tuple[int, int, int], ...]


class Landed(NamedTuple):
    """The batch of a slot came back; `stages` when it was timed."""

    at: float
    slot: int
    stages: Stages | None = None


class Failed(NamedTuple):
    """The batch of a slot failed."""

    at: float
    slot: int


class FailedAll(NamedTuple):
    """Every living ticket was ended, since the device is lost."""

    at: float


class Drained(NamedTuple):
    """From now on nothing new was taken."""

    at: float


class Retuned(NamedTuple):
    """The planner got other cost tables, or another policy, or the one it had with its tables solved."""

    at: float
    tables: tuple[CostTable, ...]
    policy: Told


class Bounded(NamedTuple):
    """Another number of rows may wait."""

    at: float
    max_queued_rows: int


Happened = (
    Offered
    | Refused
    | Cancelled
    | Expired
    | Sealed
    | Landed
    | Failed
    | FailedAll
    | Drained
    | Retuned
    | Bounded
)
"""What a line after the header is about."""

Event = Header | Happened
"""What a line is about."""

_KINDS: dict[str, Any] = {
    "header": Header,
    "offered": Offered,
    "refused": Refused,
    "cancelled": Cancelled,
    "expired": Expired,
    "sealed": Sealed,
    "landed": Landed,
    "failed": Failed,
    "failed_all": FailedAll,
    "drained": Drained,
    "retuned": Retuned,
    "bounded": Bounded,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Journal(Protocol):
    """Keeps what happened, in its order; the first event is the header."""

    def note(self, event: Event) -> None:
        """Keep one event."""
        ...


class Both(NamedTuple):
    """Two journals that take the same."""

    first: Journal
    second: Journal

    def note(self, event: Event) -> None:
        """Have both keep it."""
        self.first.note(event)
        self.second.note(event)


def encode(event: Event) -> bytes:
    """The line of an event, with its end.

    Raises:
        TypeError: an option of a policy is nothing that JSON can hold.
    """
    line: dict[str, Any] = {"event": _NAMES[type(event)]}
    if isinstance(event, Header):
        line["schema"] = SCHEMA
    line.update(event._asdict())
    if isinstance(event, Landed) and event.stages is not None:
        line["stages"] = event.stages._asdict()
    if isinstance(event, Header | Retuned):
        line["tables"] = [_told_table(table) for table in event.tables]
        line["policy"] = event.policy._asdict()
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes | str) -> Event:
    """The event of a line.

    Raises:
        ConfigError: it is no line of a journal, or one of another schema.
    """
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not a line of a journal: {_shown(line)}: {error}") from error
    name = told.pop("event", None) if isinstance(told, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigError(
            f"not a line of a journal: {_shown(line)}: its event is none of {', '.join(_KINDS)}"
        )
    if kind is Header and (schema := told.pop("schema", None)) != SCHEMA:
        raise ConfigError(f"the journal has schema {schema}; this program reads schema {SCHEMA}")
    try:
        event: Event = kind(**{key: _read(key, value) for key, value in told.items()})
    except (TypeError, ValueError, AscendServeError) as error:
        raise ConfigError(f"not a right line of a journal: {_shown(line)}: {error}") from error
    return event


def decode_all(lines: Iterable[bytes | str]) -> Iterator[Event]:
    """The events of a journal; an unfinished last line, as a process that was killed leaves, is left out.

    Raises:
        ConfigError: a line is wrong; the message has its number.
    """
    wrong: ConfigError | None = None
    for number, line in enumerate(lines, start=1):
        if wrong is not None:
            raise wrong
        try:
            event = decode(line)
        except ConfigError as error:
            wrong = ConfigError(f"line {number}: {error}")
            if line[-1:] in (b"\n", "\n"):
                raise wrong from error
            continue
        yield event


def _told_table(table: CostTable) -> dict[str, Any]:
    return {
        "gears": table.gears.sizes,
        "ms": table.ms,
        "copy_in_ms": table.copy_in_ms,
        "copy_out_ms": table.copy_out_ms,
        "host_ms": table.host_ms,
        "overlap": table.overlap,
    }


def _read(name: str, told: Any) -> Any:
    read = _READ.get(name)
    if read is None:
        raise ValueError(f"no event has a field '{name}'")
    try:
        return read(told)
    except (TypeError, ValueError, AscendServeError) as error:
        raise ValueError(f"its {name}: {error}") from error


def _read_table(told: Any) -> CostTable:
    gears, ms, copy_in_ms, copy_out_ms, host_ms, overlap = _of_names(told, _TABLE)
    ms, copy_in_ms, copy_out_ms = map(many(amount), (ms, copy_in_ms, copy_out_ms))
    table = CostTable(
        Gears.of(many(positive)(gears)), ms, copy_in_ms, copy_out_ms, amount(host_ms), switch(overlap)
    )
    if not all(table.ms):
        raise ValueError("a gear that computes in 0 ms")
    return table


def _read_piece(told: Any) -> tuple[int, int, int]:
    if not isinstance(told, list) or len(told) != len(_PIECE):
        raise ValueError(f"{told!r} is no list of ticket, first row and rows")
    ticket, start, rows = (read(one) for read, one in zip(_PIECE, told, strict=True))
    return ticket, start, rows


def _read_stages(told: Any) -> Stages:
    return Stages(*map(finite, _of_names(told, Stages._fields)))


def _read_policy(told: Any) -> Told:
    name, options, prepared = _of_names(told, Told._fields)
    policy = Told(word(name), dict(_options(options)), switch(prepared))
    policy._replace(prepared=False).policy(())
    return policy


def _options(told: Any) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise ValueError(f"{told!r} are no options by name")
    return told


def _of_names(told: Any, names: Sequence[str]) -> list[Any]:
    """The values of an object that has just these names."""
    if not isinstance(told, dict) or set(told) != set(names):
        raise ValueError(f"{told!r} has not just {', '.join(names)}")
    return [told[name] for name in names]


_TABLE = ("gears", "ms", "copy_in_ms", "copy_out_ms", "host_ms", "overlap")
_PIECE = (count, count, positive)
_READ: dict[str, Callable[[Any], Any]] = {
    "at": finite,
    "bucket": count,
    "deadline": maybe(finite),
    "deferred": switch,
    "early_s": amount,
    "fits": buckets,
    "gear": positive,
    "in_flight": maybe(positive),
    "max_queued_rows": positive,
    "pieces": many(_read_piece),
    "policy": _read_policy,
    "priority": maybe(positive),
    "priority_levels": positive,
    "reason": word,
    "rows": positive,
    "slot": count,
    "slots": positive,
    "stages": maybe(_read_stages),
    "tables": many(_read_table),
    "ticket": count,
    "tickets": many(count),
}
"""How each field is read; a name means one thing in all events."""


def _shown(line: bytes | str) -> str:
    return repr(line[:80])

"""The messages between a client process and a card.

One SOCK_SEQPACKET connection per client and card carries everything the client says, in order. A message is
`HEADER` and a body that its op defines. `channel` is 0 for a command nobody waits for; otherwise the card
answers with one `REPLY`, that carries the same `sequence`, on that channel: a socket pair of its own for each
thread that waits, so that a thread finds only its own answers on it.

A command on channel 0 that a stream does in its turn and that takes part in the time model (a copy, a fill, an
execution, a recording) has `moment_now` in place of `sequence`: on hardware a command is there when the call
that gives it returns, so how long a message is under way here is nothing that a modelled time may contain.

Addresses on the wire are offsets into device memory; with `PINNED` set, into the client's pinned host memory. With
`WINDOW` set they are the client's own addresses of device memory that it has mapped somewhere else as well, and with
`HOST` set the client's own addresses of memory that it has registered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct

WINDOW = 1 << 60
PINNED = 1 << 62
HOST = 1 << 63
NOWHERE = (1 << 64) - 1
"""An address that is in neither memory: ordinary host memory, which a card cannot reach."""

HEADER = Struct("<HHI")
"""op, channel, sequence."""

_MOMENT = 0xFFFF_FFFF
_LONGEST_WAY_NS = 1_000_000_000
"""A moment further back is none: the clocks differ, or the card was stopped for long."""

REPLY = Struct("<IiQQ")
"""sequence, code, first value, second value; the error text follows, ended by a zero byte."""

MAX_MESSAGE = 64 << 10
MAX_TEXT = 8 << 10


class Op(IntEnum):
    """What a message asks for."""

    HELLO = 1
    OPEN_CHANNEL = 2
    CLOSE_CHANNEL = 3
    GIVE_UP = 4
    MALLOC = 10
    FREE = 11
    MEMORY_INFO = 12
    REGISTER = 13
    UNREGISTER = 14
    COPY_2D = 15
    RESERVE = 16
    RELEASE = 17
    MAP = 18
    UNMAP = 19
    CREATE_STREAM = 20
    DESTROY_STREAM = 21
    SYNC_STREAM = 22
    QUERY_STREAM = 23
    ABORT_STREAM = 24
    FAILURE_MODE = 25
    SYNC_CARD = 26
    COUNT_STREAMS = 27
    WAIT_ELSEWHERE = 28
    BUSY_SHARE = 29
    COPY = 30
    FILL = 31
    EXECUTE = 32
    RECORD = 40
    WAIT = 41
    FORGET = 42
    SYNC_EVENT = 43
    QUERY_EVENT = 44
    RESET_EVENT = 45
    COUNT_WAITS = 46
    NAME_EVENT = 47
    COUNT_EVENTS = 48
    TELL_ELSEWHERE = 49
    LOAD = 50
    UNLOAD = 51
    COLLECT = 52
    EXPORT = 60
    ALLOW = 61
    IMPORT = 62
    CLOSE_IMPORT = 63
    WITHDRAW = 64
    SUBSCRIBE = 70
    UNSUBSCRIBE = 71
    CALL_BACK = 72
    NEXT_REPORT = 73
    REPORT_DONE = 74
    PROFILE = 80
    TAKE_TASKS = 81
    COUNT_LAG = 82
    CONTROL = 90
    MEET = 91


class Way(IntEnum):
    """The engine that does a copy."""

    H2D = 0
    D2H = 1
    LOCAL = 2


ONE = Struct("<Q")
"""Body of ops with one number: bytes, an address, a stream, an event or a model."""

TWO = Struct("<QQ")
"""Body of RESET_EVENT (stream, event), DESTROY_STREAM (stream, force), CREATE_STREAM (stream, context),
FAILURE_MODE (stream, mode), WAIT_ELSEWHERE (stream, seconds until it gives up or 0), SUBSCRIBE (stream, thread),
MALLOC (bytes, alignment), REGISTER (address, bytes), RESERVE (address, bytes)
and UNMAP (address of a window, distance in it)."""

THREE = Struct("<QQQ")
"""Body of CALL_BACK (stream, callback, whether it holds the stream) and
NEXT_REPORT (thread, callback that was done before or 0, whether to wait)."""

LEVEL = 1 << 63
"""Set in the name of an event that stays reached until it is reset, whoever waits for it and however often."""

TOLD = Struct("<QI")
"""What goes from one card to another through a pipe: the moment an event was reached, and 0 or a code instead."""

EXPORT = Struct("<3Q")
"""Body of EXPORT: address, bytes, whether any process may import them."""

ALLOW = Struct("<Q")
"""Head of ALLOW: the export; then the processes that may import it, each an int32."""

MAP = Struct("<4Q")
"""Body of MAP: address of a window, distance in it, offset into device memory, bytes."""

COPY_2D = Struct("<8Q")
"""Body of COPY_2D: stream, destination, its pitch, source, its pitch, width, height, way."""

RECORD = Struct("<HHIQQ")
"""A whole RECORD message: header, stream, event."""

WAIT = Struct("<HHIQQQ")
"""A whole WAIT message: header, stream, event, seconds until it gives up or 0."""

COPY = Struct("<HHIQQQQQ")
"""A whole COPY message: header, stream, destination, source, bytes, way."""

FILL = Struct("<HHIQQQQ")
"""A whole FILL message: header, stream, destination, byte value, bytes."""

LOAD = Struct("<6Q")
"""Body of LOAD: model, then address and bytes of the program's own memory for working space and for weights; where
the address is `NOWHERE` and there are no bytes, the card finds the memory itself. Then the bytes of the .om: in the
file that comes along its external weights lie behind it, in the model's order of them."""

EXECUTE = Struct("<QIHH")
"""Body of EXECUTE: stream (0: ordered with nothing), model, inputs, outputs; then (address, bytes) of each buffer.

For a model of truly dynamic shape there follow the address of pinned memory where the card tells the outputs' dims,
and the inputs' dims. Either are `pack_dims`. An output at `NOWHERE` without bytes is held for COLLECT."""

COLLECT = Struct("<4Q")
"""Body of COLLECT: model, output, address and bytes of the memory for an output that the last execution held."""

TASK = Struct("<HHIQQQQQ")
"""One task in what TAKE_TASKS writes: op, way, model, stream (0: ordered with nothing), bytes, and the moments of its
arrival, start and end."""

MOST_DIMS = 64
"""Dims of an output that can be told."""

UNKNOWN = -1
"""In place of a number of dims: there are none to tell."""


def moment_now() -> int:
    """The sender's `time.monotonic_ns`, which all processes share, as far as the header holds it."""
    return time.monotonic_ns() & _MOMENT


def moment_of(told: int, now_ns: int) -> int:
    """The moment that a header tells.

    Args:
        told: what `moment_now` was.
        now_ns: `time.monotonic_ns` of the reader.

    Returns:
        It in nanoseconds, never later than `now_ns`; `now_ns` for one that cannot be right.
    """
    way_ns = (now_ns - told) & _MOMENT
    return now_ns - way_ns if way_ns < _LONGEST_WAY_NS else now_ns


def buffer_list(count: int) -> Struct:
    """The tail of an EXECUTE message with `count` buffers: address and bytes of each."""
    return Struct(f"<{2 * count}Q")


def pack_dims(shapes: Sequence[Sequence[int] | None]) -> bytes:
    """Dims of several tensors: of each the number of its dims (`UNKNOWN` for None) and then these, all int64."""
    flat: list[int] = []
    for dims in shapes:
        flat += [UNKNOWN] if dims is None else [len(dims), *dims]
    return Struct(f"<{len(flat)}q").pack(*flat)


def unpack_dims(data: bytes, count: int) -> list[tuple[int, ...] | None]:
    """The dims of `count` tensors that `pack_dims` wrote; bytes behind them are left alone."""
    shapes: list[tuple[int, ...] | None] = []
    numbers = memoryview(data[: len(data) // 8 * 8]).cast("q")
    place = 0
    for _ in range(count):
        rank = numbers[place]
        place += 1
        if rank == UNKNOWN:
            shapes.append(None)
        else:
            shapes.append(tuple(numbers[place : place + rank]))
            place += rank
    return shapes

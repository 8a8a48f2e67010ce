"""The messages between a client process and a card.

One SOCK_SEQPACKET connection per client and card carries everything the client says, in order. A message is
`HEADER` and a body that its op defines. `channel` is 0 for a command nobody waits for; otherwise the card
answers with one `REPLY`, that carries the same `sequence`, on that channel: a socket pair of its own for each
thread that waits, so that a thread finds only its own answers on it.

Addresses on the wire are offsets into device memory; with `PINNED` set, into the client's pinned host memory.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PINNED = 1 << 62
NOWHERE = (1 << 64) - 1
"""An address that is in neither memory: ordinary host memory, which a card cannot reach."""

HEADER = Struct("<HHI")
"""op, channel, sequence."""

REPLY = Struct("<IiQQ")
"""sequence, code, first value, second value; the error text follows, ended by a zero byte."""

MAX_MESSAGE = 64 << 10
MAX_TEXT = 8 << 10


class Op(IntEnum):
    """What a message asks for."""

    HELLO = 1
    OPEN_CHANNEL = 2
    CLOSE_CHANNEL = 3
    MALLOC = 10
    FREE = 11
    MEMORY_INFO = 12
    CREATE_STREAM = 20
    DESTROY_STREAM = 21
    SYNC_STREAM = 22
    QUERY_STREAM = 23
    ABORT_STREAM = 24
    FAILURE_MODE = 25
    SYNC_CARD = 26
    COUNT_STREAMS = 27
    COPY = 30
    FILL = 31
    EXECUTE = 32
    RECORD = 40
    WAIT = 41
    FORGET = 42
    SYNC_EVENT = 43
    QUERY_EVENT = 44
    LOAD = 50
    UNLOAD = 51


class Way(IntEnum):
    """The engine that does a copy."""

    H2D = 0
    D2H = 1
    LOCAL = 2


ONE = Struct("<Q")
"""Body of ops with one number: bytes, an address, a stream, an event or a model."""

TWO = Struct("<QQ")
"""Body of RECORD and WAIT (stream, event); DESTROY_STREAM (stream, force), CREATE_STREAM (stream, context) and
FAILURE_MODE (stream, mode)."""

COPY = Struct("<HHIQQQQQ")
"""A whole COPY message: header, stream, destination, source, bytes, way."""

FILL = Struct("<HHIQQQQ")
"""A whole FILL message: header, stream, destination, byte value, bytes."""

EXECUTE = Struct("<QIHH")
"""Body of EXECUTE: stream (0: ordered with nothing), model, inputs, outputs; then (address, bytes) of each buffer."""


def buffer_list(count: int) -> Struct:
    """The tail of an EXECUTE message with `count` buffers: address and bytes of each."""
    return Struct(f"<{2 * count}Q")

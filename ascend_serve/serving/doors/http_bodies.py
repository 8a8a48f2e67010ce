"""Bodies on their way in and out: their sizes, how long they take, and the codings gzip and deflate.

What takes long is done on another thread, so that the event loop goes on serving others meanwhile: zlib gives up the
GIL while it works.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

from ascend_serve.errors import MalformedRequest, QueueFull, RequestTooLarge
from ascend_serve.protocol.compression import coding_named, coding_wanted, deflated, inflated
from ascend_serve.protocol.http_codec import HEADER_LENGTH
from ascend_serve.protocol.http_heads import Fields
from ascend_serve.protocol.show import show
from ascend_serve.serving.doors.asgi import Message, Receive
from ascend_serve.serving.doors.leaving import ClientLeft

_LEAST_CODED_BYTES = 1024
"""Smaller answers go as they are: what is saved is less than a packet."""
_QUICKLY_INFLATED_BYTES = 1024
"""What may be inflated on the loop; at most 1032 times as much comes out of it (zlib), in about 3 ms."""
_QUICKLY_DEFLATED_BYTES = 16 * 1024
"""What may be compressed on the loop, in at most half a millisecond."""
_LONGEST_ACCEPT_BYTES = 1024
BODY_S = 60.0
"""Seconds in which a body has to come: 64 MiB at 9 Mbit/s. No setting, since who sends large bodies over slower lines
does better to send parts; without it a few clients that send a byte a minute would hold all that Serve lets run."""

T = TypeVar("T")


class SlowBody(Exception):  # noqa: N818  # HTTP alone knows it, by its status 408
    """A body did not come in time."""


class Held:
    """How many bytes of bodies are held at a time.

    Attributes:
        most: that may be.
        size: that are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold so many more; fewer where `size` is negative.

        Raises:
            QueueFull: they would be too many. A body that is held alone never is.
        """
        if size > 0 and self.size and self.size + size > self.most:
            raise QueueFull(f"bodies of {self.size} bytes are held; at most {self.most} bytes are")
        self.size += size


class Holding:
    """What one request has of the bytes that are held, until its `with` block is left.

    Attributes:
        size: bytes.
    """

    __slots__ = ("_held", "size")

    def __init__(self, held: Held) -> None:
        self._held = held
        self.size = 0

    def hold(self, size: int) -> None:
        """Hold `size` bytes in all from now on.

        Raises:
            QueueFull: they would be too many; it holds what it held.
        """
        self._held.grow(size - self.size)
        self.size = size

    def __enter__(self) -> Holding:
        return self

    def __exit__(self, *_: object) -> None:
        if self.size:
            self.hold(0)


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """The result of `work`, which runs in the caller's own task.

    Raises:
        SlowBody: it took longer, and was cancelled.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    late = False

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    alarm = asyncio.get_running_loop().call_later(seconds, end)
    try:
        return await work
    except asyncio.CancelledError:
        if not late:
            raise
        if sys.version_info >= (3, 11) and task.uncancel() > 0:
            raise  # somebody else cancelled this task as well, and must see it end so
        raise SlowBody from None
    finally:
        alarm.cancel()


def declared_size(content_length: bytes | None, limit: int) -> int | None:
    """The size that a body is said to have.

    A body above `limit` bytes is not kept, but as much again is read and thrown away, so that the client gets
    to read why; beyond that it is refused at once.

    Raises:
        MalformedRequest: the header is no number.
        RequestTooLarge: more than twice the limit.
    """
    if content_length is None:
        return None
    if not content_length.isdigit() or len(content_length) > 19:
        raise MalformedRequest(f"content-length is {show(content_length.decode('latin-1'))}, not a number")
    declared = int(content_length)
    if declared > 2 * limit:
        raise too_large(declared, limit)
    return declared


async def collected(
    message: Message, receive: Receive, declared: int | None, limit: int, kept: int, holding: Holding
) -> tuple[bytes, int]:
    """A body that comes in pieces, of which `message` is the first, and its size.

    Args:
        message: the first of the server's messages.
        receive: gives the next ones.
        declared: what `declared_size` said.
        limit: bytes that a body may have.
        kept: bytes that are kept at most; of a larger body nothing is, though it is read to its end.
        holding: holds what is kept.

    Raises:
        ClientLeft: the client closed the connection within it.
        RequestTooLarge: more than twice the limit.
        QueueFull: others are held and leave it no room. It is read to its end all the same.
    """
    chunks: list[bytes] = []
    size = 0
    refused: QueueFull | None = None
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > 2 * limit:
            raise too_large(declared, limit)
        if size <= kept and refused is None:
            try:
                holding.hold(size)
                chunks.append(chunk)
            except QueueFull as error:
                refused = error
        if size > kept or refused is not None:
            chunks.clear()
            holding.hold(0)
        if not message.get("more_body", False):
            break
        message = await receive()
    if refused is not None and size <= kept:
        raise refused
    return b"".join(chunks), size


def too_large(declared: int | None, limit: int) -> RequestTooLarge:
    """The error for a body past its limit."""
    found = f"more than {limit}" if declared is None else declared
    return RequestTooLarge(f"the body has {found} bytes; at most {limit} are taken")


async def uncoded(body: bytes, content_encoding: bytes, limit: int) -> bytes:
    """The body as it was before its coding.

    Raises:
        UnsupportedMedia: an unknown coding.
        MalformedRequest: the body is not in that coding.
        RequestTooLarge: it becomes larger than the limit.
    """
    coding = coding_named(content_encoding)
    if coding is None:
        return body
    if len(body) <= _QUICKLY_INFLATED_BYTES:
        return inflated(body, coding, limit)
    return await asyncio.to_thread(inflated, body, coding, limit)


async def coded(body: bytes, fields: Fields, accept_encoding: bytes) -> tuple[bytes, Fields]:
    """An answer in the coding that its client wants, or as it is.

    Most HTTP libraries say of themselves what they can read. Tensors' bytes hardly become smaller, so they are coded
    only for a client that names one coding alone, as tritonclient does when it is told to; JSON is coded for all.

    Args:
        body: as it is.
        fields: its header fields, `content-length` last.
        accept_encoding: the client's header.
    """
    if len(body) < _LEAST_CODED_BYTES or len(accept_encoding) > _LONGEST_ACCEPT_BYTES:
        return body, fields
    coding, alone = coding_wanted(accept_encoding)
    if coding is None or (not alone and any(name == HEADER_LENGTH for name, _ in fields)):
        return body, fields
    if len(body) <= _QUICKLY_DEFLATED_BYTES:
        octets = deflated(body, coding)
    else:
        octets = await asyncio.to_thread(deflated, body, coding)
    return octets, (
        *(field for field in fields if field[0] != b"content-length"),
        (b"content-encoding", coding),
        (b"vary", b"accept-encoding"),
        (b"content-length", str(len(octets)).encode()),
    )

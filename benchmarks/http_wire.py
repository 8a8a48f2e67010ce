"""HTTP/1.1 as the load's client reads it: answers in place, one buffer a connection. Pure.

Rests on RFC 9112: a status line, header lines, an empty line, and a body of `Content-Length` bytes.
"""

from __future__ import annotations

OK = 200
BUSY = (429, 503)
"""What a server answers that has enough to do; the load counts it as a refusal and goes on."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


class Answers:
    """The answers of one keep-alive connection, one after another, collected in one buffer.

    Attributes:
        room: where the next bytes go; give `take` their number.
        status: of the answer that has just ended.

    Args:
        most_bytes: the longest answer, head and body.
    """

    def __init__(self, most_bytes: int = 1 << 16) -> None:
        self._buffer = bytearray(most_bytes)
        self._view = memoryview(self._buffer)
        self._have = 0
        self._end = 0
        self.room = self._view
        self.status = 0

    def take(self, count: int) -> bool:
        """Note that `count` bytes came in; True when an answer has ended.

        Raises:
            RuntimeError: no Content-Length, more than one answer at once, or an answer that is too long.
        """
        self._have += count
        if not self._end:
            head_end = self._buffer.find(_HEAD_END, 0, self._have)
            if head_end >= 0:
                self._read_head(head_end)
        if self._end == self._have:
            self.room = self._view
            self._have = 0
            return True
        if self._end and self._have > self._end:
            raise RuntimeError(f"{self._have - self._end} bytes more than the answer's Content-Length says")
        self.room = self._view[self._have :]
        if not self.room:
            raise RuntimeError(f"an answer is longer than the {len(self._view)} bytes there are for one")
        return False

    def tail(self, count: int) -> bytes:
        """The last bytes of the answer that has just ended, and get ready for the next one."""
        end, self._end = self._end, 0
        return bytes(self._view[max(0, end - count) : end])

    def _read_head(self, head_end: int) -> None:
        self.status = int(self._buffer[9:12])
        head = self._buffer[:head_end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise RuntimeError(f"an answer without Content-Length: {bytes(head)!r}")
        begin = at + len(_LENGTH)
        line_end = head.find(b"\r\n", begin)
        length = int(head[begin : line_end if line_end >= 0 else head_end])
        self._end = head_end + len(_HEAD_END) + length

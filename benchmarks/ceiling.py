"""A server that does nothing but read a request and answer: what the load's client can do at most.

    python -m benchmarks.ceiling PORT BYTES_OF_A_REQUEST

It looks at no header: each connection gets an answer for every so many bytes. uvloop drives it, so that most of its
cost is the kernel's.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = b"a trivial one"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
_ROOM = 1 << 20


class _Trivial(asyncio.BufferedProtocol):
    room = memoryview(bytearray(_ROOM))  # one for all: nothing of it is kept

    def __init__(self, request_bytes: int) -> None:
        self._request_bytes = request_bytes
        self._have = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own kind, which is no subclass of it

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self._have += nbytes
        if self._have >= self._request_bytes:
            self._have -= self._request_bytes
            self._transport.write(_ANSWER)


async def _serve(port: int, request_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Trivial(request_bytes), "127.0.0.1", port, backlog=256)
    await server.serve_forever()


def main(port: str, request_bytes: str) -> None:
    """Serve until Ctrl-C."""
    try:
        uvloop.run(_serve(int(port), int(request_bytes)))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main(*sys.argv[1:])

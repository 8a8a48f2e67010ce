"""A load of HTTP requests from a process of its own: `python -m benchmarks.http_load`.

Bare sockets on one event loop, so that the client takes as little as it can of the cores it shares with the
server. Each connection is keep-alive and has one request under way. A closed loop sends the next request when
the answer is there; an open loop sends when the schedule says, and latency counts from there even when all
connections are taken. Every answer must be 200 and end with what the server answered to the same body alone.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from benchmarks.arrivals import poisson
from benchmarks.node import ROOT

_WARM_S = 0.3
_READY = "ready\n"
_SETTLE_S = 30.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        port: of the server, on 127.0.0.1.
        requests: whole HTTP/1.1 requests in hexadecimal; connection i sends request i, modulo their number.
        tail_bytes: how many bytes at the end of an answer are the model's output.
        connections: how many are kept open.
        seconds: length of the measured part.
        rate_per_s: of the Poisson stream of an open loop; 0 is a closed loop.
        seed: of that stream.
    """

    port: int
    requests: list[str]
    tail_bytes: int
    connections: int
    seconds: float
    rate_per_s: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back in the measured part.

    Attributes:
        latencies_ms: of each answer.
        elapsed_s: to the last answer.
        outputs: the models' outputs to the distinct requests, in hexadecimal.
        client_cpu_s: CPU seconds of this process.
    """

    latencies_ms: list[float]
    elapsed_s: float
    outputs: list[str]
    client_cpu_s: float


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """One whole HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def send(load: Load, *, on_start: Callable[[], None]) -> Seen:
    """Run a load in a process of its own.

    Args:
        load: what to send.
        on_start: called before the measured part, when the client is warm; the client waits for it.

    Raises:
        RuntimeError: the client failed, with what it wrote.
    """
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with client:
        assert client.stdin is not None, "a pipe was asked for"
        assert client.stdout is not None, "a pipe was asked for"
        assert client.stderr is not None, "a pipe was asked for"
        try:
            client.stdin.write(json.dumps(asdict(load)) + "\n")
            client.stdin.flush()
            if client.stdout.readline() == _READY:
                on_start()
                client.stdin.write("go\n")
                client.stdin.flush()
            answer, trouble = client.stdout.read(), client.stderr.read()
            client.wait()
        finally:
            client.kill()
    if client.returncode:
        raise RuntimeError(f"the client of port {load.port} failed: {trouble.strip().splitlines()[-1]}")
    return Seen(**json.loads(answer))


class _Connection(asyncio.Protocol):
    """One keep-alive connection; each `ask` ends in one call of `answered`.

    Attributes:
        answered: takes the connection and the model's output.
        since: when the request under way was due.
    """

    def __init__(self, load: Load, number: int) -> None:
        self.number = number % len(load.requests)
        self.since = 0.0
        self.answered: Callable[[_Connection, bytes], None]
        self._request = bytes.fromhex(load.requests[self.number])
        self._tail_bytes = load.tail_bytes
        self._received = b""
        self._end = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport), "TCP has such a transport"
        self._transport = transport

    def ask(self, since: float) -> None:
        """Send the request, which was due at `since`."""
        assert self._transport is not None, "create_connection returns when connected"
        self.since = since
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Collect an answer; what is wrong with it ends the client (see `_main`)."""
        self._received += data
        if not self._end:
            head, mark, _ = self._received.partition(b"\r\n\r\n")
            if not mark:
                return
            self._end = len(head) + len(mark) + _content_length(head.decode("latin-1"))
        if len(self._received) >= self._end:
            output = self._received[-self._tail_bytes :]
            self._received, self._end = b"", 0
            self.answered(self, output)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell; nobody closes a connection before the end."""
        raise error or ConnectionResetError("the server closed a connection that was to be kept")


def _content_length(head: str) -> int:
    status, *lines = head.split("\r\n")
    if status.split(" ")[1] != "200":
        raise RuntimeError(f"the server answered {status}")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    raise RuntimeError(f"an answer without Content-Length: {head!r}")


class _Round:
    """Requests over all connections, closed or open, until the last answer.

    Args:
        connections: idle ones.
        expected: the output to each distinct request.
        due: times of an open loop, ascending; None is a closed loop.
        end: when a closed loop sends no more.
    """

    def __init__(
        self, connections: list[_Connection], expected: list[bytes], due: list[float] | None, end: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._expected = expected
        self._coming = None if due is None else deque(due)
        self._end = end
        self._late: deque[float] = deque()
        self._idle = connections
        self._under_way = 0
        self.latencies_ms: list[float] = []
        self.last_answer = 0.0
        self.over: asyncio.Future[_Round] = self._loop.create_future()
        for connection in connections:
            connection.answered = self._answered
        if self._coming is None:
            while self._idle:
                self._ask(time.monotonic())
        else:
            self._send_due()

    def _ask(self, since: float) -> None:
        self._under_way += 1
        self._idle.pop().ask(since)

    def _send_due(self) -> None:
        assert self._coming is not None, "only an open loop has a schedule"
        now = time.monotonic()
        while self._coming and self._coming[0] <= now:
            at = self._coming.popleft()
            if self._idle:
                self._ask(at)
            else:
                self._late.append(at)
        if self._coming:
            # asyncio's clock is time.monotonic on every platform this runs on.
            self._loop.call_at(self._coming[0], self._send_due)

    def _answered(self, connection: _Connection, output: bytes) -> None:
        now = self.last_answer = time.monotonic()
        if output != self._expected[connection.number]:
            raise RuntimeError(f"request {connection.number} was given another answer than when it was alone")
        self.latencies_ms.append((now - connection.since) * 1e3)
        self._under_way -= 1
        self._idle.append(connection)
        if self._late:
            self._ask(self._late.popleft())
        elif self._coming is None and now < self._end:
            self._ask(now)
        elif not self._under_way and not self._coming:
            self.over.set_result(self)


class _Client:
    """Open connections to one server, and what it answers to each request alone."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._connections: list[_Connection] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(self._fail)
        self.outputs: list[bytes] = []

    async def connect(self) -> None:
        """Open all connections and ask each distinct request once, alone."""
        loop = asyncio.get_running_loop()
        for number in range(self._load.connections):
            connection = _Connection(self._load, number)
            await loop.create_connection(partial(_itself, connection), "127.0.0.1", self._load.port)
            self._connections.append(connection)
        for connection in self._connections[: len(self._load.requests)]:
            alone: asyncio.Future[bytes] = loop.create_future()
            connection.answered = partial(_keep, alone)
            connection.ask(time.monotonic())
            self.outputs.append(await self._end_of(alone))

    async def closed(self, seconds: float) -> _Round:
        """A closed loop over all connections."""
        return await self._end_of(
            _Round(list(self._connections), self.outputs, None, time.monotonic() + seconds).over
        )

    async def open(self, rate_per_s: float, seconds: float, seed: int) -> _Round:
        """An open loop over all connections."""
        begin = time.monotonic()
        due = [begin + at for at in poisson(rate_per_s, seconds, seed)]
        return await self._end_of(_Round(list(self._connections), self.outputs, due, begin + seconds).over)

    async def _end_of(self, future: asyncio.Future[T]) -> T:
        waited_for: set[asyncio.Future[Any]] = {future, self._failed}
        timeout_s = self._load.seconds + _SETTLE_S
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_s)
        if self._failed.done():
            self._failed.result()
        if not future.done():
            raise TimeoutError(f"answers are missing after {timeout_s:g} s")
        return future.result()

    def _fail(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A protocol has no caller to raise to: asyncio hands its errors here.
        if not self._failed.done():
            self._failed.set_exception(context.get("exception") or RuntimeError(context["message"]))


def _itself(connection: _Connection) -> _Connection:
    return connection


def _keep(alone: asyncio.Future[bytes], _: _Connection, output: bytes) -> None:
    alone.set_result(output)


async def _main(load: Load) -> Seen:
    client = _Client(load)
    await client.connect()
    await client.closed(_WARM_S)
    sys.stdout.write(_READY)
    sys.stdout.flush()
    sys.stdin.readline()  # the other side reads the server's CPU time first
    begin, cpu = time.monotonic(), time.process_time()
    if load.rate_per_s:
        measured = await client.open(load.rate_per_s, load.seconds, load.seed)
    else:
        measured = await client.closed(load.seconds)
    return Seen(
        measured.latencies_ms,
        measured.last_answer - begin,
        [output.hex() for output in client.outputs],
        time.process_time() - cpu,
    )


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(_main(Load(**json.loads(sys.stdin.readline()))))), sys.stdout)

"""The client that sends a load (`http_load.py`): `python -m benchmarks.http_client`.

Non-blocking sockets on one epoll, so that the client takes as little as it can of the cores it shares with the
server: a request is one `send` of bytes written beforehand, an answer one `recv_into`. Each connection is keep-alive
and has one request under way. A closed loop sends the next request when the answer is there; an open loop sends when
the schedule says, and latency counts from there even when all connections are taken. Every answer must end with what
the server answered to the same body alone.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.arrivals import bursts, poisson
from benchmarks.figures import percentile
from benchmarks.http_load import DONE, READY, Load, Seen
from benchmarks.http_wire import BUSY, OK, Answers
from benchmarks.timer import Timer

_WARM_S = 0.5
_SETTLE_S = 30.0
_GRACE_S = 1.0
"""After the end of an open loop, requests that still wait for a connection are given up."""

_SEND_BUFFER = 1 << 20


class Connection:
    """One keep-alive connection.

    Attributes:
        number: of its request.
        since: when the request under way was due.
        answers: what comes back.
    """

    def __init__(self, load: Load, number: int, peer: socket.socket) -> None:
        self.number = number % len(load.requests)
        self.since = 0.0
        self.answers = Answers()
        self._request = memoryview(bytes.fromhex(load.requests[self.number]))
        self._rest = self._request[:0]
        self._peer = peer

    def ask(self, since: float) -> None:
        """Send the request, which was due at `since`; what does not fit goes with `push`."""
        self.since = since
        sent = self._peer.send(self._request)
        if sent < len(self._request):
            self._rest = self._request[sent:]

    def push(self) -> None:
        """Send more of a request that did not fit at once."""
        while self._rest:
            try:
                self._rest = self._rest[self._peer.send(self._rest) :]
            except BlockingIOError:
                return

    def pull(self) -> bool:
        """Take what came in; True when an answer has ended.

        Raises:
            ConnectionResetError: the server closed a connection that was to be kept.
        """
        try:
            count = self._peer.recv_into(self.answers.room)
        except BlockingIOError:
            return False  # the edge was about room for sending
        if not count:
            raise ConnectionResetError("the server closed a connection that was to be kept")
        return self.answers.take(count)


class Client:
    """Open connections to one server, and what it answers to each request alone."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._timer = Timer()
        self._poll.register(self._timer.fileno(), select.EPOLLIN)
        self.outputs: list[bytes] = []
        for number in range(load.connections):
            peer = socket.create_connection(("127.0.0.1", load.port))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A request should leave in one call; it is made of up to 150 KB.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            peer.setblocking(False)
            self._connections[peer.fileno()] = Connection(load, number, peer)
            self._poll.register(peer.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        for connection in list(self._connections.values())[: len(load.requests)]:
            self.outputs.append(self._alone(connection))

    def _alone(self, connection: Connection) -> bytes:
        """The model's output in the answer to a request that has no company."""
        connection.ask(time.monotonic())
        ended: list[Connection] = []
        self.serve(ended.append, lambda: not ended, time.monotonic() + _SETTLE_S)
        if connection.answers.status != OK:
            raise RuntimeError(f"the server answered {connection.answers.status} to a request alone")
        return connection.answers.tail(self._load.tail_bytes)

    def serve(
        self,
        answered: Callable[[Connection], None],
        going_on: Callable[[], bool],
        deadline: float,
        due: Callable[[], None] | None = None,
    ) -> None:
        """Move bytes while `going_on`; call `answered` at each answer and `due` when the timer expires.

        Raises:
            TimeoutError: it still goes on at the deadline.
        """
        connections, timer = self._connections, self._timer.fileno()
        while going_on():
            events = self._poll.poll(1.0)
            if not events and time.monotonic() > deadline:
                raise TimeoutError("answers are missing")
            for number, event in events:
                if number == timer:
                    self._timer.clear()
                    assert due is not None, "only an open loop sets the timer"
                    due()
                    continue
                connection = connections[number]
                if event & select.EPOLLOUT:
                    connection.push()
                if event & ~select.EPOLLOUT and connection.pull():
                    answered(connection)

    def closed(self, seconds: float) -> Round:
        """A closed loop over all connections."""
        measured = Round(self, self._load.tail_bytes)
        end = time.monotonic() + seconds
        idle = list(self._connections.values())
        under_way = len(idle)

        def answered(connection: Connection) -> None:
            nonlocal under_way
            now = measured.note(connection)
            if now < end:
                connection.ask(now)
            else:
                under_way -= 1

        for connection in idle:
            connection.ask(time.monotonic())
        self.serve(answered, lambda: under_way > 0, end + _SETTLE_S)
        return measured

    def open(self, seconds: float, seed: int) -> Round:
        """An open loop over all connections."""
        load = self._load
        measured = Round(self, load.tail_bytes)
        begin = time.monotonic() + 0.01
        stream = (
            bursts(load.rate_per_s, seconds, load.swing, seed)
            if load.swing
            else poisson(load.rate_per_s, seconds, seed)
        )
        coming = deque(begin + at for at in stream)
        give_up = begin + seconds + _GRACE_S
        late: deque[float] = deque()
        idle = list(self._connections.values())

        def send_due() -> None:
            now = time.monotonic()
            while coming and coming[0] <= now:
                at = coming.popleft()
                if idle:
                    measured.lags_ms.append((now - at) * 1e3)
                    idle.pop().ask(at)
                    now = time.monotonic()
                else:
                    late.append(at)
            if coming:
                self._timer.set(coming[0])

        def answered(connection: Connection) -> None:
            now = measured.note(connection)
            if late and now < give_up:
                connection.ask(late.popleft())
            else:
                idle.append(connection)
            if coming and coming[0] <= now:
                send_due()

        send_due()
        self.serve(
            answered,
            lambda: bool(coming) or len(idle) < load.connections,
            give_up + _SETTLE_S,
            send_due,
        )
        measured.unsent = len(late)
        return measured


class Round:
    """What came back in one round.

    Attributes:
        latencies_ms: of each good answer.
        lags_ms: of each request of an open loop that found a connection: how late the client sent it.
        refused: answers that said that the server has enough to do.
        unsent: requests of an open loop that never found a connection.
        last_answer: when it came.
    """

    def __init__(self, client: Client, tail_bytes: int) -> None:
        self._expected = client.outputs
        self._tail_bytes = tail_bytes
        self.latencies_ms = array("d")
        self.lags_ms = array("d")
        self.refused = self.unsent = 0
        self.last_answer = 0.0

    def note(self, connection: Connection) -> float:
        """Count an answer; the time.

        Raises:
            RuntimeError: a wrong answer, or a status that is neither good nor a refusal.
        """
        now = self.last_answer = time.monotonic()
        answers = connection.answers
        output = answers.tail(self._tail_bytes)
        if answers.status == OK:
            if output != self._expected[connection.number]:
                raise RuntimeError(
                    f"request {connection.number} was given another answer than when it was alone"
                )
            self.latencies_ms.append((now - connection.since) * 1e3)
        elif answers.status in BUSY:
            self.refused += 1
        else:
            raise RuntimeError(f"the server answered {answers.status}")
        return now


def main() -> None:
    """Read a load, warm up, wait for the word to go, and write what was seen."""
    load = Load(**json.loads(sys.stdin.readline()))
    client = Client(load)
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    measure = (lambda seconds, seed: client.open(seconds, seed)) if load.rate_per_s else None
    measure(_WARM_S, load.seed + 1) if measure else client.closed(_WARM_S)
    sys.stdout.write(READY)
    sys.stdout.flush()
    sys.stdin.readline()  # the other side reads the server's CPU time first
    begin, cpu = time.monotonic(), time.process_time()
    measured = measure(load.seconds, load.seed) if measure else client.closed(load.seconds)
    used = time.process_time() - cpu
    sys.stdout.write(DONE)
    sys.stdout.flush()
    seen = Seen(
        latencies_ms=list(measured.latencies_ms),
        elapsed_s=measured.last_answer - begin,
        outputs=[output.hex() for output in client.outputs],
        client_cpu_s=used,
        refused=measured.refused,
        unsent=measured.unsent,
        lag_p99_ms=percentile(measured.lags_ms, 0.99) if measured.lags_ms else 0.0,
    )
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()

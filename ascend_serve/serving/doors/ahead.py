"""Inference over HTTP that is answered ahead of Serve's own work for each request.

Between the HTTP server in a replica and the application in it, Serve takes a good part of the CPU of a small request
(`_direct_ingress_asgi` in ray/serve/_private/replica.py): it finds the route, makes metadata, counts the request and
times it for metrics of its own, and holds it back above `max_ongoing_requests`. `Ahead` stands before all that, as a
middleware (`serving.doors.hook`), and does what of it is of use here:

- *The route* is Serve's to find, once. A path that Serve led to the application's inference is known from then on; all
  others go to Serve each time, its health check among them.
- *The bound* on requests that run at a time is kept, by permits of its own, as many as Serve has for what it sees:
  handles, gRPC, and HTTP that is not answered ahead. Its body is read by then, so a request that waits for a permit is
  accepted: it ends by its deadline, and no more wait than the model's queue has rows (`Patience`).
- *A replica that goes* still finishes what it has: before the application is closed Serve has its HTTP server finish
  the requests in flight (`_perform_graceful_shutdown`), whoever counted them.

What Serve's own metrics, access log and request context tell of requests does not cover those answered ahead; the
replica has metrics of its own (docs/metrics.md). Where Serve has to see a request it does: one that sets a time limit
of Serve's in its header, and every one where Serve put a task between the server and the application, as it does for a
time limit in its options (`http_options.request_timeout_s`) or to run the application on another loop. Where its count
decides on anything, such as the number of replicas, the application shuts its `Gate`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import DeadlineExpired, QueueFull
from ascend_serve.protocol.messages import InferRequest, InferResponse
from ascend_serve.serving.doors.asgi import ASGIApp, Receive, Scope, Send
from ascend_serve.serving.doors.deadlines import left_s, nearest_s

OFFER = "ascend_serve.ahead"
"""Where an application finds, in the scope of a request, the `Offer` to answer the path ahead from now on."""

PERMITS = "ascend_serve.permits"
"""Where it finds, in the scope of a request that is answered ahead, what to hold while it runs (`permitted`)."""

ECHOED = "ascend_serve.echoed"
"""Where it finds a header field that is to be in the answer: the client's id of the request, as Serve answers it."""

ID = b"x-request-id"
MOST_PATHS = 64
"""Paths that are remembered; the models behind them stay as long as the server does."""
_TIME_LIMIT = b"x-request-timeout-seconds"


class Patience(NamedTuple):
    """How long the requests for a model may wait for a permit.

    Attributes:
        requests: that may wait at a time.
        deadline_s: seconds from the end of a request's body to its deadline, where it names none; None: it has none.
    """

    requests: int = 1024
    deadline_s: float | None = None


class Permits:
    """As many as may run at a time, and the line of those that wait, the first in front; one event loop's.

    Attributes:
        free: those that nobody holds; none while anybody waits.
    """

    def __init__(self, most: int) -> None:
        self.free = most
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._waiting: dict[DataPlane, int] = {}

    async def taken(self, plane: DataPlane, most_waiting: int, within_s: float | None) -> None:
        """Return with a permit.

        Args:
            plane: who waits is a request for this model.
            most_waiting: requests for it that may wait.
            within_s: seconds after which it is of no use; None for no limit.

        Raises:
            QueueFull: so many wait.
            DeadlineExpired: there was none in time.
        """
        waiting = self._waiting.get(plane, 0)
        if waiting >= most_waiting:
            raise QueueFull(f"{waiting} requests wait for one that runs to end; that is as many as may")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        alarm = None if within_s is None else loop.call_later(within_s, _expire, turn)
        self._line[turn] = None
        self._waiting[plane] = waiting + 1
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()  # its turn came as its caller left
            raise
        finally:
            self._waiting[plane] -= 1
            self._line.pop(turn, None)
            if alarm is not None:
                alarm.cancel()

    def give_back(self) -> None:
        """Hand a permit to who waits longest, or keep it."""
        while self._line:
            turn, _ = self._line.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class Gate:
    """Whether requests may be answered ahead, and how many may run at a time; an application's, which may change it.

    Args:
        patience: tells, by model, how long its requests may wait by now.

    Attributes:
        permits: held by each of them while it runs; None while the gate is shut.
    """

    def __init__(self, patience: Mapping[DataPlane, Callable[[], Patience]] | None = None) -> None:
        self.permits: Permits | None = None
        self._most: int | None = None
        self._patience = {} if patience is None else patience

    def patience(self, plane: DataPlane) -> Patience:
        """How long requests for a model may wait by now."""
        told = self._patience.get(plane)
        return Patience() if told is None else told()

    def let(self, most: int | None) -> None:
        """Let so many run at a time from now on, beside those that do; None shuts the gate."""
        if most != self._most:
            self._most = most
            self.permits = None if most is None else Permits(most)


async def permitted(
    gate: Gate, permits: Permits, plane: DataPlane, request: InferRequest, deadline_s: float | None
) -> InferResponse:
    """The answer to a request, which runs once there is a permit for it.

    Args:
        gate: tells how long it may wait.
        permits: one of these.
        plane: answers it.
        request: to be answered.
        deadline_s: seconds from now that its door says.

    Raises:
        QueueFull: too many wait.
        DeadlineExpired: its deadline passed while it waited.
        AscendServeError: what the plane raises.
    """
    if permits.free:
        permits.free -= 1
    else:
        came = time.monotonic()
        patience = gate.patience(plane)
        deadline_s = nearest_s(request.parameters, deadline_s, patience.deadline_s)
        await permits.taken(plane, patience.requests, deadline_s)
        try:
            deadline_s = left_s(came, deadline_s)
        except DeadlineExpired:
            permits.give_back()
            raise
    try:
        return await plane.infer(request, deadline_s=deadline_s)
    finally:
        permits.give_back()


def _expire(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(DeadlineExpired("the deadline passed while the request waited for others to end"))


class _Known(NamedTuple):
    """What answers a path, and below which root, as Serve found it."""

    app: ASGIApp
    root: str
    gate: Gate


class Offer:
    """What `Ahead` offers with a request on a path that it does not know: to answer it ahead from now on."""

    def __init__(self, ahead: Ahead, path: str) -> None:
        self._ahead = ahead
        self._path = path
        self._task = asyncio.current_task()

    def take(self, app: ASGIApp, scope: Scope, gate: Gate) -> None:
        """Have `app` called ahead for this path while its gate is open; not where Serve put a task in between.

        Args:
            app: what answers.
            scope: of the request, as Serve led it to the application.
            gate: the application's.
        """
        if asyncio.current_task() is self._task:
            self._ahead.know(self._path, _Known(app, scope.get("root_path", ""), gate))


class Ahead:
    """Answers inference ahead of Serve.

    Args:
        app: what answers all else: Serve.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._known: dict[str, _Known] = {}

    def know(self, path: str, known: _Known) -> None:
        """Answer a path ahead from now on."""
        if len(self._known) < MOST_PATHS:
            self._known[path] = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = None
        for field in scope["headers"]:
            name = field[0]
            if name == _TIME_LIMIT:
                # Nor is it an offer: a limit of 0 switches that of Serve's options off, and with it Serve's task.
                await self._app(scope, receive, send)
                return
            if name == ID and request_id is None:
                request_id = field
        path = scope["path"]
        known = self._known.get(path)
        if known is None or known.gate.permits is None:
            scope[OFFER] = Offer(self, path)
            await self._app(scope, receive, send)
            return
        scope["root_path"] = known.root
        scope[PERMITS] = known.gate.permits
        if request_id is not None:
            scope[ECHOED] = request_id
        await known.app(scope, receive, send)

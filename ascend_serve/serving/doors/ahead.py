"""Inference over HTTP that is answered ahead of Serve's own work for each request.

Between the HTTP server in a replica and the application in it, Serve takes a good part of the CPU of a small request
(`_direct_ingress_asgi` in ray/serve/_private/replica.py): it finds the route, makes metadata, counts the request and
times it for metrics of its own, and holds it back above `max_ongoing_requests`. `Ahead` stands before all that, as a
middleware (`serving.doors.hook`), and does what of it is of use here:

- *The route* is Serve's to find, once. A path that Serve led to the application's inference is known from then on; all
  others go to Serve each time, its health check among them.
- *The bound* on requests that run at a time is kept, by permits of its own, as many as Serve has for what it sees:
  handles, gRPC, and HTTP that is not answered ahead.
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
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from ascend_serve.serving.doors.asgi import ASGIApp, Receive, Scope, Send

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

T = TypeVar("T")


async def permitted(permits: asyncio.Semaphore, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which runs once there is a permit for it."""
    try:
        await permits.acquire()
    except BaseException:
        work.close()
        raise
    try:
        return await work
    finally:
        permits.release()


class Gate:
    """Whether requests may be answered ahead, and how many may run at a time; an application's, which may change it.

    Attributes:
        permits: held by each of them while it runs; None while the gate is shut.
    """

    def __init__(self) -> None:
        self.permits: asyncio.Semaphore | None = None
        self._most: int | None = None

    def let(self, most: int | None) -> None:
        """Let so many run at a time from now on, beside those that do; None shuts the gate."""
        if most != self._most:
            self._most = most
            self.permits = None if most is None else asyncio.Semaphore(most)


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

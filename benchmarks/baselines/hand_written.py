"""What a careful user would write by hand: a bare ASGI replica of Ray Serve that seals a batch when the device is free.

It knows one route, one model and raw bytes: no protocol, no check, no limit, no deadline, no health. So it tells what
Serve's data path takes by itself, and what all that costs beside it. Its process is set as ours is. Deployed by
`serve run` from a config that names `build`. POST takes the raw bytes of one row and answers the raw bytes of its
output.
"""

# No `from __future__ import annotations`: Serve reads the builder's annotations.

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from benchmarks.baselines.device import Device
from benchmarks.baselines.model import Model
from benchmarks.baselines.process import set_as_ours

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Door:
    """The ASGI app over one model.

    Args:
        model: what to load.
    """

    def __init__(self, model: Model) -> None:
        self._device = Device(model)
        self._thread = ThreadPoolExecutor(1)
        self._most = model.largest
        self._waiting: deque[tuple[bytes, asyncio.Future[bytes]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one row."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((parts[0] if len(parts) == 1 else b"".join(parts), answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        output = await answer
        fields = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(output))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": output})

    async def _run(self) -> None:
        """Run batches for as long as somebody waits: each takes all that came while the one before it ran."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            outputs = await loop.run_in_executor(self._thread, self._device.run, [row for row, _ in batch])
            for (_, answer), output in zip(batch, outputs, strict=True):
                if not answer.done():
                    answer.set_result(output)
        self._running = None


async def _lifespan(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


@serve.deployment(
    name="HandWritten",
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0.1, "resources": {"NPU": 1}},
)
@serve.ingress()
class HandWritten:
    """The replica around the door.

    Args:
        model: the fields of `Model`.
    """

    async def __init__(self, model: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        set_as_ours()
        self._door = Door(Model(**model))

    def __serve_build_asgi_app__(self) -> Any:
        """Serve calls this after the constructor."""
        return self._door


def build(args: dict[str, Any]) -> serve.Application:
    """The application; `args` are those of `HandWritten`."""
    application: serve.Application = HandWritten.bind(**args)  # type: ignore[attr-defined]  # Ray types it as the class
    return application

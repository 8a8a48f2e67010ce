"""A load that counts how each of its requests ends, and looks at every answer.

Each client asks again and again, one request at a time. A request that was sent whole counts, whatever becomes of it.
No client gives up by itself before an end would be too late: who looks away sees nothing that is late.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ask = Callable[[Array, float], Coroutine[Any, Any, tuple[str, Array | None]]]
"""Sends rows with a deadline in seconds; the kind of end, and the outputs if it ended well."""

RIGHT, WRONG, UNSENT = "right", "wrong", "not sent"
NO_ROUTES, NO_APPLICATION = "a new proxy's 404", "a new proxy's NOT_FOUND"
"""A proxy that Serve has just started knows no route yet; nobody has accepted the request."""

ALLOWED = frozenset(
    {
        *(RIGHT, NO_ROUTES, NO_APPLICATION, "reset by the proxy", "ActorDiedError", "ActorUnavailableError"),
        *(f"the proxy's {status}" for status in (502, 503, 504)),
        *("gRPC UNAVAILABLE", "gRPC DEADLINE_EXCEEDED", "gRPC RESOURCE_EXHAUSTED"),
    }
)
"""How a request may end under faults behind HAProxy, beside our own errors (`is_allowed`). gRPC's DEADLINE_EXCEEDED and
RESOURCE_EXHAUSTED are among those, since the clients here set gRPC no deadline of their own."""

FAILED, INTERNAL = "the proxy's 500", "the proxy's INTERNAL"
"""Serve's Python proxy says so where HAProxy says 502, and gRPC UNAVAILABLE."""

LATE_S = 1.0
"""An end that comes so long after its deadline is too late."""

GIVE_UP_S = 60.0
"""After its deadline: what has not ended by then never will."""

_FAILED_S = 0.1
"""A client waits so long after a failure at least; it would try for nothing while nobody is there."""

_MADE_UP = 4.0
"""Intervals by which a client may be late without asking less for it."""

_TICK_S = 0.05
_DATATYPES = {"int32": "INT32", "float32": "FP32"}
_DEADLINE = "x-envoy-expected-rq-timeout-ms"


def is_allowed(kind: str) -> bool:
    """Whether a request may end so under faults, with HAProxy in front."""
    return kind in ALLOWED or kind.startswith(("ours ", "our "))


class Stalls:
    """How long this event loop did nothing although it was to: time that no server can be blamed for.

    Attributes:
        total_s: since `watch` began.
    """

    def __init__(self) -> None:
        self.total_s = 0.0

    async def watch(self) -> None:
        """Count, until cancelled."""
        while True:
            begin = time.monotonic()
            await asyncio.sleep(_TICK_S)
            self.total_s += max(0.0, time.monotonic() - begin - 2 * _TICK_S)


class Ends:
    """How requests ended.

    Args:
        late_s: an end that comes so long after its deadline is too late.

    Attributes:
        kinds: number of each kind.
        faults: what must not be, in words.
    """

    def __init__(self, late_s: float = LATE_S) -> None:
        self._late_s = late_s
        self.kinds: Counter[str] = Counter()
        self.faults: list[str] = []

    def note(self, kind: str, took_s: float, deadline_s: float) -> None:
        """Count an end."""
        self.kinds[kind] += 1
        if kind == WRONG or kind.startswith("unknown"):
            self.faults.append(kind)
        if took_s > deadline_s + self._late_s:
            self.faults.append(f"{kind} after {took_s:.1f} s, with {deadline_s:g} s to go")

    @property
    def all_right(self) -> bool:
        """Whether nothing but good answers came."""
        return set(self.kinds) == {RIGHT} and not self.faults


def over_http(client: httpx.AsyncClient, path: str, name: str, said: list[str] | None = None) -> Ask:
    """Ask over HTTP, in the binary form of the protocol.

    Args:
        client: knows where; its own limit of time is above that of the load.
        path: of the request.
        name: of the model's input.
        said: takes what answers said that were none.
    """

    async def ask(rows: Array, deadline_s: float) -> tuple[str, Array | None]:
        raw = rows.tobytes()
        tensor = {
            "name": name,
            "shape": rows.shape,
            "datatype": _DATATYPES[str(rows.dtype)],
            "parameters": {"binary_data_size": len(raw)},
        }
        header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = {
            "Inference-Header-Content-Length": str(len(header)),
            _DEADLINE: str(int(deadline_s * 1e3)),
        }
        try:
            answer = await client.post(path, content=header + raw, headers=headers)
        except httpx.ConnectError:
            return UNSENT, None
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError):
            return "reset by the proxy", None
        if answer.status_code == 200:
            length = int(answer.headers["Inference-Header-Content-Length"])
            shape = json.loads(answer.content[:length])["outputs"][0]["shape"]
            return RIGHT, np.frombuffer(answer.content[length:], "<f4").reshape(shape)
        if said is not None:
            said.append(answer.text[:2000])
        return _told(answer), None

    return ask


def _told(answer: httpx.Response) -> str:
    """The kind of an answer that is none: ours says why in JSON, proxies in plain words or in HTML."""
    if answer.headers.get("content-type", "").startswith("application/json"):
        said = answer.json()
        if set(said) == {"error"}:
            return f"ours {answer.status_code}"
    if answer.status_code == 404 and answer.text.startswith("Path '") and "/-/routes" in answer.text:
        return NO_ROUTES
    if answer.status_code in (500, 502, 503, 504):
        return f"the proxy's {answer.status_code}"
    return f"unknown: {answer.status_code} {answer.text[:200]}"


def over_a_handle(handle: Any) -> Ask:
    """Ask by a Ray handle."""
    from ray.exceptions import RayActorError, RayTaskError

    from ascend_serve.errors import AscendServeError

    async def ask(rows: Array, deadline_s: float) -> tuple[str, Array | None]:
        try:
            return RIGHT, await handle.infer.remote(rows, deadline_s=deadline_s)
        except RayTaskError as error:
            if isinstance(error.cause, AscendServeError):
                return f"our {type(error.cause).__name__}", None
            return f"unknown: {error.cause!r}", None
        except RayActorError as error:
            return type(error).__name__, None  # ActorDiedError, or ActorUnavailableError over gRPC

    return ask


def over_grpc(
    channel: Any, model: str, name: str, said: list[str] | None = None, *, application: str | None = None
) -> Ask:
    """Ask over a channel of `grpc.aio`.

    Args:
        channel: knows where.
        model: the model's name.
        name: of its input.
        said: takes what answers said that were none.
        application: of Serve, where there are several.
    """
    import grpc  # type: ignore[import-untyped]  # ships no types

    from ascend_serve.protocol._pb.messages import message_class

    request_class, answer_class = message_class("ModelInferRequest"), message_class("ModelInferResponse")
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=request_class.SerializeToString,
        response_deserializer=answer_class.FromString,
    )

    async def ask(rows: Array, deadline_s: float) -> tuple[str, Array | None]:
        tensor = {"name": name, "datatype": _DATATYPES[str(rows.dtype)], "shape": rows.shape}
        request = request_class(model_name=model, inputs=[tensor], raw_input_contents=[rows.tobytes()])
        metadata = [(_DEADLINE, str(int(deadline_s * 1e3)))]
        if application is not None:
            metadata.append(("application", application))
        try:
            answer = await call(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if said is not None:
                said.append(f"{error.code().name}: {error.details()}")
            return _told_over_grpc(error.code().name, error.details() or ""), None
        octets = answer.raw_output_contents[0]
        return RIGHT, np.frombuffer(octets, "<f4").reshape(answer.outputs[0].shape)

    return ask


def _told_over_grpc(code: str, details: str) -> str:
    """The kind of an answer that is none, over gRPC."""
    if code == "NOT_FOUND" and "ListApplications" in details:
        return NO_APPLICATION
    # Serve's Python proxy does not know UNAVAILABLE (`get_grpc_response_status` in ray/serve/_private/grpc_util.py).
    if code == "INTERNAL" and details.startswith("The actor died unexpectedly"):
        return INTERNAL
    return f"gRPC {code}"


@asynccontextmanager
async def counted_load(
    asks: Mapping[str, Ask],
    clients: int,
    rows: Callable[[np.random.Generator], tuple[Array, Array]],
    *,
    deadline_s: float = 10.0,
    interval_s: float = 0.03,
    late_s: float = LATE_S,
) -> AsyncIterator[dict[str, Ends]]:
    """Ask from so many clients over each way until the block is left; then wait for every end.

    Args:
        asks: the ways.
        clients: of each way.
        rows: makes a request and its right answer.
        deadline_s: of each request.
        interval_s: mean of what lies between the beginnings of a client's requests, as long as answers come sooner:
            `clients / interval_s` requests come in a second over each way. What comes a little late is made up for.
        late_s: see `Ends`.
    """
    ends = {way: Ends(late_s) for way in asks}
    stalls = Stalls()
    over = asyncio.Event()

    async def client(way: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        due = time.monotonic() + random.exponential(interval_s)
        pause_s = 0.0
        while not await _comes(over, max(due - time.monotonic(), pause_s)):
            given, expected = rows(random)
            begin, stalled_s = time.monotonic(), stalls.total_s
            due = max(due, begin - _MADE_UP * interval_s) + random.exponential(interval_s)
            kind, outputs = await _bounded(asks[way](given, deadline_s), deadline_s + GIVE_UP_S)
            took_s = time.monotonic() - begin - (stalls.total_s - stalled_s)
            if outputs is not None and not is_same(outputs, expected):
                kind = WRONG
            if kind != UNSENT:
                ends[way].note(kind, took_s, deadline_s)
            pause_s = 0.0 if kind == RIGHT else _FAILED_S

    tasks = [
        asyncio.create_task(client(way, 1000 * place + number))
        for place, way in enumerate(asks)
        for number in range(clients)
    ]
    watching = asyncio.create_task(stalls.watch())
    try:
        yield ends
    finally:
        over.set()
        await asyncio.gather(*tasks)
        watching.cancel()


async def _comes(event: asyncio.Event, within_s: float) -> bool:
    """Whether it comes within the time, which is waited for otherwise."""
    try:
        await asyncio.wait_for(event.wait(), within_s)
    except asyncio.TimeoutError:
        return False
    return True


async def _bounded(
    asking: Coroutine[Any, Any, tuple[str, Array | None]], limit_s: float
) -> tuple[str, Array | None]:
    try:
        return await asyncio.wait_for(asking, limit_s)
    except asyncio.TimeoutError:
        return f"unknown: no end within {limit_s:g} s", None


def is_same(outputs: Array, expected: Array) -> bool:
    """Whether outputs are those expected, but for the order in which a device sums."""
    return outputs.shape == expected.shape and np.allclose(outputs, expected, rtol=1e-4, atol=1e-4)

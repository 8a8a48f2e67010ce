"""The HTTP front door, driven as an ASGI server drives it: scope, receive and send by hand; no socket."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import AclDeviceFault, DeadlineExpired, Draining, QueueFull, TicketCancelled
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array
from ascend_serve.repository import EXTENSIONS, Repository
from ascend_serve.serving.doors.asgi import Message
from ascend_serve.serving.doors.deadlines import DEADLINE_NAME
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "double",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.FP32, (-1, 3)),),
    Gears((1, 8)),
)
INFER = "/v2/models/double/infer"
BODY = orjson.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]})
LIMIT = 1 << 12


class Engine:
    """An Inferer that doubles; it can be told to fail, or to run until it is cancelled."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.hold: asyncio.Event | None = None
        self.started = asyncio.Event()
        self.calls = 0
        self.cancelled = False
        self.deadline_s: float | None = None
        self.priority: int | None = None

    async def __call__(
        self,
        tensors: Mapping[str, Array],
        *,
        deadline_s: float | None = None,
        priority: int | None = None,
    ) -> Mapping[str, Array]:
        self.calls += 1
        self.deadline_s, self.priority = deadline_s, priority
        self.started.set()
        if self.error is not None:
            raise self.error
        if self.hold is not None:
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return {"y": tensors["x"] * 2}


@dataclass
class House:
    """The app with what is behind it."""

    engine: Engine = field(default_factory=Engine)
    is_ready: bool = True

    def __post_init__(self) -> None:
        plane = DataPlane(SPEC, self.engine, ready=lambda: self.is_ready, max_rows=4, priority_levels=2)
        self.app = HttpApp(Repository([plane]), Limits(max_body_bytes=LIMIT))

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)


class Wire:
    """One request as a server sees it: gives the body in pieces, then waits for the client to leave."""

    def __init__(
        self,
        pieces: Iterable[bytes] = (BODY,),
        *,
        headers: Mapping[str, str] | None = None,
        path: str = INFER,
        root_path: str = "",
        leaves: bool = False,
        method: str = "POST",
    ) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": root_path,
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        self._pieces = list(pieces)
        self._leaves = leaves
        self.left = asyncio.Event()
        self.taken = 0
        self.sent: list[Message] = []
        self.broken: Exception | None = None

    async def receive(self) -> Message:
        if self.taken < len(self._pieces):
            self.taken += 1
            more = self.taken < len(self._pieces) or self._leaves
            return {"type": "http.request", "body": self._pieces[self.taken - 1], "more_body": more}
        if not self._leaves:
            await self.left.wait()
        if self.broken is not None:
            raise self.broken
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        assert [message["type"] for message in self.sent] == ["http.response.start", "http.response.body"]
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def json(self) -> Any:
        assert type(self.sent[1]["body"]) is bytes, "Ray pickles messages between its proxy and the replica"
        return json.loads(self.sent[1]["body"])


@pytest.fixture
async def house() -> House:
    return House()


# --- doors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/double/ready", {"name": "double", "ready": True}),
        ("/v2/models/double/versions/1/ready", {"name": "double", "ready": True}),
    ],
)
async def test_health_doors(house: House, path: str, body: dict[str, Any]) -> None:
    response = await house.ask("GET", path)
    assert (response.status_code, response.json()) == (200, body)
    assert response.headers["content-type"] == "application/json"
    head = await house.ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


async def test_not_ready_is_503_and_still_live(house: House) -> None:
    house.is_ready = False
    for path in ("/v2/health/ready", "/v2/models/double/ready"):
        response = await house.ask("GET", path)
        assert (response.status_code, response.json()["ready"]) == (503, False)
    assert (await house.ask("GET", "/v2/health/live")).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/double", "/v2/models/double/versions/1"])
async def test_metadata_doors(house: House, path: str) -> None:
    assert (await house.ask("GET", "/v2")).json()["extensions"] == list(EXTENSIONS)
    response = await house.ask("GET", path)
    assert response.json()["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v2/", "/v1", "/v2/health", "/v2/models", "/v2/models/double/confi", INFER + "/", "//v2"],
)
async def test_other_paths_are_404(house: House, path: str) -> None:
    wire = Wire(path=path, method="GET")
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.status == 404
    assert "no such path" in wire.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", INFER, "POST"),
        ("HEAD", INFER, "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/models/double", "GET, HEAD"),
        ("OPTIONS", "/v2/health/live", "GET, HEAD"),
    ],
)
async def test_other_methods_are_405_and_told_which_are_allowed(
    house: House, method: str, path: str, allow: str
) -> None:
    response = await house.ask(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/v1/models", 404), ("PUT", INFER, 405), ("POST", "/v2", 405)]
)
async def test_a_body_sent_to_the_wrong_place_is_read_before_it_is_told_so(
    house: House, method: str, path: str, status: int
) -> None:
    wire = Wire([b"a", b"b", b"c"], method=method, path=path)
    await house.app(wire.scope, wire.receive, wire.send)
    assert (wire.status, wire.taken) == (status, 3)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/other"),
        ("GET", "/v2/models/other/ready"),
        ("POST", "/v2/models/other/infer"),
        ("GET", "/v2/models/double/versions/2"),
        ("POST", "/v2/models/double/versions/2/infer"),
    ],
)
async def test_another_model_or_version_is_404(house: House, method: str, path: str) -> None:
    response = await house.ask(method, path, content=b"not even parsed")
    assert response.status_code == 404
    assert "'other'" in response.json()["error"] or "version '2'" in response.json()["error"]


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/app", "/app" + INFER, 200),
        ("/app/", "/app" + INFER, 200),
        ("/app", INFER, 200),
        ("/app", "/application" + INFER, 404),
        ("/app", "/app", 404),
        ("", "/app" + INFER, 404),
    ],
)
async def test_the_route_prefix_is_taken_off(house: House, root_path: str, path: str, status: int) -> None:
    wire = Wire(root_path=root_path, path=path)
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.status == status


# --- infer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [INFER, "/v2/models/double/versions/1/infer"])
async def test_infer_in_json(house: House, path: str) -> None:
    response = await house.ask("POST", path, content=BODY)
    assert response.status_code == 200
    assert response.json()["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 6.0]}
    ]


async def test_infer_in_binary(house: House) -> None:
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    text = orjson.dumps(
        {
            "id": "7",
            "inputs": [
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
            ],
            "parameters": {"binary_data_output": True},
        }
    )
    response = await house.ask(
        "POST",
        INFER,
        content=text + x.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(text)), "Content-Encoding": "identity"},
    )
    assert response.headers["content-type"] == "application/octet-stream"
    assert int(response.headers["content-length"]) == len(response.content)
    split = int(response.headers["inference-header-content-length"])
    document = json.loads(response.content[:split])
    assert document["id"] == "7"
    assert document["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert response.content[split:] == (x * 2).tobytes()


async def test_a_body_may_come_in_many_pieces(house: House) -> None:
    wire = Wire([BODY[:1], b"", BODY[1:9], BODY[9:]], headers={"content-length": str(len(BODY))})
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.json["outputs"][0]["data"] == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        (b"{", 400, "cannot be read"),
        (b"", 400, "cannot be read"),
        ({"name": "z"}, 400, "model 'double' has no input 'z'; known: x"),
        ({"datatype": "FP64"}, 400, "dtype float64"),
        ({"shape": [3]}, 400, "add a leading batch axis"),
        ({"shape": [5, 3], "data": [0] * 15}, 413, "the request has 5 rows; at most 4"),
        ({"data": [1, 2, "3"]}, 400, "data[2] is '3'"),
    ],
)
async def test_wrong_input_is_answered_with_the_value_and_the_rule(
    house: House, document: Any, status: int, message: str
) -> None:
    if isinstance(document, dict):
        entry = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], **document}
        document = orjson.dumps({"inputs": [entry]})
    response = await house.ask("POST", INFER, content=document)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert house.engine.calls == 0
    assert (await house.ask("POST", INFER, content=BODY)).status_code == 200


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip"])
async def test_a_body_in_an_unknown_coding_is_415(house: House, encoding: str) -> None:
    response = await house.ask("POST", INFER, content=BODY, headers={"Content-Encoding": encoding})
    assert response.status_code == 415
    assert repr(encoding) in response.json()["error"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"content-length": "abc"}, "content-length is 'abc', not a number"),
        ({"content-length": "9" * 5000}, "not a number"),
        ({"content-length": str(len(BODY) + 1)}, f"but the body has {len(BODY)} bytes"),
        ({"content-length": str(len(BODY) - 1)}, f"but the body has {len(BODY)} bytes"),
        ({"inference-header-content-length": "x"}, "Inference-Header-Content-Length is 'x'"),
        ({"inference-header-content-length": "99999"}, "Inference-Header-Content-Length is 99999"),
        (
            {"x-envoy-expected-rq-timeout-ms": "1.5"},
            "header x-envoy-expected-rq-timeout-ms is '1.5', but must be",
        ),
        ({"x-envoy-expected-rq-timeout-ms": "-1"}, "a whole number of milliseconds"),
        ({"x-envoy-expected-rq-timeout-ms": ""}, "a whole number of milliseconds"),
        ({"x-envoy-expected-rq-timeout-ms": "9" * 13}, "a whole number of milliseconds"),
    ],
)
async def test_wrong_headers_are_400(house: House, headers: dict[str, str], message: str) -> None:
    wire = Wire(headers=headers)
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.status == 400
    assert message in wire.json["error"]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT])
async def test_a_body_somewhat_too_large_is_read_to_its_end_and_refused(
    house: House, size: int, declared: bool
) -> None:
    pieces = [bytes(100)] * (size // 100) + [bytes(size % 100)]
    wire = Wire(pieces, headers={"content-length": str(size)} if declared else {})
    await house.app(wire.scope, wire.receive, wire.send)
    assert (wire.status, wire.taken) == (413, len(pieces))
    found = size if declared else f"more than {LIMIT}"
    assert wire.json == {"error": f"the body has {found} bytes; at most {LIMIT} are taken"}


async def test_a_body_declared_far_too_large_is_refused_unread(house: House) -> None:
    wire = Wire([bytes(100)] * 100, headers={"content-length": str(2 * LIMIT + 1)})
    await house.app(wire.scope, wire.receive, wire.send)
    assert (wire.status, wire.taken) == (413, 0)


async def test_a_body_without_end_is_refused_at_twice_the_limit(house: House) -> None:
    wire = Wire([bytes(LIMIT // 4)] * 100)
    await house.app(wire.scope, wire.receive, wire.send)
    assert (wire.status, wire.taken) == (413, 9)


async def test_a_body_of_just_the_limit_is_taken(house: House) -> None:
    wire = Wire([BODY, b" " * (LIMIT - len(BODY))])
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.status == 200


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (QueueFull("64 rows wait", retry_after_s=0.2), 429, "1"),
        (Draining("the replica stops", retry_after_s=2.5), 503, "3"),
        (DeadlineExpired("0.5 s passed"), 504, None),
        (TicketCancelled("gone"), 499, None),
        (AclDeviceFault("acl.rt.synchronize_stream", 507011, "X", "the device failed"), 503, None),
    ],
)
async def test_errors_carry_their_status_and_when_to_retry(
    house: House, error: Exception, status: int, retry_after: str | None
) -> None:
    house.engine.error = error
    response = await house.ask("POST", INFER, content=BODY)
    assert response.status_code == status
    assert response.headers.get("retry-after") == retry_after
    assert response.json() == {"error": str(error)}


async def test_an_unexpected_error_is_500_and_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.engine.error = ZeroDivisionError("by zero")
    with caplog.at_level(logging.ERROR, logger="ascend_serve.serving.doors.http"):
        response = await house.ask("POST", INFER, content=BODY)
    assert response.status_code == 500
    assert response.json() == {"error": "internal error: ZeroDivisionError: by zero"}
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].getMessage() == f"POST {INFER!r} failed"


@pytest.mark.parametrize(
    ("header", "parameters", "deadline_s"),
    [
        (None, {}, None),
        ("250", {}, 0.25),
        ("0", {}, None),
        ("0", {"timeout": 40_000}, 0.04),
        (None, {"timeout": 40_000}, 0.04),
        ("250", {"timeout": 40_000}, 0.04),
        ("30", {"timeout": 40_000}, 0.03),
        ("30", {"timeout": 0}, 0.03),
    ],
)
async def test_the_nearer_deadline_holds(
    house: House, header: str | None, parameters: dict[str, Any], deadline_s: float | None
) -> None:
    document = {**orjson.loads(BODY), "parameters": {**parameters, "priority": 2}}
    headers = {} if header is None else {"X-Envoy-Expected-Rq-Timeout-Ms": header}
    response = await house.ask("POST", INFER, content=orjson.dumps(document), headers=headers)
    assert response.status_code == 200
    assert house.engine.priority == 2
    assert house.engine.deadline_s == pytest.approx(deadline_s)


# --- clients that leave -----------------------------------------------------------------------------


async def test_a_client_that_leaves_while_sending_is_not_answered(house: House) -> None:
    wire = Wire([BODY[:5]], leaves=True)
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.sent == []
    assert house.engine.calls == 0


async def start(house: House, wire: Wire) -> asyncio.Task[None]:
    """A request that has reached the engine and waits there."""
    house.engine.hold = asyncio.Event()
    task = asyncio.ensure_future(_run(house, wire))
    await house.engine.started.wait()
    return task


async def _run(house: House, wire: Wire) -> None:
    await house.app(wire.scope, wire.receive, wire.send)


def _leave(wire: Wire) -> None:
    wire.left.set()


def _break(wire: Wire) -> None:
    wire.broken = ConnectionResetError("gone")
    wire.left.set()


@pytest.mark.parametrize("way", [_leave, _break])
async def test_a_client_that_leaves_cancels_its_inference(house: House, way: Callable[[Wire], None]) -> None:
    wire = Wire()
    task = await start(house, wire)
    way(wire)
    await asyncio.wait_for(task, 5)
    assert house.engine.cancelled
    assert wire.sent == []


async def test_a_server_that_cancels_the_request_sees_it_cancelled(house: House) -> None:
    wire = Wire()
    task = await start(house, wire)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert house.engine.cancelled
    assert wire.sent == []


async def test_neighbours_of_a_client_that_leaves_are_answered(house: House) -> None:
    leaver, stayer = Wire(), Wire()
    first = await start(house, leaver)
    house.engine.started.clear()
    hold = house.engine.hold
    second = asyncio.ensure_future(_run(house, stayer))
    await house.engine.started.wait()
    leaver.left.set()
    await asyncio.wait_for(first, 5)
    assert hold is not None
    hold.set()
    await asyncio.wait_for(second, 5)
    assert stayer.status == 200
    assert leaver.sent == []


async def test_nothing_waits_for_the_client_after_the_answer(house: House) -> None:
    before = asyncio.all_tasks()
    wire = Wire()
    await house.app(wire.scope, wire.receive, wire.send)
    assert wire.status == 200
    wire.left.set()  # a client that leaves now harms nobody
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


# --- lifespan and the rest --------------------------------------------------------------------------


async def test_lifespan_is_answered(house: House) -> None:
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return dict(next(messages))

    async def send(message: Message) -> None:
        sent.append(message)

    await house.app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_a_websocket_is_closed_and_an_unknown_scope_refused(house: House) -> None:
    wire = Wire()
    await house.app({"type": "websocket"}, wire.receive, wire.send)
    assert [message["type"] for message in wire.sent] == ["websocket.close"]
    with pytest.raises(NotImplementedError, match="'carrier-pigeon'"):
        await house.app({"type": "carrier-pigeon"}, wire.receive, wire.send)


def test_a_server_takes_it_for_an_app_of_asgi_3() -> None:
    """Servers such as uvicorn look whether calling it makes a coroutine; else they call it as one of ASGI 2."""
    assert inspect.iscoroutinefunction(type(House().app).__call__)


async def test_the_limit_on_bodies_may_change_while_it_serves(house: House) -> None:
    body = BODY + b" " * (LIMIT - len(BODY))
    assert (await house.ask("POST", INFER, content=body)).status_code == 200
    house.app.limit(Limits(max_body_bytes=LIMIT - 1))
    answer = await house.ask("POST", INFER, content=body)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        f"the body has {LIMIT} bytes; at most {LIMIT - 1} are taken",
    )
    house.app.limit(Limits(max_body_bytes=LIMIT))
    assert (await house.ask("POST", INFER, content=body)).status_code == 200


# --- what bodies may take ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "status", "words"),
    [
        ({"datatype": "BYTES", "shape": [1000, 3]}, 400, "which is BYTES"),
        ({"datatype": "INT8", "shape": [1000, 3]}, 400, "the model takes FP32"),
        ({"name": "z", "datatype": "BYTES", "shape": [3000]}, 400, "has no input 'z'"),
        ({"datatype": "FP32", "shape": [1 << 20, 3]}, 413, "at most 4 rows of 3 are taken"),
        ({"datatype": "FP32", "shape": [1 << 20]}, 413, "at most 4 rows of 3 are taken"),
    ],
)
async def test_no_element_is_read_of_what_the_model_does_not_take(
    house: House, declared: dict[str, Any], status: int, words: str
) -> None:
    # None of these would fit the bytes that follow, which nobody looks at.
    house.app.limit(Limits())
    tensor = {"name": "x", "parameters": {"binary_data_size": 8}, **declared}
    text = orjson.dumps({"inputs": [tensor], "padding": "-" * 4096})
    response = await house.ask(
        "POST", INFER, content=text + bytes(8), headers={"Inference-Header-Content-Length": str(len(text))}
    )
    assert (response.status_code, words in response.json()["error"]) == (status, True), response.text
    tensor = {"name": "x", "data": [None], **declared}
    response = await house.ask(
        "POST", INFER, content=orjson.dumps({"inputs": [tensor], "padding": "-" * 4096})
    )
    assert (response.status_code, words in response.json()["error"]) == (status, True), response.text
    assert house.engine.calls == 0


class SlowWire(Wire):
    """A client that sends some pieces of its body, and then nothing more."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(pieces, leaves=True)

    async def receive(self) -> Message:
        if self.taken == len(self._pieces):
            await asyncio.Event().wait()
        return await super().receive()


@pytest.mark.parametrize("pieces", [[], [BODY[:5]], [BODY[:5], BODY[5:9]]])
async def test_a_body_that_does_not_come_in_time_is_408(pieces: list[bytes]) -> None:
    plane = DataPlane(SPEC, Engine(), ready=lambda: True, max_rows=4)
    failed: list[int] = []
    limits = Limits(max_body_bytes=LIMIT)
    app = HttpApp(Repository([plane]), limits, failed=failed.append, body_s=0.01)
    wire = SlowWire(pieces)
    await asyncio.wait_for(app(wire.scope, wire.receive, wire.send), 10)
    assert (wire.status, wire.headers[b"connection"]) == (408, b"close")
    assert "the body did not come within 0.01 s" in wire.json["error"]
    assert failed == [408]


async def test_who_is_cancelled_while_a_body_comes_is_not_told_that_it_was_slow(house: House) -> None:
    wire = SlowWire([BODY[:5]])
    asked = asyncio.ensure_future(house.app(wire.scope, wire.receive, wire.send))
    while wire.taken == 0:
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_bodies_are_held_up_to_a_bound_and_those_past_it_are_read_and_refused() -> None:
    house = House()
    house.app.limit(Limits(max_body_bytes=len(BODY)))
    house.engine.hold = asyncio.Event()
    wires = [Wire([BODY[:40], BODY[40:]]) for _ in range(9)]
    running = [asyncio.ensure_future(house.app(wire.scope, wire.receive, wire.send)) for wire in wires[:8]]
    while house.engine.calls < 8:
        await asyncio.sleep(0)
    last = wires[8]
    await house.app(last.scope, last.receive, last.send)
    assert (last.status, last.taken, last.headers[b"retry-after"]) == (429, 2, b"1")
    assert "bytes are held; at most" in last.json["error"]
    house.engine.hold.set()
    await asyncio.gather(*running)
    assert [wire.status for wire in wires[:8]] == [200] * 8
    again = Wire([BODY[:40], BODY[40:]])
    await house.app(again.scope, again.receive, again.send)
    assert again.status == 200


@pytest.mark.parametrize("ending", ["left", "too large", "refused", "wrong"])
async def test_whatever_ends_a_request_its_body_is_held_no_longer(ending: str) -> None:
    house = House()
    house.app.limit(Limits(max_body_bytes=2 * len(BODY)))
    if ending == "refused":
        house.engine.error = QueueFull("full")
    pieces = {"left": [BODY], "too large": [BODY] * 3, "wrong": [BODY, b"}"]}.get(
        ending, [BODY[:9], BODY[9:]]
    )
    for _ in range(20):
        wire = Wire(pieces, leaves=ending == "left")
        await house.app(wire.scope, wire.receive, wire.send)
    assert house.app._held.size == 0


async def test_what_decoding_takes_is_taken_from_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    clock = iter([100.0, 100.75, 200.0, 201.5])
    for module in ("http", "deadlines"):
        told = SimpleNamespace(monotonic=lambda: next(clock))
        monkeypatch.setattr(f"ascend_serve.serving.doors.{module}.time", told)
    body = gzip.compress(BODY)
    headers = {"content-encoding": "gzip", DEADLINE_NAME: "1000"}
    assert (await house.ask("POST", INFER, content=body, headers=headers)).status_code == 200
    assert house.engine.deadline_s == pytest.approx(0.25)
    assert (await house.ask("POST", INFER, content=body, headers=headers)).status_code == 504
    assert house.engine.calls == 1

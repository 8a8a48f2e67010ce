"""Inference that is answered ahead of Serve: which requests are, and what Serve still gets to see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.ahead import Ahead, Gate, Patience, Permits
from ascend_serve.serving.doors.asgi import ASGIApp, Message, Receive, Scope, Send
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "double",
    (TensorSpec("x", DataType.FP32, (-1, 2)),),
    (TensorSpec("y", DataType.FP32, (-1, 2)),),
    Gears((1, 4)),
)
INFER = "/app/v2/models/double/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
).encode()


class Engine:
    """Doubles rows once it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()
        self.running = self.most = 0
        self.deadlines: list[Any] = []

    async def __call__(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        self.running += 1
        self.deadlines.append(deadline_s)
        self.most = max(self.most, self.running)
        await self.may.wait()
        self.running -= 1
        return {"y": tensors["x"] * 2}


class Serve:
    """What stands between the server and the application: it takes off the route prefix, and counts."""

    def __init__(self, app: ASGIApp, *, time_limit: bool = False) -> None:
        self._app = app
        self._time_limit = time_limit
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        scope["root_path"] += "/app"
        limit = dict(scope["headers"]).get(b"x-request-timeout-seconds")
        limited = self._time_limit if limit is None else float(limit) > 0
        work = self._app(scope, receive, send)
        await (asyncio.ensure_future(work) if limited else work)


class Replica:
    def __init__(self, *, ahead: int | None = 8, time_limit: bool = False) -> None:
        self.engine = Engine()
        self.patience = Patience()
        plane = DataPlane(SPEC, self.engine, ready=lambda: True, max_rows=4, priority_levels=1)
        self.gate = Gate({plane: lambda: self.patience})
        self.gate.let(ahead)
        self.failed: list[int] = []
        limits = Limits(max_body_bytes=1 << 10)
        http = HttpApp(Repository([plane]), limits, gate=self.gate, failed=self.failed.append)
        self.serve = Serve(http, time_limit=time_limit)
        self.server = Ahead(self.serve)

    async def ask(
        self,
        path: str = INFER,
        method: str = "POST",
        headers: Mapping[bytes, bytes] | None = None,
        body_comes: asyncio.Event | None = None,
        body: bytes = BODY,
    ) -> tuple[int, Mapping[bytes, bytes], Any]:
        """Status, header and JSON of an answer."""
        sent: list[Message] = []
        ended = False

        async def receive() -> Message:
            nonlocal ended
            if ended:
                await asyncio.Event().wait()
            ended = True
            if body_comes is not None:
                await body_comes.wait()
            return {"type": "http.request", "body": body if method == "POST" else b""}

        async def send(message: Message) -> None:
            sent.append(message)

        fields = list((headers or {}).items())
        scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": fields}
        await self.server(scope, receive, send)
        start, answer = sent
        return start["status"], dict(start["headers"]), json.loads(answer["body"] or b"null")


async def test_serve_finds_the_way_once() -> None:
    replica = Replica()
    answers = [(await replica.ask())[::2] for _ in range(3)]
    assert [status for status, _ in answers] == [200] * 3
    assert [told["outputs"][0]["data"] for _, told in answers] == [[2.0, 4.0]] * 3
    assert replica.serve.paths == [INFER]


@pytest.mark.parametrize("path", ["/app/v2/health/ready", "/app/v2/models/double", "/app/none", "/-/healthz"])
async def test_what_is_no_inference_goes_to_serve(path: str) -> None:
    replica = Replica()
    await replica.ask()
    for _ in range(2):
        await replica.ask(path, "GET")
    assert replica.serve.paths == [INFER, path, path]


@pytest.mark.parametrize("limit", [b"0", b"1", b"-1"])
async def test_a_time_limit_in_the_header_goes_to_serve(limit: bytes) -> None:
    replica = Replica()
    for headers in ({}, {b"x-request-timeout-seconds": limit}, {}):
        assert (await replica.ask(headers=headers))[0] == 200
    assert replica.serve.paths == [INFER, INFER]


async def test_where_serve_has_a_time_limit_it_sees_all() -> None:
    replica = Replica(time_limit=True)
    for _ in range(3):
        assert (await replica.ask())[0] == 200
    assert replica.serve.paths == [INFER] * 3


async def test_no_client_switches_off_the_time_limit_of_others() -> None:
    replica = Replica(time_limit=True)
    for headers in ({}, {b"x-request-timeout-seconds": b"0"}, {}, {}):
        assert (await replica.ask(headers=headers))[0] == 200
    assert replica.serve.paths == [INFER] * 4


async def test_where_serve_is_to_count_it_sees_all() -> None:
    replica = Replica(ahead=None)
    for _ in range(3):
        assert (await replica.ask())[0] == 200
    assert replica.serve.paths == [INFER] * 3


@pytest.mark.parametrize("sent", [b"mine", b""])
async def test_an_id_that_a_client_sends_comes_back(sent: bytes) -> None:
    replica = Replica()
    await replica.ask()
    for method, status in (("POST", 200), ("GET", 405)):
        told, fields, _ = await replica.ask(method=method, headers={b"x-request-id": sent})
        assert (told, fields[b"x-request-id"]) == (status, sent)
    assert b"x-request-id" not in (await replica.ask())[1]


async def test_the_gate_may_be_shut_and_opened_while_a_replica_serves() -> None:
    replica = Replica()
    for most, seen in ((8, 1), (None, 3), (2, 3)):
        replica.gate.let(most)
        for _ in range(2):
            assert (await replica.ask())[0] == 200
        assert len(replica.serve.paths) == seen


async def test_who_sends_slowly_holds_up_nobody() -> None:
    replica = Replica(ahead=1)
    await replica.ask()
    body_comes = asyncio.Event()
    slow = asyncio.ensure_future(replica.ask(body_comes=body_comes))
    await asyncio.sleep(0)
    assert (await asyncio.wait_for(replica.ask(), 10))[0] == 200
    body_comes.set()
    assert (await slow)[0] == 200


async def test_who_leaves_the_line_leaves_its_place_to_others() -> None:
    replica = Replica(ahead=1)
    await replica.ask()
    replica.engine.may.clear()
    first, leaver, third = (asyncio.ensure_future(replica.ask()) for _ in range(3))
    for _ in range(20):
        await asyncio.sleep(0)
    leaver.cancel()
    replica.engine.may.set()
    assert [(await each)[0] for each in (first, third)] == [200, 200]
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_no_more_run_at_a_time_than_serve_would_let() -> None:
    replica = Replica(ahead=2)
    await replica.ask()
    replica.engine.may.clear()
    asked = [asyncio.ensure_future(replica.ask()) for _ in range(5)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert replica.engine.running == 2
    replica.engine.may.set()
    assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 5
    assert replica.engine.most == 2


async def test_what_is_wrong_is_told_as_ever() -> None:
    replica = Replica()
    await replica.ask()
    status, fields, told = await replica.ask(method="GET")
    assert (status, fields[b"allow"]) == (405, b"POST")
    assert "error" in told
    assert replica.failed == [405]
    assert replica.serve.paths == [INFER]


# --- the line for permits -------------------------------------------------------------------------


async def full(replica: Replica, asked: int) -> list[asyncio.Task[Any]]:
    """So many requests, of which as many run as may."""
    await replica.ask()
    replica.engine.may.clear()
    tasks = [asyncio.ensure_future(replica.ask()) for _ in range(asked)]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("said_by", ["header", "parameter", "default"])
async def test_a_deadline_holds_while_a_request_waits_for_a_permit(said_by: str) -> None:
    replica = Replica(ahead=1)
    first = await full(replica, 1)
    headers, body = {}, BODY
    if said_by == "header":
        headers = {b"x-envoy-expected-rq-timeout-ms": b"20"}
    elif said_by == "parameter":
        body = json.dumps({**json.loads(BODY), "parameters": {"timeout": 20_000}}).encode()
    else:
        replica.patience = Patience(8, 0.02)
    status, _, told = await asyncio.wait_for(replica.ask(headers=headers, body=body), 10)
    assert (status, told) == (
        504,
        {"error": "the deadline passed while the request waited for others to end"},
    )
    assert replica.failed == [504]
    replica.patience = Patience()
    replica.engine.may.set()
    assert (await first[0])[0] == 200
    assert (await replica.ask())[0] == 200
    assert replica.engine.most == 1


async def test_what_it_waited_is_taken_from_its_deadline() -> None:
    replica = Replica(ahead=1)
    first = await full(replica, 1)
    waiter = asyncio.ensure_future(replica.ask(headers={b"x-envoy-expected-rq-timeout-ms": b"60000"}))
    await settle()
    replica.engine.may.set()
    assert [(await each)[0] for each in (*first, waiter)] == [200, 200]
    assert 0 < replica.engine.deadlines[-1] < 60


async def test_no_more_wait_than_the_models_queue_has_rows() -> None:
    replica = Replica(ahead=1)
    replica.patience = Patience(2)
    tasks = await full(replica, 3)
    status, fields, told = await replica.ask()
    assert (status, fields[b"retry-after"]) == (429, b"1")
    assert "2 requests wait" in told["error"]
    replica.engine.may.set()
    assert [(await each)[0] for each in tasks] == [200] * 3
    assert (await replica.ask())[0] == 200


async def test_bodies_that_wait_are_bounded_by_their_bytes() -> None:
    replica = Replica(ahead=1)
    tasks = await full(replica, 1 + 8 * (1 << 10) // len(BODY))
    status, _, told = await replica.ask()
    assert status == 429
    assert "bytes are held" in told["error"]
    replica.engine.may.set()
    assert {(await each)[0] for each in tasks} == {200}


async def test_those_that_wait_have_their_turn_in_the_order_in_which_they_came() -> None:
    permits = Permits(1)
    permits.free = 0
    plane = DataPlane(SPEC, Engine(), ready=lambda: True, max_rows=4)
    turns: list[int] = []

    async def wait(number: int) -> None:
        await permits.taken(plane, 9, None)
        turns.append(number)

    tasks = [asyncio.ensure_future(wait(number)) for number in range(4)]
    await settle()
    permits.give_back()
    tasks[0].cancel()  # its turn has come, and it never takes it
    tasks[2].cancel()
    await settle()
    assert turns == [1]
    permits.give_back()
    await settle()
    assert turns == [1, 3]
    permits.give_back()
    assert permits.free == 1
    assert not permits._line

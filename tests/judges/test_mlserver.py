"""The same requests to MLServer and to us: what both tell is to mean the same.

MLServer is another implementation of the protocol, with the same small model in it. Compared are the kind of status and
what the protocol says about the body; wording, order of keys and parameters of its own are each server's affair. Over
gRPC the codes of refusals are, too: MLServer has INVALID_ARGUMENT, or UNKNOWN, for whatever is wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest

from ascend_serve.protocol._pb.messages import message_class
from tests.judges import environments
from tests.judges.conftest import CLIENTS, Judged
from tests.serve.tools import eventually, free_port

pytestmark = pytest.mark.judge

INFER = "/v2/models/simple/infer"
ROW = list(range(16))


def tensor(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1, 16], "datatype": "INT32", "data": ROW, **fields}


def both(**fields: Any) -> dict[str, Any]:
    return {"inputs": [tensor("INPUT0"), tensor("INPUT1", data=[3] * 16)], **fields}


class Address(NamedTuple):
    """Where a server is asked.

    Attributes:
        http: base URL.
        grpc: host and port.
    """

    http: str
    grpc: str


def address_of(run: Judged) -> Address:
    return Address(f"http://{run.http}", run.grpc)


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("mlserver")
    shutil.copytree(CLIENTS / "mlserver_model", folder, dirs_exist_ok=True)
    ports = {f"{name}_port": free_port() for name in ("http", "grpc", "metrics")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [environments.python("mlserver").with_name("mlserver"), "start", folder]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=dict(os.environ))
    url = f"http://127.0.0.1:{ports['http_port']}"
    address = Address(url, f"127.0.0.1:{ports['grpc_port']}")

    def ready() -> bool:
        assert server.poll() is None, Path(folder / "log").read_text()[-2000:]
        try:
            return httpx.get(f"{url}/v2/models/simple/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually("MLServer is ready", ready)
        eventually("MLServer's gRPC answers", lambda: told_by(address, "ServerLive")[0] is grpc.StatusCode.OK)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def asked(url: str, method: str, path: str, body: Any) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if content is not None else {}
    answer = httpx.request(method, url + path, content=content, headers=headers, timeout=60)
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, None


def told_by(address: Address, rpc: str, **fields: Any) -> tuple[grpc.StatusCode, Any]:
    """What a server answers over gRPC: the code and, if it is OK, the message."""
    with grpc.insecure_channel(address.grpc, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            f"/inference.GRPCInferenceService/{rpc}",
            request_serializer=message_class(f"{rpc}Request").SerializeToString,
            response_deserializer=message_class(f"{rpc}Response").FromString,
        )
        try:
            return grpc.StatusCode.OK, call(message_class(f"{rpc}Request")(**fields), timeout=60)
        except grpc.RpcError as error:
            return error.code(), None


def input_of(name: str, rows: int = 1, **fields: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "INT32", "shape": [rows, 16], **fields}


def as_contents(*rows: list[int], **fields: Any) -> dict[str, Any]:
    """A request with typed contents."""
    values = [value for row in rows for value in row]
    inputs = [input_of(name, len(rows), contents={"int_contents": values}) for name in ("INPUT0", "INPUT1")]
    return {"model_name": "simple", "inputs": inputs, **fields}


def as_bytes(*rows: list[int], **fields: Any) -> dict[str, Any]:
    """The same with the elements as bytes."""
    octets = np.array(rows, np.int32).tobytes()
    inputs = [input_of(name, len(rows)) for name in ("INPUT0", "INPUT1")]
    return {"model_name": "simple", "inputs": inputs, "raw_input_contents": [octets] * 2, **fields}


def arrays_of(response: Any) -> list[tuple[str, str, list[int], list[int]]]:
    """Name, datatype, shape and elements of each output, in whichever form they came."""
    found = []
    for place, output in enumerate(response.outputs):
        values = list(output.contents.int_contents)
        if response.raw_output_contents:
            values = np.frombuffer(response.raw_output_contents[place], np.int32).tolist()
        found.append((output.name, output.datatype, list(output.shape), values))
    return found


def meant(document: Any) -> Any:
    """What an answer of inference or metadata means, without parameters that a server adds."""
    if isinstance(document, list):
        return [meant(each) for each in document]
    if isinstance(document, dict):
        return {key: meant(value) for key, value in document.items() if key != "parameters"}
    return document


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", INFER, both()),
        ("POST", INFER, both(id="q-1")),
        ("POST", INFER, both(parameters={"unknown": 1})),
        ("POST", INFER, both(outputs=[{"name": "OUTPUT1"}])),
        ("POST", INFER, both(outputs=[{"name": "OUTPUT1"}, {"name": "OUTPUT0"}])),
        ("POST", INFER, {"inputs": [tensor("INPUT0", data=[ROW]), tensor("INPUT1", data=[ROW])]}),
        (
            "POST",
            INFER,
            {"inputs": [tensor(name, shape=[2, 16], data=ROW * 2) for name in ("INPUT0", "INPUT1")]},
        ),
        ("POST", "/v2/repository/index", {}),
        ("POST", "/v2/repository/index", {"ready": True}),
    ],
)
def test_what_is_right_is_answered_the_same(
    simple: Judged, mlserver: Address, method: str, path: str, body: Any
) -> None:
    theirs = asked(mlserver.http, method, path, body)
    ours = asked(f"http://{simple.http}", method, path, body)
    assert theirs[0] == ours[0] == 200
    if path == INFER and "id" not in body:
        theirs[1].pop("id")  # MLServer makes one up; the protocol wants it echoed where it was sent
    assert meant(ours[1]) == meant(theirs[1])


def test_the_signature_is_the_same(simple: Judged, mlserver: Address) -> None:
    for key in ("name", "inputs", "outputs"):
        (_, theirs), (_, ours) = (
            asked(each.http, "GET", "/v2/models/simple", None) for each in (mlserver, address_of(simple))
        )
        assert meant(ours[key]) == meant(theirs[key])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2", None),
        ("GET", "/v2/health/live", None),
        ("GET", "/v2/health/ready", None),
        ("GET", "/v2/models/simple/ready", None),
        ("GET", "/v2/docs/dataplane.json", None),
        ("GET", "/v2/models/other", None),
        ("GET", "/v2/models/other/ready", None),
        ("GET", "/v2/nowhere", None),
        ("GET", INFER, None),
        ("POST", "/v2/models/other/infer", both()),
        ("POST", INFER, b"{"),
        ("POST", INFER, b"[]"),
        ("POST", INFER, {}),
        ("POST", INFER, {"inputs": 1}),
        ("POST", INFER, {"inputs": [{"name": "INPUT0"}]}),
        ("POST", INFER, {"inputs": [tensor("INPUT0", datatype="INT33"), tensor("INPUT1")]}),
        ("POST", INFER, {"inputs": [tensor("INPUT0", shape="x"), tensor("INPUT1")]}),
    ],
)
def test_the_kind_of_status_is_the_same(
    simple: Judged, mlserver: Address, method: str, path: str, body: Any
) -> None:
    theirs, _ = asked(mlserver.http, method, path, body)
    ours, told = asked(f"http://{simple.http}", method, path, body)
    assert ours // 100 == theirs // 100
    if ours >= 400:
        assert set(told) == {"error"}
    if 404 in (ours, theirs) or 405 in (ours, theirs):
        assert ours == theirs


@pytest.mark.parametrize(
    "fields",
    [
        as_contents(ROW),
        as_bytes(ROW),
        as_contents(ROW, ROW[::-1]),
        as_bytes(ROW, ROW[::-1]),
        as_bytes(ROW, id="q-1"),
        as_bytes(ROW, model_version="1"),
        as_bytes(ROW, parameters={"unknown": {"int64_param": 1}}),
        as_bytes(ROW, outputs=[{"name": "OUTPUT1"}]),
        as_contents(ROW, outputs=[{"name": "OUTPUT1"}, {"name": "OUTPUT0"}]),
    ],
)
def test_what_is_right_is_answered_the_same_over_grpc(
    simple: Judged, mlserver: Address, fields: dict[str, Any]
) -> None:
    (theirs_code, theirs), (ours_code, ours) = (
        told_by(each, "ModelInfer", **fields) for each in (mlserver, address_of(simple))
    )
    assert theirs_code is ours_code is grpc.StatusCode.OK
    assert arrays_of(ours) == arrays_of(theirs)
    assert (ours.model_name, ours.model_version) == (theirs.model_name, theirs.model_version)
    assert ours.id == fields.get("id", "")
    if ours.id:  # MLServer makes one up where none was sent
        assert ours.id == theirs.id


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [("ServerLive", {}), ("ServerReady", {}), ("ModelReady", {"name": "simple"})],
)
def test_states_are_the_same_over_grpc(
    simple: Judged, mlserver: Address, rpc: str, fields: dict[str, str]
) -> None:
    theirs, ours = (told_by(each, rpc, **fields) for each in (mlserver, address_of(simple)))
    assert ours[0] is theirs[0] is grpc.StatusCode.OK
    assert ours[1] == theirs[1]


def test_the_signature_is_the_same_over_grpc(simple: Judged, mlserver: Address) -> None:
    (_, theirs), (_, ours) = (
        told_by(each, "ModelMetadata", name="simple") for each in (mlserver, address_of(simple))
    )
    assert ours.name == theirs.name
    for side in ("inputs", "outputs"):
        told = [
            [(each.name, each.datatype, list(each.shape)) for each in getattr(answer, side)]
            for answer in (ours, theirs)
        ]
        assert told[0] == told[1]


@pytest.mark.parametrize(
    ("rpc", "fields", "code"),
    [
        ("ModelReady", {"name": "other"}, grpc.StatusCode.NOT_FOUND),
        ("ModelMetadata", {"name": "other"}, grpc.StatusCode.NOT_FOUND),
        ("ModelInfer", {**as_bytes(ROW), "model_name": "other"}, grpc.StatusCode.NOT_FOUND),
        ("ModelInfer", {"model_name": "simple"}, grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", as_contents(ROW[:15]), grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", as_bytes(ROW[:15]), grpc.StatusCode.INVALID_ARGUMENT),
        (
            "ModelInfer",
            {"model_name": "simple", "inputs": as_contents(ROW)["inputs"][:1]},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
def test_what_is_wrong_is_answered_by_neither_over_grpc(
    simple: Judged, mlserver: Address, rpc: str, fields: dict[str, Any], code: grpc.StatusCode
) -> None:
    assert told_by(mlserver, rpc, **fields)[0] is not grpc.StatusCode.OK
    assert told_by(address_of(simple), rpc, **fields)[0] is code

"""What tritonclient sends, byte for byte, at our doors; see data/README.md for how it was recorded.

The client itself is asked by `tests/judges`. Answers are read by hand here, and not by the code that wrote them.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.protocol._pb.messages import message_class
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.grpc import RPCS, GrpcDoors
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

CALLS = json.loads((Path(__file__).parent / "data/tritonclient_calls.json").read_text())
A, B = np.arange(16, dtype=np.int32), np.full(16, 3, np.int32)
MANY = np.arange(64 * 16, dtype=np.int32)
PAIR = {"OUTPUT0": (A + B).tolist(), "OUTPUT1": (A - B).tolist()}
OF_MANY = {"OUTPUT0": (MANY + MANY).tolist(), "OUTPUT1": [0] * len(MANY)}
CLASSES = {"OUTPUT0": [b"18:15", b"17:14", b"16:13"]}


def rows(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DataType.INT32, (-1, 16)) for name in names)


class Simple(GrpcDoors):
    """The model that the calls are for, behind both doors."""

    def __init__(self) -> None:
        spec = ModelSpec("simple", rows("INPUT0", "INPUT1"), rows("OUTPUT0", "OUTPUT1"), Gears((1, 8)))
        self._repository = Repository([DataPlane(spec, self._infer, ready=lambda: True, max_rows=128)])
        self._limits = Limits()
        self.http = HttpApp(self._repository, self._limits)

    async def _infer(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        one, other = tensors["INPUT0"], tensors["INPUT1"]
        return {"OUTPUT0": one + other, "OUTPUT1": one - other}

    # What is known of a call that went wrong.
    code: Any = None
    details = ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return []

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        pass


def wanted(title: str) -> dict[str, list[Any]]:
    """What the call of that title is to be answered with, in the order of the outputs."""
    if title == "infer classes":
        return CLASSES
    if title in ("infer gzip", "infer deflate", "infer many"):
        return OF_MANY
    if title == "infer mixed":
        return dict(reversed(PAIR.items()))
    return PAIR


def elements(datatype: str, raw: bytes) -> list[Any]:
    if datatype == "INT32":
        return np.frombuffer(raw, "<i4").tolist()
    assert datatype == "BYTES"
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found


def tensors_of(body: bytes, header_length: str | None) -> dict[str, list[Any]]:
    if header_length is None:
        return {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    document, raw = json.loads(body[: int(header_length)]), body[int(header_length) :]
    found = {}
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = elements(output["datatype"], raw[:size])
        raw = raw[size:]
    assert not raw
    return found


@pytest.mark.parametrize("call", CALLS["http"], ids=lambda call: call["title"])
async def test_a_call_over_http(call: dict[str, Any]) -> None:
    transport = httpx.ASGITransport(Simple().http)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        client.headers.pop("accept-encoding")
        request = client.build_request(
            call["method"], call["path"], headers=call["headers"], content=base64.b64decode(call["body"])
        )
        answer = await client.send(request, stream=True)
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
    if call["title"] in ("load", "unload"):
        assert answer.status_code == 400
        return
    assert answer.status_code == 200, body
    if not call["title"].startswith("infer"):
        json.loads(body)
        return
    coding = call["headers"].get("Accept-Encoding")
    assert answer.headers.get("content-encoding") == coding
    plain = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[coding](body)
    found = tensors_of(plain, answer.headers.get("inference-header-content-length"))
    assert list(found.items()) == list(wanted(call["title"]).items())


@pytest.mark.parametrize("call", CALLS["grpc"], ids=lambda call: call["title"])
async def test_a_call_over_grpc(call: dict[str, Any]) -> None:
    doors = Simple()
    reply = await getattr(doors, call["rpc"])(base64.b64decode(call["message"]), grpc_context=doors)
    if call["title"] in ("load", "unload"):
        assert "Serve file" in doors.details
        return
    assert doors.code is None, doors.details
    answer = message_class(f"{call['rpc']}Response").FromString(reply.SerializeToString())
    if call["rpc"] == "ModelInfer":
        pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
        found = {output.name: elements(output.datatype, raw) for output, raw in pairs}
        assert found == wanted(call["title"])


def test_the_recording_has_a_call_for_every_rpc() -> None:
    assert {call["rpc"] for call in CALLS["grpc"]} == set(RPCS)

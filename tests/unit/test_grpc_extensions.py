"""What the gRPC doors do beyond the protocol's first page: streams, what is told of models, and tokens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import numpy as np
import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import QueueFull, Unauthenticated
from ascend_serve.protocol import grpc_codec
from ascend_serve.protocol._pb.messages import message_class
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array, ModelStatistics
from ascend_serve.repository import Repository
from ascend_serve.serving.doors import grpc as grpc_doors
from ascend_serve.serving.doors.grpc import OPEN_RPCS, RPCS, GrpcDoors
from ascend_serve.serving.doors.tokens import Tokens
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
TOKEN = "0123456789abcdef"
OK = grpc.StatusCode.OK


class Context:
    """As much of Serve's context as a door may use."""

    def __init__(self, authorization: str = "") -> None:
        self._metadata = [("authorization", authorization)] if authorization else []
        self.code: Any = OK
        self.details = ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        pass


class Replica(GrpcDoors):
    """SPEC behind the doors; rows that begin with a negative number are refused."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        plane = DataPlane(
            SPEC,
            self._infer,
            ready=lambda: True,
            max_rows=8,
            statistics=lambda: ModelStatistics("double", "1", 0, 7),
        )
        self._repository = Repository([plane])
        self._limits = Limits(max_body_bytes=4096)
        self._tokens = tokens

    async def _infer(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        if tensors["x"][0, 0] < 0:
            raise QueueFull("the queue is full")
        return {"y": 2 * tensors["x"]}


def infer_request(first: float = 1.0, *, model: str = "double", number: str = "7", classes: int = 0) -> bytes:
    x = np.array([[first, 2, 3]], "<f4")
    message = message_class("ModelInferRequest")(
        model_name=model, id=number, raw_input_contents=[x.tobytes()]
    )
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    if classes:
        message.outputs.add(name="y").parameters["classification"].int64_param = classes
    octets: bytes = message.SerializeToString()
    return octets


async def ask(replica: Replica, rpc: str, context: Context | None = None, **fields: Any) -> Any:
    request = message_class(f"{rpc}Request")(**fields).SerializeToString()
    reply = await getattr(replica, rpc)(request, grpc_context=context or Context())
    return message_class(f"{rpc}Response").FromString(reply.SerializeToString())


async def stream(replica: Replica, *requests: bytes, context: Context | None = None) -> list[Any]:
    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    kind = message_class("ModelStreamInferResponse")
    replies = replica.ModelStreamInfer(sent(), grpc_context=context or Context())
    return [kind.FromString(reply.SerializeToString()) async for reply in replies]


# --- streams -------------------------------------------------------------------------------------------


async def test_each_request_of_a_stream_has_its_answer() -> None:
    told = await stream(Replica(), *(infer_request(n, number=str(n)) for n in range(5)))
    assert sorted(each.infer_response.id for each in told) == list("01234")
    for each in told:
        assert not each.error_message
        assert each.infer_response.parameters["triton_final_response"].bool_param
        (raw,) = each.infer_response.raw_output_contents
        assert np.frombuffer(raw, "<f4").tolist() == [2.0 * int(each.infer_response.id), 4, 6]


async def test_what_fails_is_told_within_the_stream_and_the_stream_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = await stream(
        Replica(),
        infer_request(-1, number="full"),
        infer_request(model="other", number="other"),
        b"\xff" * 20,
        infer_request(number="well"),
    )
    errors = {each.infer_response.id: each.error_message for each in told}
    assert errors["full"] == "the queue is full"
    assert errors["other"].startswith("no model 'other' here")
    assert "protobuf" in errors[""]
    assert errors["well"] == ""
    assert not caplog.records


async def test_a_defect_of_ours_ends_its_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    replica = Replica()
    replica._repository = None  # type: ignore[assignment]  # whatever goes wrong inside
    (told,) = await stream(replica, infer_request())
    assert told.error_message.startswith("internal error: AttributeError")
    assert "ModelStreamInfer failed" in caplog.text


# --- what is told --------------------------------------------------------------------------------------


async def test_what_runs_for_a_client_that_leaves_between_two_answers_ends_at_once() -> None:
    class Slow(Replica):
        left = False

        async def _infer(self, tensors: Mapping[str, Array], **schedule: Any) -> Mapping[str, Array]:
            if tensors["x"][0, 0] > 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.left = True
                    raise
            return {"y": tensors["x"]}

    async def sent() -> AsyncIterator[bytes]:
        yield infer_request(2.0)
        yield infer_request(1.0)

    replica = Slow()
    replies = replica.ModelStreamInfer(sent(), grpc_context=Context())
    await anext(replies)
    await replies.aclose()
    await asyncio.sleep(0)
    assert replica.left


async def test_configuration_statistics_and_index() -> None:
    replica = Replica()
    config = (await ask(replica, "ModelConfig", name="double")).config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("double", 8, [3])
    for name in ("double", ""):
        (statistics,) = (await ask(replica, "ModelStatistics", name=name)).model_stats
        assert (statistics.name, statistics.inference_count) == ("double", 7)
    (entry,) = (await ask(replica, "RepositoryIndex", ready=True)).models
    assert (entry.name, entry.version, entry.state) == ("double", "1", "READY")


@pytest.mark.parametrize("rpc", ["ModelConfig", "ModelStatistics"])
async def test_another_model_is_not_found(rpc: str) -> None:
    context = Context()
    await ask(Replica(), rpc, context, name="other")
    assert context.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("rpc", ["RepositoryModelLoad", "RepositoryModelUnload"])
async def test_models_are_not_loaded_and_it_says_what_to_do(rpc: str) -> None:
    context = Context()
    await ask(Replica(), rpc, context, model_name="double")
    assert context.code is grpc.StatusCode.UNIMPLEMENTED
    assert "change the Serve file" in context.details


async def test_classes_in_place_of_a_tensor() -> None:
    reply = await Replica().ModelInfer(infer_request(classes=2), grpc_context=Context())
    answer = message_class("ModelInferResponse").FromString(reply.SerializeToString())
    assert [(each.datatype, list(each.shape)) for each in answer.outputs] == [("BYTES", [1, 2])]
    assert answer.raw_output_contents[0] == b"\5\0\0\x006.0:2\5\0\0\x004.0:1"


async def test_bytes_are_read_and_refused_by_the_model() -> None:
    message = message_class("ModelInferRequest")(model_name="double")
    tensor = message.inputs.add(name="x", datatype="BYTES", shape=(1, 3))
    tensor.contents.bytes_contents.extend([b"a", b"", b"\xff"])
    context = Context()
    await Replica().ModelInfer(message.SerializeToString(), grpc_context=context)
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "which is BYTES" in context.details


# --- tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", RPCS)
async def test_without_a_token_health_alone_is_told(rpc: str) -> None:
    for sent, code in (
        ("", "UNAUTHENTICATED"),
        ("Bearer wrong", "UNAUTHENTICATED"),
        (f"Bearer {TOKEN}", "other"),
    ):
        context = Context(sent)
        await getattr(Replica(Tokens([TOKEN])), rpc)(b"", grpc_context=context)
        shut = context.code is grpc.StatusCode.UNAUTHENTICATED
        assert shut is (code == "UNAUTHENTICATED" and rpc not in OPEN_RPCS)


async def test_a_stream_needs_a_token_as_well() -> None:
    replica = Replica(Tokens([TOKEN]))
    context = Context()
    with pytest.raises(Unauthenticated):
        await stream(replica, infer_request(), context=context)
    assert context.code is grpc.StatusCode.UNAUTHENTICATED
    (told,) = await stream(replica, infer_request(), context=Context(f"Bearer {TOKEN}"))
    assert not told.error_message


# --- failures and large contents ------------------------------------------------------------------------


async def test_failures_are_counted_by_code_those_in_streams_too() -> None:
    replica = Replica(Tokens([TOKEN]))
    failed: list[str] = []
    replica._count_failed = failed.append
    context = Context(authorization=f"Bearer {TOKEN}")
    for sent in (infer_request(-1.0), infer_request(model="other"), infer_request(), b"junk"):
        await replica.ModelInfer(sent, grpc_context=context)
    assert failed == ["RESOURCE_EXHAUSTED", "NOT_FOUND", "INVALID_ARGUMENT"]
    await replica.ModelInfer(infer_request(), grpc_context=Context())
    assert failed.pop() == "UNAUTHENTICATED"
    failed.clear()
    answers = await stream(replica, infer_request(-1.0), infer_request(), context=context)
    assert sorted(bool(answer.error_message) for answer in answers) == [False, True]
    assert failed == ["RESOURCE_EXHAUSTED"]
    with pytest.raises(Unauthenticated):
        await stream(replica, infer_request())
    assert failed[1:] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("most", [0, 1 << 16])
async def test_typed_contents_are_read_on_another_thread_where_they_are_large(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(grpc_doors, "_QUICKLY_READ_BYTES", most)
    threads: list[bool] = []
    read = grpc_codec.read

    def seen(*args: Any) -> Any:
        threads.append(threading.current_thread() is not threading.main_thread())
        return read(*args)

    monkeypatch.setattr(grpc_codec, "read", seen)
    message = message_class("ModelInferRequest")(model_name="double")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=(2, 3))
    tensor.contents.fp32_contents.extend([1, 2, 3, 4, 5, 6])
    reply = await Replica().ModelInfer(message.SerializeToString(), grpc_context=Context())
    answer = message_class("ModelInferResponse").FromString(reply.SerializeToString())
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [2, 4, 6, 8, 10, 12]
    assert threads == [most == 0]

"""The gRPC doors without a server: what Ray Serve calls, and every failure as a status."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import pytest

from ascend_serve import errors
from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import AscendServeError, DeadlineUnmet, DeviceError, QueueFull, RequestTooLarge
from ascend_serve.protocol._pb.messages import message_class
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.deadlines import DEADLINE_NAME
from ascend_serve.serving.doors.grpc import (
    RPCS,
    SERVICE,
    STREAMED_RPC,
    GrpcDoors,
    add_GRPCInferenceServiceServicer_to_server,
)
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

DOUBLE = ModelSpec(
    "double",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.FP32, (-1, 3)),),
    Gears((1, 8)),
)
OK = grpc.StatusCode.OK


class Context:
    """As much of Serve's context as a door may use."""

    def __init__(self, **metadata: str) -> None:
        self.metadata = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        self.code: Any = OK
        self.details = ""
        self.trailing: dict[str, str] = {}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self.metadata

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailing.update(trailing_metadata)


class Replica(GrpcDoors):
    """DOUBLE behind the doors; `failure` is raised instead of an answer."""

    def __init__(self, failure: BaseException | None = None, *, ready: bool = True) -> None:
        self.deadlines: list[float | None] = []
        self._failure = failure
        self._repository = Repository([DataPlane(DOUBLE, self._infer, ready=lambda: ready, max_rows=8)])
        self._limits = Limits(max_body_bytes=4096)

    async def _infer(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        self.deadlines.append(deadline_s)
        if self._failure is not None:
            raise self._failure
        return {"y": 2 * tensors["x"]}


def infer_request(rows: int = 2, model: str = "double") -> bytes:
    x = np.arange(3 * rows, dtype="<f4").reshape(rows, 3)
    message = message_class("ModelInferRequest")(model_name=model, id="7", raw_input_contents=[x.tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    octets: bytes = message.SerializeToString()
    return octets


async def ask(replica: Replica, rpc: str, request: bytes, context: Context) -> Any:
    """What Serve makes of the answer, read as the client reads it."""
    reply = await getattr(replica, rpc)(request, grpc_context=context)
    return message_class(f"{rpc}Response").FromString(reply.SerializeToString())


async def test_inference() -> None:
    replica, context = Replica(), Context()
    answer = await ask(replica, "ModelInfer", infer_request(), context)
    assert (answer.model_name, answer.model_version, answer.id) == ("double", "1", "7")
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [0, 2, 4, 6, 8, 10]
    assert list(answer.outputs[0].shape) == [2, 3]
    assert context.code is OK
    assert replica.deadlines == [None]


@pytest.mark.parametrize("ready", [True, False])
async def test_states_and_metadata(ready: bool) -> None:
    replica, context = Replica(ready=ready), Context()
    named = message_class("ModelReadyRequest")(name="double").SerializeToString()
    assert (await ask(replica, "ServerLive", b"", context)).live is True
    assert (await ask(replica, "ServerReady", b"", context)).ready is ready
    assert (await ask(replica, "ModelReady", named, context)).ready is ready
    assert (await ask(replica, "ServerMetadata", b"", context)).name == "ascend_serve"
    model = await ask(replica, "ModelMetadata", named, context)
    assert (model.name, list(model.inputs[0].shape)) == ("double", [-1, 3])
    assert context.code is OK


@pytest.mark.parametrize("rpc", ["ModelReady", "ModelMetadata", "ModelInfer"])
async def test_another_model_is_not_found(rpc: str) -> None:
    context = Context()
    named = message_class("ModelReadyRequest")(name="treble").SerializeToString()
    await ask(Replica(), rpc, infer_request(model="treble") if rpc == "ModelInfer" else named, context)
    assert context.code is grpc.StatusCode.NOT_FOUND
    assert context.details.startswith("no model 'treble' here")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (QueueFull("full", 0.25), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (DeadlineUnmet("too late"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (RequestTooLarge("large"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (DeviceError("ill"), grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_failure_has_its_code_and_its_words(failure: AscendServeError, code: Any) -> None:
    context = Context()
    answer = await ask(Replica(failure), "ModelInfer", infer_request(), context)
    assert not answer.ListFields()
    assert context.code is code
    assert context.details == str(failure)


def test_every_error_names_a_code_that_grpc_has() -> None:
    numbers = {code.value[0] for code in grpc.StatusCode}
    kinds = [
        kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, AscendServeError)
    ]
    assert AscendServeError in kinds
    assert {kind.grpc_status for kind in kinds} <= numbers - {OK.value[0]}


async def test_a_refusal_tells_grpcs_own_retries_when_to_come_again() -> None:
    refused, wrong = Context(), Context()
    await ask(Replica(QueueFull("full", 0.0251)), "ModelInfer", infer_request(), refused)
    assert refused.trailing == {"grpc-retry-pushback-ms": "26"}
    await ask(Replica(RequestTooLarge("large")), "ModelInfer", infer_request(), wrong)
    assert wrong.trailing == {}


async def test_a_request_of_too_many_bytes_is_refused() -> None:
    context = Context()
    await ask(Replica(), "ModelInfer", infer_request(rows=400), context)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most 4096 are taken" in context.details


async def test_long_words_fit_the_trailers_of_stock_clients() -> None:
    context = Context()
    await ask(Replica(DeviceError("\u4e2d\udcff" * 10_000)), "ModelInfer", infer_request(), context)
    octets = context.details.encode()
    assert 2000 < len(octets) <= 2048
    assert context.details.startswith("\u4e2d\\udcff\u4e2d")


async def test_a_fault_of_ours_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    context = Context()
    with caplog.at_level(logging.ERROR):
        await ask(Replica(KeyError("y")), "ModelInfer", infer_request(), context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert context.details == "internal error: KeyError: 'y'"
    assert "ModelInfer failed" in caplog.text


@pytest.mark.parametrize(("value", "deadline_s"), [("250", 0.25), ("0", None), ("00", None), ("1", 0.001)])
async def test_the_deadline_in_the_metadata_is_passed_on(value: str, deadline_s: float | None) -> None:
    replica = Replica()
    await ask(replica, "ModelInfer", infer_request(), Context(application="a", **{DEADLINE_NAME: value}))
    assert replica.deadlines == [deadline_s]


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "\u0665", "9" * 13])
async def test_a_deadline_that_is_no_number_is_refused(value: str) -> None:
    replica, context = Replica(), Context(**{DEADLINE_NAME: value})
    await ask(replica, "ModelInfer", infer_request(), context)
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert DEADLINE_NAME in context.details
    assert replica.deadlines == []


def test_serve_sees_the_context_parameter_and_the_rpcs_name() -> None:
    for rpc in RPCS:
        door = getattr(Replica(), rpc)
        assert door.__name__ == rpc
        assert "grpc_context" in inspect.signature(door).parameters
        assert inspect.iscoroutinefunction(door)


class Server:
    """Keeps what is registered, as Ray Serve's generic server reads it."""

    def __init__(self) -> None:
        self.handlers: tuple[Any, ...] = ()

    def add_generic_rpc_handlers(self, handlers: tuple[Any, ...]) -> None:
        self.handlers = handlers


async def test_the_service_passes_bytes_in_and_serialised_answers_out() -> None:
    server = Server()
    add_GRPCInferenceServiceServicer_to_server(Replica(), server)
    (registered,) = server.handlers
    assert registered.service_name() == SERVICE
    assert set(registered._method_handlers) == {f"/{SERVICE}/{rpc}" for rpc in (*RPCS, STREAMED_RPC)}
    streamed = registered._method_handlers[f"/{SERVICE}/{STREAMED_RPC}"]
    assert streamed.request_streaming
    assert streamed.response_streaming
    handler = registered._method_handlers[f"/{SERVICE}/ServerLive"]
    assert handler.request_deserializer is None
    reply = await handler.unary_unary(b"", grpc_context=Context())
    assert message_class("ServerLiveResponse").FromString(handler.response_serializer(reply)).live

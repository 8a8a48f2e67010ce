"""The gRPC door behind Serve's own gRPC servers: its Python proxy, and the replica's behind HAProxy."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml

from ascend_serve.protocol._pb.messages import message_class
from tests.serve.tools import ROOT, Served, eventually, free_port, listening

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]

BIN = Path(sys.executable).parent
COMMANDS = {"proxy": "serve", "haproxy": "ascend-serve"}
SERVICER = "ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server"
SLOWER = 100.0
LONG_MS = 4000.0 / SLOWER
DEADLINE = "x-envoy-expected-rq-timeout-ms"


class Stub:
    """What a stock client is made of: a channel, the service's name and the protocol's messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, rpc: str, request: Any, **options: Any) -> Any:
        """Send, without waiting: a future that is the call as well."""
        method = self._channel.unary_unary(
            f"/inference.GRPCInferenceService/{rpc}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_class(f"{rpc}Response").FromString,
        )
        return method.future(request, **{"timeout": 60, **options})

    def ask(self, rpc: str, **fields: Any) -> Any:
        return self.call(rpc, message_class(f"{rpc}Request")(**fields)).result()

    def stream(self, rows: Array, models: list[str]) -> Iterator[Any]:
        """One stream with a request for each row, known by its number."""
        method = self._channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=message_class("ModelInferRequest").SerializeToString,
            response_deserializer=message_class("ModelStreamInferResponse").FromString,
        )
        tensor = {"name": "image", "datatype": "FP32", "shape": (1, *rows.shape[1:])}
        requests = [
            message_class("ModelInferRequest")(
                model_name=model, id=str(number), inputs=[tensor], raw_input_contents=[row.tobytes()]
            )
            for number, (row, model) in enumerate(zip(rows, models, strict=True))
        ]
        yield from method(iter(requests), timeout=60)

    def infer(self, rows: Array, *, model: str = "resnet", **options: Any) -> Any:
        tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape}
        request = message_class("ModelInferRequest")(
            model_name=model, id="7", inputs=[tensor], raw_input_contents=[rows.tobytes()]
        )
        return self.call("ModelInfer", request, **options)


class GrpcRun(Served):
    """One application, as `serve run` or as `ascend-serve run` serves it.

    A batch of one row takes `LONG_MS` as it starts, and `SLOWER` times that as it is tested.
    """

    def __init__(self, way: str, scratch: Path, store: Path) -> None:
        self.grpc_port = free_port()
        http = free_port()
        told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
        assert told["http_options"]["host"] == "0.0.0.0"
        told["http_options"]["port"] = http
        told["grpc_options"] = {"port": self.grpc_port, "grpc_servicer_functions": [SERVICER]}
        told["applications"][0]["args"]["batching"] = {
            "policy": "pad_up",
            "slots": 1,
            "in_flight": 1,
            "max_queued_rows": 16,
        }
        file = scratch / "resnet.yaml"
        file.write_text(yaml.safe_dump(told))
        times = scratch / "times.json"
        times.write_text(json.dumps({"models": {"resnet": {"1": LONG_MS, "4": 0.2, "8": 0.2, "16": 0.2}}}))
        variables = {
            "ASCEND_EMULATOR_TIMING": "modelled",
            "ASCEND_EMULATOR_TIMES": str(times),
            "ASCEND_SERVE_STORE": str(store),
        }
        if way == "haproxy":
            for name in ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC"):
                variables[f"RAY_SERVE_{name}_PORT"] = str(free_port())
        super().__init__([str(BIN / COMMANDS[way]), "run", str(file)], http, scratch, **variables)


@pytest.fixture(scope="module")
def runs(socket_folder: Callable[[], Path], store: Path) -> Iterator[dict[str, GrpcRun]]:
    """Both ways, started side by side."""
    runs = {way: GrpcRun(way, socket_folder(), store) for way in COMMANDS}
    yield runs
    for run in runs.values():
        run.end()


@pytest.fixture(scope="module", params=COMMANDS)
def stub(request: pytest.FixtureRequest, runs: dict[str, GrpcRun]) -> Iterator[Stub]:
    run = runs[request.param]
    run.wait_until_ready()
    run.slow_down(SLOWER)
    with grpc.insecure_channel(f"127.0.0.1:{run.grpc_port}", [("grpc.enable_http_proxy", 0)]) as channel:
        stub = Stub(channel)
        eventually("gRPC is routed", lambda: is_ready(stub))
        yield stub


def is_ready(stub: Stub) -> bool:
    call = stub.call("ModelReady", message_class("ModelReadyRequest")(name="resnet"))
    return call.code() is grpc.StatusCode.OK and call.result().ready


def test_inference(stub: Stub, digits: Array, expected: Array) -> None:
    answer = stub.infer(digits[:16]).result()
    assert (answer.model_name, answer.model_version, answer.id) == ("resnet", "1", "7")
    assert [(output.name, output.datatype) for output in answer.outputs] == [("logits", "FP32")]
    logits = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)
    np.testing.assert_array_equal(logits.argmax(axis=1), expected[:16].argmax(axis=1))


def test_states_and_metadata(stub: Stub) -> None:
    assert stub.ask("ServerLive").live
    assert stub.ask("ServerReady").ready
    assert stub.ask("ServerMetadata").name == "ascend_serve"
    model = stub.ask("ModelMetadata", name="resnet")
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("image", "FP32", [-1, 1, 32, 32])]


def test_a_stream_answers_many_requests_and_outlives_a_wrong_one(
    stub: Stub, digits: Array, expected: Array
) -> None:
    names = ["resnet"] * 6
    names[2] = "renset"
    told = list(stub.stream(digits[:6], names))
    assert len(told) == 6
    right = {each.infer_response.id: each.infer_response for each in told if not each.error_message}
    assert sorted(right) == ["0", "1", "3", "4", "5"]
    for number, answer in right.items():
        logits = np.frombuffer(answer.raw_output_contents[0], "<f4")
        assert logits.argmax() == expected[int(number)].argmax()
    (wrong,) = (each for each in told if each.error_message)
    assert (wrong.infer_response.id, "did you mean 'resnet'?" in wrong.error_message) == ("2", True)


def test_configuration_and_statistics(stub: Stub, digits: Array) -> None:
    assert stub.infer(digits[:4]).code() is grpc.StatusCode.OK
    assert stub.ask("ModelConfig", name="resnet").config.max_batch_size >= 16
    (statistics,) = stub.ask("ModelStatistics", name="resnet").model_stats
    assert statistics.execution_count >= 1
    assert statistics.inference_stats.compute_infer.ns > 0


def test_the_application_may_be_named(stub: Stub, digits: Array) -> None:
    call = stub.infer(digits[:16], metadata=[("application", "resnet")])
    assert call.code() is grpc.StatusCode.OK


def test_a_wrong_request_has_its_code_and_its_words(stub: Stub, digits: Array) -> None:
    other = stub.infer(digits[:4], model="renset")
    assert (other.code(), other.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "no model 'renset' here; did you mean 'resnet'?",
    )
    wrong = stub.infer(digits[:4, :, :, :31])
    assert wrong.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "has shape [4, 1, 32, 31], but the model takes" in wrong.details()


def test_stock_serve_listens_where_the_file_says(runs: dict[str, GrpcRun]) -> None:
    run = runs["proxy"]
    run.wait_until_ready()
    found = listening(run.scratch, (run.port, run.grpc_port))
    assert found == {f"proxy {run.port}": {"all"}, f"proxy {run.grpc_port}": {"all"}}


@contextmanager
def a_busy_device(stub: Stub, digits: Array) -> Iterator[Any]:
    """One row runs meanwhile; gives the call that showed it, whose deadline passed in the queue."""
    began = time.monotonic()
    running = stub.infer(digits[:1])

    def late() -> Any:
        assert not running.done(), "no request came behind the long one"
        call = stub.infer(digits[:16], metadata=[(DEADLINE, "100")])
        return call if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED else None

    # Serve may hand the second request to the replica before the first, which then finds the device free.
    yield eventually("a request waits behind the long one", late)
    assert not running.done(), f"the machine is too slow to tell: {time.monotonic() - began:.1f} s"
    assert len(running.result().raw_output_contents[0]) == 40


def test_a_deadline_of_the_metadata_or_of_the_client_ends_the_wait_in_the_queue(
    stub: Stub, digits: Array
) -> None:
    with a_busy_device(stub, digits) as waiting:
        assert "deadline" in waiting.details().lower()
        # Of the client's own deadline Serve tells the replica nothing but that the call is over.
        # Whichever comes first fills the queue.
        both = [stub.infer(digits[:16], timeout=1.5) for _ in range(2)]
        codes = {call.code(): call for call in both}
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        full = codes[grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert "queue" in full.details()
        assert int(dict(full.trailing_metadata())["grpc-retry-pushback-ms"]) >= 0

        def accepted() -> bool:
            return stub.infer(digits[:16], timeout=0.4).code() is grpc.StatusCode.DEADLINE_EXCEEDED

        eventually("the queue has room again", accepted)

"""The profile of a request: samples become layers, and the door that is asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import yaml

from ascend_serve.artifacts.store import Artifact
from ascend_serve.protocol._pb.messages import message_class
from benchmarks import http_profile
from benchmarks.http_load import Load
from benchmarks.http_profile import layers
from benchmarks.servers import Server

pytestmark = pytest.mark.unit

LOOP = "thread (7): AsyncIO Thread: default"


def test_a_librarys_frame_counts_for_the_layer_that_called_it() -> None:
    replica = "Replica._wrap_request (ray/serve/_private/replica.py:2498)"
    told = layers(
        [
            ([LOOP, replica, "__enter__ (contextlib.py:137)"], 3),
            ([LOOP, replica, "RequestReader.read (ascend_serve/protocol/http_heads.py:77)"], 1),
            (
                [
                    LOOP,
                    "flush (ascend_serve/serving/watching/recorder.py:9)",
                    "Metric._record (ray/util/metrics.py:133)",
                ],
                2,
            ),
            ([LOOP, "Thread.run (threading.py:982)"], 4),
        ],
        100.0,
    )
    assert [item for item in told if not item[0].startswith(" ")] == [
        ("the loop itself", 40.0),
        ("Serve's replica", 30.0),
        ("our metrics", 20.0),
        ("our HTTP door", 10.0),
    ]
    assert ("    __enter__ (contextlib.py:137)", 30.0) in told


def test_without_samples_there_are_no_layers() -> None:
    assert layers([], 100.0) == []


def test_the_grpc_door_has_layers_of_its_own() -> None:
    door = "ModelInfer (ascend_serve/serving/doors/grpc.py:41)"
    told = layers(
        [
            ([LOOP, door, "tensors (ascend_serve/protocol/grpc_codec.py:9)", "frombuffer"], 2),
            ([LOOP, "_finish_handler (grpc/aio/_server.py:9)"], 1),
            ([LOOP, door, "submit (ascend_serve/engine/engine.py:9)"], 1),
        ],
        4.0,
    )
    assert [item for item in told if not item[0].startswith(" ")] == [
        ("our gRPC door", 2.0),
        ("gRPC", 1.0),
        ("engine and lane", 1.0),
    ]


def test_a_profile_over_grpc_asks_the_replica_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(http_profile, "free_ports", lambda count: list(range(21000, 21000 + count)))
    spec = SimpleNamespace(name="pictures", output_row_bytes=4)
    artifact = cast(Artifact, SimpleNamespace(fetch=lambda: "/m.om", spec=spec))
    model = http_profile._model(artifact, "image", [1, 4], "UINT8", b"wxyz")
    request = message_class("ModelInferRequest").FromString(model.call)
    assert (request.model_name, list(request.raw_input_contents)) == ("pictures", [b"wxyz"])
    assert list(request.inputs[0].shape) == [1, 4]
    asked: list[tuple[Load, str]] = []

    def send(load: Load, *, on_start: object, client: str) -> None:
        asked.append((load, client))

    monkeypatch.setattr(http_profile, "send", send)
    for variant in (http_profile.GRPC, http_profile.DIRECT):
        plan = http_profile.plan(variant, model, tmp_path)
        server = cast(Server, SimpleNamespace(plan=plan))
        http_profile.ask(server, model, variant, 1.0, lambda: None)
        told = yaml.safe_load((tmp_path / f"{variant.name}.yaml").read_text())
        assert ("grpc_options" in told) is variant.grpc
    (over_grpc, grpc_client), (over_http, http_client) = asked
    assert (over_grpc.requests, grpc_client) == ([model.call.hex()], "benchmarks.grpc_client")
    assert str(over_grpc.port) == plan.environment["RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT"]
    assert (over_http.port, http_client) == (plan.port, "benchmarks.http_client")

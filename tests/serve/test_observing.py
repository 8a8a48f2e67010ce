"""Looking at a live application: its timeline, its profile, doctor on its cluster, and what the dashboard asks for."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.serve.tools import ROOT, exported, infer_binary, metrics_page
from tests.unit.test_metrics_page import QUERIES, metrics_of, summed_by
from tests.unit.trace_rules import check_trace

pytestmark = pytest.mark.serve

LIMIT_S = 120


@pytest.fixture(scope="module", autouse=True)
def application(deploy: Any) -> Any:
    return deploy("watched", num_replicas=2, ray_actor_options={"num_cpus": 0.2, "resources": {"NPU": 1}})


@pytest.fixture
def load(serve_url: str, digits: Any) -> Iterator[None]:
    """Requests without pause, from two clients, while a test looks."""
    over = threading.Event()
    path, body, headers = infer_binary(digits[:3])

    def send() -> None:
        with httpx.Client(base_url=f"{serve_url}/watched", timeout=60) as client:
            while not over.is_set():
                client.post(path, content=body, headers=headers).raise_for_status()

    clients = [threading.Thread(target=send) for _ in range(2)]
    for client in clients:
        client.start()
    yield
    over.set()
    for client in clients:
        client.join(LIMIT_S)


def start(*arguments: str) -> "subprocess.Popen[str]":
    import ray

    environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("ascend-serve")), *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(program: "subprocess.Popen[str]") -> str:
    """What it printed; fails unless it ended well."""
    out, err = program.communicate(timeout=LIMIT_S)
    assert program.returncode == 0, err + out
    return out


def test_a_live_application_is_traced_profiled_and_examined(load: None, tmp_path: Path) -> None:
    trace = start("trace", "watched", "--seconds", "1", "--output", str(tmp_path / "trace.json"))
    doctor = start("doctor", "--json")
    end(trace)
    profile = start("profile", "watched", "--seconds", "1", "--output", str(tmp_path / "profiles"), "--json")
    _check_timeline(json.loads((tmp_path / "trace.json").read_text()))
    _check_doctor(json.loads(doctor.communicate(timeout=LIMIT_S)[0]))
    _check_profiles(json.loads(end(profile)))


def _check_timeline(document: dict[str, Any]) -> None:
    check_trace(document)
    events = document["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}, "one process for each replica"
    kinds = {event.get("cat") for event in events if event["ph"] == "X"}
    assert kinds == {"request", "batch", "device"}
    done = [event for event in events if event.get("cat") == "request" and event["name"] == "3 rows"]
    batches = [event for event in events if event.get("cat") == "batch"]
    runs = [event for event in events if event.get("cat") == "device" and "batch" in event["args"]]
    assert done
    assert batches
    # Each stage of each batch whose run was seen lies within the batch.
    spans = {(event["pid"], event["args"]["batch"]): event for event in batches}
    assert runs
    for run in runs:
        batch = spans[run["pid"], run["args"]["batch"]]
        assert batch["ts"] - 50_000 <= run["ts"]
        assert run["ts"] + run["dur"] <= batch["ts"] + batch["dur"] + 50_000


def _check_doctor(findings: list[dict[str, str]]) -> None:
    told = {(one["check"], one["level"]): one["value"] for one in findings}
    assert "NPU 4, Ascend310P3" in told["Ray", "ok"]
    assert told["fast path", "warning"] == "off, of the Serve that runs"
    assert not [one for one in findings if one["level"] == "error"]


def _check_profiles(summaries: list[dict[str, Any]]) -> None:
    assert len(summaries) == 2, "one for each replica"
    for summary in summaries:
        assert {device["device"] for device in summary["devices"]} == {"0"}
        assert {copies["way"] for copies in summary["copies"]} == {"host to device", "device to host"}


def test_the_dashboards_queries_find_their_metrics(load: None, serve_url: str, grpc_address: str) -> None:
    """Every metric and label of every query is in what Ray exports."""
    import ray

    (node,) = ray.nodes()
    port = node["MetricsExportPort"]
    # Errors are counted once there is one.
    assert httpx.get(f"{serve_url}/watched/v2/none").status_code == 404
    with grpc.insecure_channel(grpc_address, [("grpc.enable_http_proxy", 0)]) as channel:
        metadata = channel.unary_unary("/inference.GRPCInferenceService/ModelMetadata")
        refused = metadata.future(b"\n\x04none", metadata=[("application", "watched")], timeout=60)
        assert refused.code() is grpc.StatusCode.NOT_FOUND

    def all_there() -> bool:
        exposed = _exposed(metrics_page(port))
        return all(
            exposed.get(metric, set()) >= selected | summed_by(query)
            for query in QUERIES.values()
            for metric, selected in metrics_of(query).items()
            if metric != "ray_ascend_serve_refusals_total"
        )

    exported("all metrics of the dashboard are exported", all_there)


def _exposed(text: str) -> dict[str, set[str]]:
    """Metrics of the application, with the labels that a sample of each has."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        sample = re.match(r"(ray_ascend_serve_\w+)\{(.*)\} ", line)
        if sample and 'application="watched"' in sample[2]:
            found.setdefault(sample[1], set()).update(re.findall(r'(\w+)="', sample[2]))
    return found


def test_a_wrong_look_is_refused_and_harms_nothing(application: Any) -> None:
    with pytest.raises(Exception, match="at most 60"):
        application.trace.remote(seconds=600).result(timeout_s=LIMIT_S)
    assert application.trace.remote(seconds=0.01).result(timeout_s=LIMIT_S).models[0].name == "resnet"

"""Several models and versions behind one application, and what changes while it serves."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import yaml
from ascend_emulator import control
from onnx import TensorProto, helper

from tests.serve.deploying import Deploy
from tests.serve.tools import ROOT, eventually, exported, infer_binary, metrics_page, outputs

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
TWO_REPLICAS: dict[str, Any] = {"num_replicas": 2, "graceful_shutdown_wait_loop_s": 0.2}


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Recipes of the model `scale`: `y` is so many times `x`."""
    folder = tmp_path_factory.mktemp("scale")

    def recipe(factor: float) -> Path:
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"])],
            "scale",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        source = folder / f"{factor:g}.onnx"
        onnx.save(model, source)
        told = {
            "name": "scale",
            "source": str(source),
            "inputs": {"x": [-1, 4]},
            "gears": [1, 8],
            "precision": "fp32",
        }
        path = folder / f"{factor:g}.yaml"
        path.write_text(yaml.safe_dump(told))
        return path

    return recipe


@pytest.fixture(scope="module")
def running(deploy: Deploy, scaled: Callable[[float], Path]) -> dict[str, Any]:
    """Handles of all applications of this module, which start side by side."""
    told = yaml.safe_load((ROOT / "deployments/two_models.yaml").read_text())
    (models,) = told["applications"]
    (options,) = models["deployments"]
    versions = [
        {"recipe": str(scaled(factor)), "version": version} for version, factor in (("9", 9.0), ("10", 10.0))
    ]
    deploy.add("two", args=models["args"], **{key: options[key] for key in options if key != "name"})
    deploy.add("versions", args={"models": versions}, user_config={"models": {"scale": {}}})
    deploy.add("halves", args=halves("9", scaled(9.0)), **TWO_REPLICAS)
    deploy.apply()
    from ray import serve

    return {name: serve.get_app_handle(name) for name in deploy.names}


def halves(version: str, recipe: Path) -> dict[str, Any]:
    """Args of an application, two replicas of which run on one card."""
    return {"recipe": str(recipe), "version": version, "replica_npus": 0.5, "replica_cpus": 0.1}


def pair(rows: int = 2) -> dict[str, Array]:
    return {
        "INPUT0": np.arange(rows * 16, dtype=np.int32).reshape(rows, 16),
        "INPUT1": np.ones((rows, 16), np.int32),
    }


def replicas(application: str) -> dict[str, int]:
    """Processes of an application's replicas, by replica."""
    from ray.serve.context import _get_global_client

    (deployment,) = (
        _get_global_client().get_serve_details()["applications"][application]["deployments"].values()
    )
    return {told["replica_id"]: told["pid"] for told in deployment["replicas"] if told["state"] == "RUNNING"}


def test_the_models_of_one_replica_answer_side_by_side(
    running: dict[str, Any], http: httpx.Client, digits: Array, expected: Array
) -> None:
    path, body, headers = infer_binary(digits[:5])
    logits = outputs(http.post(f"/two{path}", content=body, headers=headers))["logits"]
    np.testing.assert_array_equal(logits.argmax(axis=1), expected[:5].argmax(axis=1))
    handle = running["two"]
    for rows in (1, 9, 40):
        found = handle.infer.remote(pair(rows), model="simple").result(timeout_s=60)
        np.testing.assert_array_equal(found["OUTPUT0"], pair(rows)["INPUT0"] + 1)
        np.testing.assert_array_equal(found["OUTPUT1"], pair(rows)["INPUT0"] - 1)
    assert len(replicas("two")) == 1
    assert http.get("/two/v2/health/ready").status_code == 200
    assert http.get("/two/v2/models/simple/ready").json() == {"name": "simple", "ready": True}
    assert [tensor["name"] for tensor in http.get("/two/v2/models/simple").json()["inputs"]] == [
        "INPUT0",
        "INPUT1",
    ]
    with pytest.raises(Exception, match="2 models are here: say which with model=, one of resnet, simple"):
        handle.infer.remote(pair()).result(timeout_s=60)
    assert http.get("/two/v2/models/sample").json() == {
        "error": "no model 'sample' here; did you mean 'simple'?"
    }


def rows_done(**labels: str) -> float:
    """Rows that were answered, as Ray exports them, at these labels."""
    import ray

    (node,) = ray.nodes()
    page = metrics_page(node["MetricsExportPort"])
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("ray_ascend_serve_request_rows_total{")
        and all(f'{label}="{value}"' in line for label, value in labels.items())
    )


def test_metrics_tell_models_apart(running: dict[str, Any]) -> None:
    asked = {"simple": pair(3), "resnet": np.zeros((2, 1, 32, 32), np.float32)}
    for model, tensors in asked.items():
        running["two"].infer.remote(tensors, model=model).result(timeout_s=60)
    labels = {"application": "two", "version": "1", "outcome": "done"}

    def counted() -> bool:
        of_model = [rows_done(model=model, **labels) for model in asked]
        return min(of_model) > 0 and sum(of_model) == rows_done(**labels)

    exported("rows of each model are counted", counted)


def test_versions_are_asked_for_by_number_and_the_highest_is_meant_without_one(
    running: dict[str, Any], http: httpx.Client
) -> None:
    x = np.ones((1, 4), np.float32)
    _, body, headers = infer_binary(x, name="x")
    for path, factor, version in (("", 10, "10"), ("/versions/9", 9, "9"), ("/versions/10", 10, "10")):
        answer = http.post(f"/versions/v2/models/scale{path}/infer", content=body, headers=headers)
        np.testing.assert_allclose(outputs(answer)["y"], factor * x)
        assert f'"model_version":"{version}"' in answer.content.decode("latin-1")
    assert http.get("/versions/v2/models/scale").json()["versions"] == ["9", "10"]
    missing = http.post("/versions/v2/models/scale/versions/8/infer", content=body, headers=headers)
    assert (missing.status_code, missing.json()["error"]) == (
        404,
        "model 'scale' has no version '8'; known: 10, 9",
    )
    handle = running["versions"]
    assert handle.infer.remote(x).result(timeout_s=60)[0, 0] == 10
    assert handle.infer.remote(x, version="9").result(timeout_s=60)[0, 0] == 9


def test_two_replicas_share_one_card(running: dict[str, Any]) -> None:
    pids = set(replicas("halves").values())
    assert len(pids) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", os.environ["RAY_TMPDIR"])
        by_card = [{client.pid for client in card.clients} for card in control.cards("serve-tests")]
    assert [pids & of_card for of_card in by_card if pids & of_card] == [pids]


def test_settings_change_while_it_serves(
    deploy: Deploy, running: dict[str, Any], http: httpx.Client, scaled: Callable[[float], Path]
) -> None:
    _, body, headers = infer_binary(np.ones((3, 4), np.float32), name="x")

    def status() -> int:
        return http.post("/versions/v2/models/scale/infer", content=body, headers=headers).status_code

    before = replicas("versions")
    assert status() == 200
    deploy.change("versions", user_config={"models": {"scale": {"limits": {"max_rows": 2}}}})
    eventually("requests have two rows at most", lambda: status() == 413)
    # What is wrong is not taken, and the replica serves on with what it has.
    deploy.change("versions", user_config={"models": {"scale": {"limits": {"max_row": 3}}}})
    assert status() == 413
    deploy.change(
        "versions",
        user_config={
            "limits": {"max_body_bytes": 1024},
            "models": {"scale": {"batching": {"policy": "fixed", "default_deadline_ms": 5000}}},
        },
    )
    eventually("requests may have three rows again", lambda: status() == 200)
    large = b" " * 1025
    answer = http.post("/versions/v2/models/scale/infer", content=large, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "the body has 1025 bytes; at most 1024 are taken",
    )
    assert replicas("versions") == before


class Asking:
    """Asks without pause, and counts the answers."""

    def __init__(self, url: str, threads: int = 1) -> None:
        self.answers: Counter[Any] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        _, body, headers = infer_binary(np.ones((1, 4), np.float32), name="x")
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                self.answers[self._ask(client, body, headers)] += 1

    def _ask(self, client: httpx.Client, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            answer = client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            return repr(error)
        if answer.status_code != 200:
            return answer.status_code, answer.text
        head = answer.content[: int(answer.headers["Inference-Header-Content-Length"])]
        return json.loads(head)["model_version"], float(outputs(answer)["y"][0, 0])


@pytest.mark.last
def test_a_switch_of_versions_loses_no_request(
    running: dict[str, Any], deploy: Deploy, serve_url: str, scaled: Callable[[float], Path]
) -> None:
    old, new = ("9", 9.0), ("10", 10.0)
    before = set(replicas("halves"))
    with Asking(f"{serve_url}/halves/v2/models/scale/infer") as asking:
        eventually("the first version answers", lambda: asking.answers[old] > 20)
        deploy("halves", args=halves("10", scaled(10.0)), **TWO_REPLICAS)
        eventually(
            "all replicas are new",
            lambda: len(now := set(replicas("halves"))) == 2 and not now & before,
        )
        had = asking.answers[new]
        eventually("the second version answers", lambda: asking.answers[new] > had + 20)
    assert set(asking.answers) == {old, new}, asking.answers

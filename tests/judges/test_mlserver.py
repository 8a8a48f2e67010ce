"""The same requests to MLServer and to us: what both tell is to mean the same.

MLServer is another implementation of the protocol, with the same small model in it. Compared are the kind of status and
what the protocol says about the body; wording, order of keys and parameters of its own are each server's affair.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

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


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlserver")
    shutil.copytree(CLIENTS / "mlserver_model", folder, dirs_exist_ok=True)
    ports = {f"{name}_port": free_port() for name in ("http", "grpc", "metrics")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [environments.python("mlserver").with_name("mlserver"), "start", folder]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=dict(os.environ))
    url = f"http://127.0.0.1:{ports['http_port']}"

    def ready() -> bool:
        assert server.poll() is None, Path(folder / "log").read_text()[-2000:]
        try:
            return httpx.get(f"{url}/v2/models/simple/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually("MLServer is ready", ready)
        yield url
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
    simple: Judged, mlserver: str, method: str, path: str, body: Any
) -> None:
    theirs = asked(mlserver, method, path, body)
    ours = asked(f"http://{simple.http}", method, path, body)
    assert theirs[0] == ours[0] == 200
    if path == INFER and "id" not in body:
        theirs[1].pop("id")  # MLServer makes one up; the protocol wants it echoed where it was sent
    assert meant(ours[1]) == meant(theirs[1])


def test_the_signature_is_the_same(simple: Judged, mlserver: str) -> None:
    for key in ("name", "inputs", "outputs"):
        (_, theirs), (_, ours) = (
            asked(url, "GET", "/v2/models/simple", None) for url in (mlserver, f"http://{simple.http}")
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
    simple: Judged, mlserver: str, method: str, path: str, body: Any
) -> None:
    theirs, _ = asked(mlserver, method, path, body)
    ours, told = asked(f"http://{simple.http}", method, path, body)
    assert ours // 100 == theirs // 100
    if ours >= 400:
        assert set(told) == {"error"}
    if 404 in (ours, theirs) or 405 in (ours, theirs):
        assert ours == theirs

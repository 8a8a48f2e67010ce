"""What the HTTP door does beyond the protocol's first page: extensions, compressed bodies, tokens and bounds."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import (
    AscendServeError,
    DeadlineExpired,
    MalformedRequest,
    QueueFull,
    UnsupportedMedia,
)
from ascend_serve.processing.processor import Payload
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array, ModelStatistics, ServerMetadata
from ascend_serve.protocol.openapi import describe
from ascend_serve.protocol.paths import VERBS, asked_by
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.serving.doors.processing import HookedDoors
from ascend_serve.serving.doors.tokens import Tokens
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

SPEC = ModelSpec(
    "double",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.FP32, (-1, 3)), TensorSpec("h", DataType.FP16, (-1, 3))),
    Gears((1, 8)),
)
INFER = "/v2/models/double/infer"
LIMIT = 1 << 18
TOKEN = "0123456789abcdef"


def request(rows: int = 1, **fields: Any) -> bytes:
    data = np.arange(3 * rows, dtype=np.float32).tolist()
    document = {
        "inputs": [{"name": "x", "shape": [rows, 3], "datatype": "FP32", "data": data}],
        "outputs": [{"name": "y"}],
    }
    return orjson.dumps(document | fields)


class House:
    """The app over a model that doubles."""

    def __init__(self, *versions: str, tokens: Tokens | None = None) -> None:
        self.is_ready = True
        planes = [
            DataPlane(
                SPEC,
                self._double,
                ready=lambda: self.is_ready,
                max_rows=4096,
                version=version,
                statistics=lambda version=version: ModelStatistics("double", version, 1, 2, 3),
                labels={"y": ["zero", "one"]},
            )
            for version in versions or ("1",)
        ]
        self.app = HttpApp(Repository(planes), Limits(max_body_bytes=LIMIT), tokens=tokens)

    async def _double(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None, priority: int | None = None
    ) -> Mapping[str, Array]:
        return {"y": tensors["x"] * 2, "h": tensors["x"].astype(np.float16)}

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            client.headers.pop("accept-encoding", None)
            return await client.request(method, path, **options)


@pytest.fixture
async def house() -> House:
    return House()


# --- what is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["/v2/models/double", "/v2/models/double/versions/1"])
async def test_configuration_and_statistics_of_a_model(house: House, of: str) -> None:
    config = (await house.ask("GET", f"{of}/config")).json()
    assert (config["name"], config["max_batch_size"]) == ("double", 4096)
    assert config["output"][1] == {"name": "h", "data_type": "TYPE_FP16", "dims": [3]}
    (statistics,) = (await house.ask("GET", f"{of}/stats")).json()["model_stats"]
    assert (statistics["name"], statistics["inference_count"], statistics["execution_count"]) == (
        "double",
        2,
        3,
    )


async def test_versions_have_their_own(house: House) -> None:
    house = House("10", "2")
    told = (await house.ask("GET", "/v2/models/stats")).json()["model_stats"]
    assert [each["version"] for each in told] == ["10", "2"]
    told = (await house.ask("GET", "/v2/models/double/stats")).json()["model_stats"]
    assert [each["version"] for each in told] == ["2", "10"]
    config = (await house.ask("GET", "/v2/models/double/config")).json()
    assert config["version_policy"] == {"specific": {"versions": [10]}}


async def test_the_index_of_the_repository(house: House) -> None:
    entry = {"name": "double", "version": "1", "state": "READY", "reason": ""}
    assert (await house.ask("POST", "/v2/repository/index")).json() == [entry]
    house.is_ready = False
    (ill,) = (await house.ask("POST", "/v2/repository/index", content=b"{}")).json()
    assert (ill["state"], bool(ill["reason"])) == ("UNAVAILABLE", True)
    assert (await house.ask("POST", "/v2/repository/index", content=b'{"ready":true}')).json() == []
    assert (await house.ask("POST", "/v2/repository/index", content=b"[]")).status_code == 400
    assert (await house.ask("GET", "/v2/repository/index")).headers["allow"] == "POST"


@pytest.mark.parametrize("what", ["load", "unload"])
async def test_models_are_not_loaded_and_it_says_what_to_do(house: House, what: str) -> None:
    response = await house.ask("POST", f"/v2/repository/models/anything/{what}")
    assert response.status_code == 400
    assert "change the Serve file" in response.json()["error"]


async def test_the_description_has_every_path_and_each_of_them_is_answered(house: House) -> None:
    description = (await house.ask("GET", "/v2/docs/dataplane.json")).json()
    assert set(description["paths"]) == {path for verb in VERBS for path in verb.paths}
    schemas = description["components"]["schemas"]
    for path, operations in description["paths"].items():
        ((method, operation),) = operations.items()
        for response in operation["responses"].values():
            assert response["content"]["application/json"]["schema"]["$ref"].split("/")[-1] in schemas
        body = request() if path.endswith("/infer") else b""
        answer = await house.ask(method.upper(), path.format(model="double", version="1"), content=body)
        assert str(answer.status_code) in operation["responses"], (path, answer.text)
        schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        required = schemas[schema["$ref"].split("/")[-1]].get("required", [])
        told = answer.json()
        assert isinstance(told, dict) is bool(required) or "docs" in path
        assert set(required) <= set(told if required else ()), path


def test_doors_of_processors_are_described_too() -> None:
    told = orjson.loads(describe(ServerMetadata("s", "1", ()), [], {"/v1/embeddings": ("POST",)}))
    assert list(told["paths"]["/v1/embeddings"]) == ["post"]


def test_a_path_of_words_is_never_taken_for_a_models_name() -> None:
    for verb in VERBS:
        for path in verb.paths:
            asked = asked_by(path.format(model="m", version="1"))
            assert asked is not None
            assert asked.verb is verb
    assert asked_by("/v2/models/") is None
    assert asked_by("/v2/models/m/versions/1/other") is None


# --- classification ------------------------------------------------------------------------------------


async def test_classes_in_place_of_a_tensor(house: House) -> None:
    outputs = [{"name": "h", "parameters": {"classification": 2}}, {"name": "y"}]
    told = (await house.ask("POST", INFER, content=request(2, outputs=outputs))).json()["outputs"]
    assert told[0] == {
        "name": "h",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["2.0:2", "1.0:1", "5.0:2", "4.0:1"],
    }
    assert told[1]["datatype"] == "FP32"
    binary = [{"name": "y", "parameters": {"classification": 1, "binary_data": True}}]
    labelled = [{"name": "y", "parameters": {"classification": 3}}]
    (told,) = (await house.ask("POST", INFER, content=request(outputs=labelled))).json()["outputs"]
    assert told["data"] == ["4.0:2", "2.0:1:one", "0.0:0:zero"]
    answer = await house.ask("POST", INFER, content=request(outputs=binary))
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 9}
    assert answer.content[length:] == b"\5\0\0\0004.0:2"


async def test_many_elements_are_classified_all_the_same(house: House) -> None:
    outputs = [{"name": "y", "parameters": {"classification": 1}}]
    rows = 2048
    content = gzip.compress(request(4096 // 2, outputs=outputs))
    answer = await house.ask("POST", INFER, content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()["outputs"]
    assert told["shape"] == [rows, 1]
    assert told["data"][-1] == f"{2.0 * (3 * rows - 1)}:2"


# --- compressed bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("rows", [1, 600])
async def test_compressed_bodies_in_and_out(house: House, coding: str, compress: Any, rows: int) -> None:
    headers = {"content-encoding": coding, "accept-encoding": coding}
    answer = await house.ask("POST", INFER, content=compress(request(rows)), headers=headers)
    assert answer.status_code == 200
    assert answer.headers.get("content-encoding") == (coding if rows > 1 else None)
    assert int(answer.headers["content-length"]) < 20 * rows + 200
    assert answer.json()["outputs"][0]["data"][-1] == 2.0 * (3 * rows - 1)  # httpx decodes by the header


async def test_bytes_of_tensors_are_compressed_for_a_client_that_names_one_coding_alone(house: House) -> None:
    outputs = [{"name": "y", "parameters": {"binary_data": True}}]
    content = request(600, outputs=outputs)
    for accepted, coding in (("gzip, deflate, br", None), ("deflate", "deflate"), ("gzip;q=0", None)):
        answer = await house.ask("POST", INFER, content=content, headers={"accept-encoding": accepted})
        assert answer.headers.get("content-encoding") == coding
        length = int(answer.headers["inference-header-content-length"])
        assert len(answer.content) == length + 600 * 12, "the length is that of the JSON before its coding"


async def test_a_bomb_is_refused_and_nothing_runs(house: House) -> None:
    bomb = gzip.compress(bytes(LIMIT + 1))
    answer = await house.ask("POST", INFER, content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "when it is uncompressed" in answer.json()["error"]


# --- tokens --------------------------------------------------------------------------------------------


async def test_without_a_token_health_alone_is_told() -> None:
    house = House(tokens=Tokens([TOKEN]))
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert (await house.ask("GET", path)).status_code == 200
    for method, path in (
        ("GET", "/v2"),
        ("GET", "/v2/models/double"),
        ("GET", "/v2/models/other"),
        ("GET", "/nowhere"),
        ("POST", "/v2/repository/index"),
        ("POST", INFER),
    ):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = await house.ask(method, path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
            assert "double" not in answer.text


async def test_with_a_token_all_is_told_and_a_remembered_path_stays_shut() -> None:
    house = House(tokens=Tokens([TOKEN]))
    known = {"authorization": f"Bearer {TOKEN}"}
    assert (await house.ask("POST", INFER, content=request(), headers=known)).status_code == 200
    assert (await house.ask("POST", INFER, content=request())).status_code == 401
    assert (await house.ask("GET", "/nowhere", headers=known)).status_code == 404


# --- bounds --------------------------------------------------------------------------------------------


async def test_large_json_is_read_as_small_json_is(house: House) -> None:
    rows = 4000
    answer = await house.ask("POST", INFER, content=request(rows))
    assert answer.json()["outputs"][0]["data"] == [2.0 * number for number in range(3 * rows)]
    wrong = await house.ask("POST", INFER, content=request(rows).replace(b"11999.0", b'"1199"'))
    assert wrong.status_code == 400
    assert "data[11999] is '1199'" in wrong.json()["error"]


async def test_headers_are_bounded_in_number(house: House) -> None:
    answer = await house.ask("GET", "/v2", headers={f"x-{number}": "1" for number in range(130)})
    assert answer.status_code == 431
    assert "at most 128 are taken" in answer.json()["error"]


async def test_lists_and_bytes_of_json_are_bounded() -> None:
    house = House()
    house.app.limit(Limits(max_body_bytes=LIMIT, max_json_bytes=4096, max_json_lists=1024))
    answer = await house.ask("POST", INFER, content=request(1000))
    assert (answer.status_code, "at most 4096 are taken" in answer.json()["error"]) == (413, True)
    nested = request(1, id="x" * 400).replace(b'"id":', b'"other":[' + b"[]," * 1100 + b'0],"id":')
    assert len(nested) < 4096
    answer = await house.ask("POST", INFER, content=nested)
    assert (answer.status_code, "lists and objects; at most 1024" in answer.json()["error"]) == (413, True)


@pytest.mark.parametrize(
    "data", ["[" * 2000 + "]" * 2000, "[" + "9" * 100_000 + ",1,1]", "[1e" + "9" * 50_000 + ",1,1]"]
)
async def test_depth_and_long_numbers_are_refused(house: House, data: str) -> None:
    content = request().replace(b"[0.0,1.0,2.0]", data.encode())
    answer = await house.ask("POST", INFER, content=content)
    assert answer.status_code == 400
    assert len(answer.text) < 400


# --- errors are counted ------------------------------------------------------------------------------------


class Refusing(HookedDoors):
    """One door, whose processor refuses all that is sent there, in words of its own."""

    def __init__(self, error: AscendServeError) -> None:
        super().__init__()
        self.error = error
        self.methods = ("POST",)

    def at_path(self, path: str) -> Any:
        return self if path == "/v1/refused" else None

    speaking_at = at_path

    async def answer(self, payload: Payload, *, deadline_s: float | None = None) -> bytes:
        raise self.error

    def failure(self, error: AscendServeError) -> bytes:
        return orjson.dumps({"refused": str(error)})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedRequest("no"), 400),
        (UnsupportedMedia("no"), 415),
        (QueueFull("no", 2.5), 429),
        (DeadlineExpired("no"), 504),
    ],
)
async def test_errors_at_a_processors_door_are_counted_and_told_in_its_words(
    error: AscendServeError, status: int
) -> None:
    failed: list[int] = []
    repository = Repository([DataPlane(SPEC, House()._double, ready=lambda: True, max_rows=4)])
    app = HttpApp(repository, Limits(), Refusing(error), failed=failed.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.post("/v1/refused", content=b"x")
        assert (response.status_code, response.json()) == (status, {"refused": "no"})
        assert response.headers.get("retry-after") == ("3" if status == 429 else None)
        response = await client.post("/v1/refused", headers={"x-envoy-expected-rq-timeout-ms": "soon"})
        assert (response.status_code, list(response.json())) == (400, ["refused"])
    assert failed == [status, 400]

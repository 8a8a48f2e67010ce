"""What is served equals what onnxruntime computes, whatever the gear, the door and the company."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import infer_binary, outputs

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def exact(deploy: Deploy, exact_recipe: Path) -> Any:
    """The model in its own precision, beside `/half`, in half of it."""
    deploy.add("half")
    return deploy("exact", args={"recipe": str(exact_recipe), "name": "resnet"})


def test_1_to_40_rows_equal_onnxruntime(
    exact: Any, http: httpx.Client, digits: Array, expected: Array
) -> None:
    for rows in range(1, 41):
        path, body, headers = infer_binary(digits[:rows])
        logits = outputs(http.post(f"/exact{path}", content=body, headers=headers))["logits"]
        np.testing.assert_allclose(logits, expected[:rows], rtol=1e-4, atol=1e-5)


def test_json_and_binary_answer_alike(exact: Any, http: httpx.Client, digits: Array, expected: Array) -> None:
    tensor = {
        "name": "image",
        "shape": [2, 1, 32, 32],
        "datatype": "FP32",
        "data": digits[:2].ravel().tolist(),
    }
    answer = http.post("/exact/v2/models/resnet/infer", json={"id": "seven", "inputs": [tensor]}).json()
    assert answer["id"] == "seven"
    (logits,) = answer["outputs"]
    assert (logits["name"], logits["datatype"], logits["shape"]) == ("logits", "FP32", [2, 10])
    np.testing.assert_allclose(np.reshape(logits["data"], (2, 10)), expected[:2], rtol=1e-4, atol=1e-5)


def test_half_precision_agrees(exact: Any, http: httpx.Client, digits: Array, expected: Array) -> None:
    path, body, headers = infer_binary(digits[:120])
    logits = outputs(http.post(f"/half{path}", content=body, headers=headers))["logits"]
    assert not np.array_equal(logits, expected[:120]), "half precision is not emulated at all"
    np.testing.assert_array_equal(logits.argmax(axis=1), expected[:120].argmax(axis=1))
    norms = np.linalg.norm(logits, axis=1) * np.linalg.norm(expected[:120], axis=1)
    assert ((logits * expected[:120]).sum(axis=1) / norms).min() >= 0.999


async def test_hundreds_of_distinct_rows_at_once_never_mix(
    exact: Any, serve_url: str, digits: Array, expected: Array
) -> None:
    async def ask(client: httpx.AsyncClient, row: int) -> Array:
        path, body, headers = infer_binary(digits[row : row + 1])
        return outputs(await client.post(f"/exact{path}", content=body, headers=headers))["logits"]

    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=serve_url, timeout=120, limits=limits) as client:
        answers = await asyncio.gather(*(ask(client, row) for row in range(len(digits))))
    np.testing.assert_allclose(np.concatenate(answers), expected, rtol=1e-4, atol=1e-5)


def test_a_handle_takes_and_gives_a_dict_or_an_array(exact: Any, digits: Array, expected: Array) -> None:
    by_name = exact.infer.remote({"image": digits[:3]}).result(timeout_s=60)
    assert list(by_name) == ["logits"]
    np.testing.assert_allclose(by_name["logits"], expected[:3], rtol=1e-4, atol=1e-5)
    bare = exact.infer.remote(digits[:3]).result(timeout_s=60)
    np.testing.assert_array_equal(bare, by_name["logits"])


def test_a_handle_takes_five_megabytes(exact: Any, digits: Array, expected: Array) -> None:
    rows = np.tile(digits, (4, 1, 1, 1))[:1280]
    assert rows.nbytes > 5_000_000
    logits = exact.infer.remote(rows).result(timeout_s=120)
    np.testing.assert_allclose(logits, np.tile(expected, (4, 1))[:1280], rtol=1e-4, atol=1e-5)


def test_a_handle_is_told_what_is_wrong(exact: Any, digits: Array) -> None:
    with pytest.raises(Exception, match=r"image.*float32") as caught:
        exact.infer.remote(digits[:1].astype(np.float64)).result(timeout_s=60)
    assert "InvalidTensor" in type(getattr(caught.value, "cause", caught.value)).__name__


def test_the_metadata_is_the_models(exact: Any, http: httpx.Client) -> None:
    told = http.get("/exact/v2/models/resnet").json()
    assert told["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 32, 32]}]
    assert told["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
    assert http.get("/exact/v2/health/ready").status_code == 200
    assert http.get("/exact/v2/models/resnet/ready").status_code == 200

"""A wrong request is told why, and harms itself alone."""

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.deploying import Deploy
from tests.serve.tools import infer_binary, outputs

pytestmark = pytest.mark.serve

Array = np.ndarray[Any, Any]
INFER = "/wrong/v2/models/resnet/infer"


@pytest.fixture(scope="module")
def wrong(deploy: Deploy) -> Any:
    return deploy("wrong", args={"limits": {"max_body_bytes": 1024 * 1024, "max_rows": 64}})


def as_json(**tensor: Any) -> bytes:
    given = {"name": "image", "shape": [1, 1, 32, 32], "datatype": "FP32", "data": [0.5] * 1024, **tensor}
    return json.dumps({"inputs": [given]}).encode()


TRUNCATED = infer_binary(np.zeros((2, 1, 32, 32), np.float32))

CASES: dict[str, tuple[str, bytes, dict[str, str], int, str]] = {
    "unknown tensor": (INFER, as_json(name="imagee"), {}, 400, "imagee"),
    "wrong datatype": (INFER, as_json(datatype="INT32", data=[1] * 1024), {}, 400, "int32"),
    "unknown datatype": (INFER, as_json(datatype="FLOAT"), {}, 400, "FLOAT"),
    "wrong shape": (INFER, as_json(shape=[1, 3, 32, 32], data=[0.5] * 3072), {}, 400, r"3, 32, 32"),
    "too little data": (INFER, as_json(data=[0.5] * 1000), {}, 400, "1000"),
    "no rows": (INFER, as_json(shape=[0, 1, 32, 32], data=[]), {}, 400, "0"),
    "bad json": (INFER, b'{"inputs": [', {}, 400, "JSON"),
    "truncated binary": (INFER, TRUNCATED[1][:-100], TRUNCATED[2], 400, "8192"),
    "too many rows": (INFER, as_json(shape=[65, 1, 32, 32], data=[0] * 65 * 1024), {}, 413, "64"),
    "too large": (INFER, b" " * (1024 * 1024 + 1), {}, 413, "1048576"),
    "unknown model": ("/wrong/v2/models/resnet50/infer", as_json(), {}, 404, "resnet50"),
    "unknown path": ("/wrong/v3", b"", {}, 404, "v3"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_wrong_request_is_told_why_and_its_neighbours_are_served(
    wrong: Any, serve_url: str, digits: Array, expected: Array, case: str
) -> None:
    path, body, headers, status, named = CASES[case]
    good_path, good_body, good_headers = infer_binary(digits[:5])

    async with httpx.AsyncClient(base_url=serve_url, timeout=60) as client:
        good = [client.post(f"/wrong{good_path}", content=good_body, headers=good_headers) for _ in range(4)]
        answers = await asyncio.gather(*good[:2], client.post(path, content=body, headers=headers), *good[2:])
    bad = answers.pop(2)
    assert bad.status_code == status
    assert named in bad.json()["error"]
    for answer in answers:
        np.testing.assert_array_equal(outputs(answer)["logits"].argmax(axis=1), expected[:5].argmax(axis=1))

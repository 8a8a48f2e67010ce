"""What OpenAI's client sends, byte for byte, at the doors of an embedder; see data/README.md for how it was recorded.

The client itself is asked by `tests/judges`. The model here is numpy, and answers are read by hand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ascend_serve.dataplane import DataPlane
from ascend_serve.errors import AscendServeError, DeviceError, QueueFull
from ascend_serve.processing.embeddings import EmbeddingSettings, TextEmbedder
from ascend_serve.processing.processor import Array
from ascend_serve.protocol.limits import Limits
from ascend_serve.repository import Repository
from ascend_serve.serving.doors.http import HttpApp
from ascend_serve.serving.doors.processing import HookedDoors, Processing
from ascend_serve.serving.doors.tokens import Tokens
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from tests import tiny_encoder
from tests.tiny_encoder import HIDDEN, TOKENIZER, cosines, embeddings, ids_of

pytestmark = pytest.mark.unit

CALLS = {
    call["title"]: call
    for call in json.loads((Path(__file__).parent / "data/openai_calls.json").read_text())["http"]
}
TOKEN = "0123456789abcdef"
GEARS = Gears((1, 4))
SPEC = ModelSpec(
    "tiny",
    tuple(TensorSpec(name, DataType.INT64, (-1, -1)) for name in ("input_ids", "attention_mask")),
    (TensorSpec("embedding", DataType.FP32, (-1, HIDDEN)),),
    GEARS,
    tuple(
        Bucket(GEARS, {"input_ids": (length,), "attention_mask": (length,), "embedding": (HIDDEN,)})
        for length in (8, 16)
    ),
)
TEXTS = {
    "one text": [ids_of("a", "gear")],
    "several texts": [ids_of("a", "gear", "."), ids_of("[UNK]", "text", "##s"), ids_of("a")],
    "floats": [ids_of("ü", "!"), ids_of("is")],
    "token ids of one": [[2, 4, 5, 3]],
    "token ids of several": [[2, 4, 3], [2, 4, 5, 3]],
    "its own dimensions": [ids_of("a")],
}
"""The token ids of the texts of each call that is answered."""
WRONG = {
    "other dimensions": (400, "dimensions", None, "was not trained to be shortened"),
    "an empty text": (400, "input[1]", None, "is an empty text"),
    "another model": (404, "model", "model_not_found", "text-embedding-3-small"),
}
"""Status, `param`, `code` and words of the calls that are not."""


class House:
    """An app of some models with an embedder each."""

    def __init__(self, *names: str) -> None:
        self.weights = {name: tiny_encoder.weights(number) for number, name in enumerate(names)}
        self.error: Exception | None = None
        planes = [
            DataPlane(replace(SPEC, name=name), self._of(name), ready=lambda: True, max_rows=64)
            for name in names
        ]
        settings = EmbeddingSettings(tokenizer=TOKENIZER)
        self.processings = [Processing(TextEmbedder(settings, plane.spec), plane, 1) for plane in planes]
        doors = HookedDoors(self.processings)
        self.app = HttpApp(Repository(planes), Limits(), doors, Tokens([TOKEN]))

    def _of(self, name: str) -> Callable[..., Any]:
        async def infer(tensors: Mapping[str, Array], **_: Any) -> Mapping[str, Array]:
            if self.error is not None:
                raise self.error
            ids, mask = tensors["input_ids"], tensors["attention_mask"]
            own = [row[: count.sum()] for row, count in zip(ids, mask, strict=True)]
            return {"embedding": embeddings(own, self.weights[name]).astype(np.float32)}

        return infer

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://test"
        ) as client:
            return await client.request(method, path, headers=headers, content=body)

    async def replay(self, title: str, **changed: Any) -> tuple[int, Any]:
        """Send a call as recorded, with some fields of its body changed."""
        call = CALLS[title]
        body = base64.b64decode(call["body"])
        if changed:
            body = json.dumps({**json.loads(body), **changed}).encode()
        answer = await self.send(call["method"], call["path"], call["headers"], body)
        return answer.status_code, answer.json()


@asynccontextmanager
async def house(*names: str) -> AsyncIterator[House]:
    made = House(*names)
    try:
        yield made
    finally:
        for processing in made.processings:
            processing.close()


def rows(answer: Mapping[str, Any]) -> Array:
    """Embeddings as the client reads them: base64 of little-endian float32, or numbers."""
    return np.array(
        [
            np.frombuffer(base64.b64decode(each["embedding"]), "<f4")
            if isinstance(each["embedding"], str)
            else each["embedding"]
            for each in answer["data"]
        ],
        np.float32,
    )


def told(answer: httpx.Response) -> tuple[str, str | None, str | None]:
    """Type, param and code of an error."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["type"], error["param"], error["code"]


def test_every_recorded_call_is_replayed() -> None:
    assert {*TEXTS, *WRONG, "list models", "one model"} == set(CALLS)


@pytest.mark.parametrize("title", TEXTS)
async def test_a_call_is_answered(title: str) -> None:
    async with house("tiny") as made:
        status, answer = await made.replay(title)
        expected = embeddings(TEXTS[title], made.weights["tiny"])
    assert status == 200, answer
    assert set(answer) == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", "tiny")
    assert [(each["object"], each["index"]) for each in answer["data"]] == [
        ("embedding", index) for index in range(len(TEXTS[title]))
    ]
    # The client asks for base64 where its caller names no encoding.
    assert {type(each["embedding"]) for each in answer["data"]} == {list if title == "floats" else str}
    np.testing.assert_allclose(rows(answer), expected, atol=1e-6)
    count = sum(map(len, TEXTS[title]))
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}


@pytest.mark.parametrize("title", WRONG)
async def test_a_wrong_call_is_told_as_the_client_reads_it(title: str) -> None:
    status, param, code, words = WRONG[title]
    async with house("tiny") as made:
        found, answer = await made.replay(title)
    assert found == status
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (answer["error"]["type"], answer["error"]["param"]) == ("invalid_request_error", param)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (QueueFull("64 rows wait"), 429, "requests", "rate_limit_exceeded"),
        (DeviceError("the device is gone"), 500, "server_error", None),
    ],
)
async def test_what_the_engine_says_is_told_in_the_same_form(
    error: AscendServeError, status: int, kind: str, code: str | None
) -> None:
    async with house("tiny") as made:
        made.error = error
        found, answer = await made.replay("one text")
    assert found == status
    assert answer == {"error": {"message": str(error), "type": kind, "param": None, "code": code}}


async def test_models_are_listed_and_told() -> None:
    async with house("tiny", "other") as made:
        status, listed = await made.replay("list models")
        one = await made.replay("one model")
        unknown = await made.send("GET", "/v1/models/gpt-4", {"authorization": f"Bearer {TOKEN}"}, b"")
        posted = await made.send("POST", "/v1/models", {"authorization": f"Bearer {TOKEN}"}, b"{}")
    assert status == 200
    assert listed["object"] == "list"
    assert sorted(model["id"] for model in listed["data"]) == ["other", "tiny"]
    assert one == (200, next(model for model in listed["data"] if model["id"] == "tiny"))
    assert one[1]["object"] == "model"
    assert one[1]["created"] > 0
    assert unknown.status_code == 404
    assert told(unknown) == ("invalid_request_error", "model", "model_not_found")
    assert posted.status_code == 405
    assert posted.headers["allow"] == "GET, HEAD"
    assert told(posted) == ("invalid_request_error", None, None)


async def test_of_several_models_the_body_names_one() -> None:
    async with house("tiny", "other") as made:
        found = [await made.replay("one text", model=name) for name in ("tiny", "other")]
        expected = [embeddings(TEXTS["one text"], made.weights[name]) for name in ("tiny", "other")]
        unknown, told = await made.replay("one text", model="third")
        without, _ = await made.replay("one text", model=None)
    for (status, answer), row in zip(found, expected, strict=True):
        assert status == 200
        assert cosines(rows(answer), row).min() > 0.99999
    assert unknown == without == 404
    assert told["error"]["code"] == "model_not_found"


async def test_without_the_token_neither_texts_nor_models_are_taken() -> None:
    async with house("tiny") as made:
        for title in ("one text", "list models"):
            call = CALLS[title]
            headers: Sequence[dict[str, str]] = ({}, {"authorization": "Bearer another-token-of-16"})
            for sent in headers:
                answer = await made.send(call["method"], call["path"], sent, base64.b64decode(call["body"]))
                assert answer.status_code == 401
                assert "Bearer" in answer.json()["error"]["message"]
                assert told(answer) == ("invalid_request_error", None, "invalid_api_key")


async def test_what_comes_before_and_behind_the_processor_is_told_in_the_same_form() -> None:
    call = CALLS["one text"]
    async with house("tiny") as made:
        made.app.limit(Limits(max_body_bytes=64))
        large = await made.send("POST", call["path"], call["headers"], b" " * 65)
        made.error = ValueError("no such thing")
        odd = await made.send("POST", call["path"], call["headers"], b'{"input": "a"}')
        elsewhere = await made.send("GET", "/v1/engines", call["headers"], b"")
    assert (large.status_code, odd.status_code, elsewhere.status_code) == (413, 500, 404)
    assert told(large) == ("invalid_request_error", None, None)
    assert told(odd) == ("server_error", None, None)
    assert "ValueError: no such thing" in odd.json()["error"]["message"]
    assert "no such path" in elsewhere.json()["error"]

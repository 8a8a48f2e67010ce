"""A sentence encoder behind OpenAI's API and the protocol's own, from weights to answers, on an emulated card."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests import tiny_encoder
from tests.serve.deploying import Deploy
from tests.serve.tools import ROOT
from tests.tiny_encoder import HIDDEN, cosines, embeddings, ids_of

pytestmark = pytest.mark.serve

NAME = "encoder"
LEAST_COSINE = 0.999
WORDS = ("a", "gear", "is", "shape", "text", "ü", "机", "!", "0", "1", "2")


@pytest.fixture(scope="module")
def encoder(deploy: Deploy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its application, deployed as `deployments/minilm.yaml` deploys the real one; the path of its routes."""
    folder = tmp_path_factory.mktemp("encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples/minilm"))
        make = importlib.import_module("make")
        make.write(tiny_encoder.write_folder(folder / "model"), folder / "build")
    for module in ("make", "bert"):
        del sys.modules[module]
    recipe = tiny_encoder.write_recipe(folder / "build/minilm.onnx", folder / "tiny.yaml")
    args: dict[str, Any] = {
        "recipe": str(recipe),
        "name": NAME,
        "processor": "ascend_serve.processing.embeddings:TextEmbedder",
        "processor_args": {"tokenizer": str(folder / "build/tokenizer.json")},
        "batching": {"padded": [{"inputs": {"input_ids": 1, "attention_mask": 1}}]},
    }
    deploy(NAME, args=args)
    # What the replica needs of it came with its settings.
    (folder / "build/tokenizer.json").unlink()
    return f"/{NAME}"


def sentences(count: int, seed: int) -> tuple[list[str], list[list[int]]]:
    """Texts of 1 to 14 words, and their token ids."""
    random = np.random.default_rng(seed)
    words = [list(random.choice(WORDS, random.integers(1, 15))) for _ in range(count)]
    return [" ".join(text) for text in words], [ids_of(*text) for text in words]


def ask(http: httpx.Client, path: str, given: object, **fields: object) -> httpx.Response:
    return http.post(f"{path}/v1/embeddings", json={"model": NAME, "input": given, **fields})


def rows(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return np.array([each["embedding"] for each in data], np.float32)


def assert_right(found: np.ndarray[Any, Any], tokens: Sequence[Sequence[int]]) -> None:
    assert found.shape == (len(tokens), HIDDEN)
    assert cosines(found, embeddings(tokens, tiny_encoder.weights())).min() >= LEAST_COSINE


def test_many_texts_of_one_call_are_as_the_reference_has_them(encoder: str, http: httpx.Client) -> None:
    texts, tokens = sentences(60, seed=1)
    answer = ask(http, encoder, texts)
    assert_right(rows(answer), tokens)
    assert answer.json()["usage"]["prompt_tokens"] == sum(map(len, tokens))


def test_calls_at_the_same_time_get_their_own(encoder: str, http: httpx.Client) -> None:
    texts, tokens = sentences(24, seed=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: rows(ask(http, encoder, text)), texts))
    assert_right(np.concatenate(found), tokens)


def test_the_protocol_answers_the_same_for_any_length(encoder: str, http: httpx.Client) -> None:
    for length in (3, 8, 11):
        tokens = [ids_of(*["gear"] * (length - 2)), ids_of(*["text"] * (length - 2))]
        inputs = [
            {"name": name, "shape": [2, length], "datatype": "INT64", "data": data}
            for name, data in (("input_ids", tokens), ("attention_mask", [[1] * length] * 2))
        ]
        answer = http.post(f"{encoder}/v2/models/{NAME}/infer", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        assert_right(np.array(output["data"], np.float32).reshape(output["shape"]), tokens)


def test_what_is_wrong_is_said_and_models_are_listed(encoder: str, http: httpx.Client) -> None:
    wrong = ask(http, encoder, ["a", ""])
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "input[1]"
    listed = http.get(f"{encoder}/v1/models")
    assert [model["id"] for model in listed.json()["data"]] == [NAME]
    described = http.get(f"{encoder}/v2/docs/dataplane.json").json()
    assert {"/v1/embeddings", "/v1/models", f"/v1/models/{NAME}"} <= set(described["paths"])

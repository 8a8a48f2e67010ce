"""OpenAI's client against the embeddings of all-MiniLM-L6-v2.

Arguments: the URL of the API, a token, the reference's embeddings (.npz), and a folder with the module `texts`.
"""

import asyncio
import base64
import sys

import httpx2
import numpy as np
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, OpenAI
from reporting import refused, tell

NAME = "minilm"
LEAST_COSINE = 0.999


class Judged:
    """The server, the reference and the texts."""

    def __init__(self, url, token, reference, folder):
        sys.path.insert(0, folder)
        from texts import texts

        self.url, self.token = url, token
        self.client = OpenAI(base_url=url, api_key=token, max_retries=0)
        self.texts = texts()
        self.reference = np.load(reference)["embeddings"]

    def embed(self, texts, **options):
        return self.client.embeddings.create(model=NAME, input=texts, **options)


def rows(answer):
    return np.array([each.embedding for each in answer.data], np.float32)


def cosines(a, b):
    return np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def all_texts_at_once_are_as_the_reference_has_them(judged):
    answer = judged.embed(judged.texts)
    assert [each.index for each in answer.data] == list(range(len(judged.texts)))
    found = cosines(rows(answer), judged.reference)
    print(f"least cosine of {len(found)} texts: {found.min():.6f}", file=sys.stderr)
    assert found.min() >= LEAST_COSINE, judged.texts[int(found.argmin())][:80]
    assert np.abs(np.linalg.norm(rows(answer), axis=1) - 1).max() < 1e-2
    assert answer.object == "list"
    assert answer.model == NAME
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 8 * 256


def each_alone_is_the_same(judged):
    found = np.concatenate([rows(judged.embed(text)) for text in judged.texts])
    assert cosines(found, judged.reference).min() >= LEAST_COSINE


def many_at_a_time_are_the_same(judged):
    async def run():
        async with AsyncOpenAI(base_url=judged.url, api_key=judged.token, max_retries=0) as client:
            return await asyncio.gather(
                *(client.embeddings.create(model=NAME, input=[text]) for text in judged.texts)
            )

    found = np.concatenate([rows(answer) for answer in asyncio.run(run())])
    assert cosines(found, judged.reference).min() >= LEAST_COSINE


def more_texts_than_a_batch_has_rows(judged):
    count = 300
    answer = judged.embed([f"text number {number % 3}" for number in range(count)])
    found = rows(answer)
    assert len(found) == count
    assert np.abs(found - found[np.arange(count) % 3]).max() < 1e-2
    assert np.abs(found[0] - found[1]).max() > 1e-2


def both_encodings_say_the_same(judged):
    texts = judged.texts[:5]
    told = judged.embed(texts, encoding_format="float")
    coded = judged.embed(texts, encoding_format="base64")
    decoded = [np.frombuffer(base64.b64decode(each.embedding), "<f4") for each in coded.data]
    np.testing.assert_allclose(rows(told), np.array(decoded), atol=1e-2)


def tokens_of_the_callers_own(judged):
    of_hello_world = [101, 7592, 1010, 2088, 999, 102]
    expected = rows(judged.embed("Hello, world!"))
    for given in (of_hello_world, [of_hello_world, of_hello_world]):
        answer = judged.embed(given)
        assert cosines(rows(answer), expected).min() >= LEAST_COSINE
        assert answer.usage.prompt_tokens == 6 * len(answer.data)


def its_only_number_of_dimensions(judged):
    assert rows(judged.embed("a", dimensions=384)).shape == (1, 384)
    error = refused("was not trained to be shortened", BadRequestError, judged.embed, "a", dimensions=256)
    assert (error.param, error.type) == ("dimensions", "invalid_request_error")


def what_is_wrong_is_said(judged):
    error = refused("input[1]: is an empty text", BadRequestError, judged.embed, ["a", ""])
    assert (error.status_code, error.param, error.code) == (400, "input[1]", None)
    refused("input: is an empty list", BadRequestError, judged.embed, [])
    refused("has 2049 texts", BadRequestError, judged.embed, ["a"] * 2049)
    refused("has 257 tokens", BadRequestError, judged.embed, [0] * 257)
    refused("no token id of this model", BadRequestError, judged.embed, [100264])
    refused("characters", BadRequestError, judged.embed, "a" * 40_000)


def another_model_is_not_found(judged):
    create = judged.client.embeddings.create
    error = refused(
        "text-embedding-3-small", NotFoundError, create, model="text-embedding-3-small", input="a"
    )
    assert (error.code, error.param) == ("model_not_found", "model")


def its_models(judged):
    (model,) = judged.client.models.list().data
    assert (model.id, model.object) == (NAME, "model")
    assert model.created > 0
    assert judged.client.models.retrieve(NAME).id == NAME
    error = refused("no model 'gpt-4' here", NotFoundError, judged.client.models.retrieve, "gpt-4")
    assert error.code == "model_not_found"


def without_its_token_nothing_is_told(judged):
    stranger = OpenAI(base_url=judged.url, api_key="another-token-of-a-stranger", max_retries=0)
    error = refused("Bearer", AuthenticationError, stranger.embeddings.create, model=NAME, input="a")
    assert error.code == "invalid_api_key"
    refused("Bearer", AuthenticationError, stranger.models.list)


def the_same_model_over_v2(judged):
    text = "Hello, world!"
    inputs = [
        {"name": name, "shape": [1, 6], "datatype": "INT64", "data": data}
        for name, data in (("input_ids", [101, 7592, 1010, 2088, 999, 102]), ("attention_mask", [1] * 6))
    ]
    url = judged.url.removesuffix("/v1") + f"/v2/models/{NAME}/infer"
    headers = {"authorization": f"Bearer {judged.token}"}
    answer = httpx2.post(url, json={"inputs": inputs}, headers=headers, timeout=60).json()
    (output,) = answer["outputs"]
    assert output["shape"] == [1, 384]
    found = np.array([output["data"]], np.float32)
    assert cosines(found, judged.reference[[judged.texts.index(text)]]).min() >= LEAST_COSINE


CHECKS = [
    all_texts_at_once_are_as_the_reference_has_them,
    each_alone_is_the_same,
    many_at_a_time_are_the_same,
    more_texts_than_a_batch_has_rows,
    both_encodings_say_the_same,
    tokens_of_the_callers_own,
    its_only_number_of_dimensions,
    what_is_wrong_is_said,
    another_model_is_not_found,
    its_models,
    without_its_token_nothing_is_told,
    the_same_model_over_v2,
]

if __name__ == "__main__":
    tell(CHECKS, Judged(*sys.argv[1:]))

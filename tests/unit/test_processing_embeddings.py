"""The processor of sentence encoders: what becomes of texts, what of outputs, and what is refused."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError, MalformedRequest, ModelNotFound, UnusableOutput
from ascend_serve.processing.embedding_calls import FIELDS, Bounds, failure, model_named, read_call
from ascend_serve.processing.embeddings import EmbeddingSettings, TextEmbedder
from ascend_serve.processing.loading import make_processor
from ascend_serve.processing.processor import Payload, Processor, ProcessorDoor, Tensors
from ascend_serve.processing.texts import Texts
from ascend_serve.serving.config import ModelConfig
from ascend_serve.serving.processors import check_settings, settled
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from tests.tiny_encoder import TOKENIZER, VOCABULARY, ids_of

pytestmark = pytest.mark.unit

WIDTH = 3
GEARS = Gears((1, 4))
LENGTHS = (4, 8, 16)
HERE = "ascend_serve.processing.embeddings:TextEmbedder"


def spec(
    *inputs: str,
    dtype: DataType = DataType.INT64,
    output: tuple[int, ...] = (WIDTH,),
    real: DataType = DataType.FP32,
) -> ModelSpec:
    names = inputs or ("input_ids", "attention_mask")
    return ModelSpec(
        "minilm",
        tuple(TensorSpec(name, dtype, (-1, -1)) for name in names),
        (TensorSpec("embedding", real, (-1, *output)),),
        GEARS,
        tuple(Bucket(GEARS, {**dict.fromkeys(names, (length,)), "embedding": output}) for length in LENGTHS),
    )


def embedder(model: ModelSpec | None = None, **settings: Any) -> TextEmbedder:
    return TextEmbedder(EmbeddingSettings(**{"tokenizer": TOKENIZER, **settings}), model or spec())


def payload(given: Any, **fields: Any) -> Payload:
    return Payload(json.dumps({"input": given, **fields}).encode())


def words(count: int) -> str:
    """A text of so many tokens beside the special ones."""
    return " ".join(["gear"] * count)


def ran(requests: Any) -> list[Tensors]:
    """Outputs that tell which text a row was: its first token's id, its second one's and how many it has."""
    outputs = []
    for tensors in requests:
        ids, mask = tensors["input_ids"], tensors["attention_mask"]
        rows = np.stack([ids[:, 0], ids[:, 1], mask.sum(axis=1)], axis=1)
        outputs.append({"embedding": rows.astype(np.float32)})
    return outputs


# --- in -------------------------------------------------------------------------------------------


def test_texts_of_one_length_share_a_request_and_others_have_their_own() -> None:
    decoded = embedder().decode(payload([words(6), "a", words(7), "is a gear", "text"]))
    assert [request["input_ids"].shape for request in decoded.requests] == [(2, 4), (2, 8), (1, 16)]
    short, middle, long = decoded.requests
    assert short["input_ids"].tolist() == [[*ids_of("a"), 0], [*ids_of("text"), 0]]
    assert short["attention_mask"].tolist() == [[1, 1, 1, 0]] * 2
    assert middle["attention_mask"].sum(axis=1).tolist() == [8, 5]
    assert long["attention_mask"].sum() == 9
    assert {array.dtype for request in decoded.requests for array in request.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("dtype", [DataType.INT32, DataType.INT64])
def test_a_model_that_has_segments_gets_the_first_one(dtype: DataType) -> None:
    model = spec("input_ids", "token_type_ids", "attention_mask", dtype=dtype)
    (request,) = embedder(model).decode(payload("a gear")).requests
    assert set(request) == {"input_ids", "token_type_ids", "attention_mask"}
    assert not request["token_type_ids"].any()
    assert {array.dtype for array in request.values()} == {dtype.numpy}


def test_what_the_file_says_of_padding_and_length_is_left_aside() -> None:
    (request,) = embedder().decode(payload(words(10))).requests
    assert request["attention_mask"].sum() == 12
    assert Texts(TOKENIZER, None).tokens(["a", words(90)])[0] == ids_of("a")


def test_a_text_of_too_many_tokens_is_cut_before_its_last_special_one() -> None:
    decoded = embedder(max_tokens=6).decode(payload(words(40)))
    (request,) = decoded.requests
    assert request["input_ids"][0].tolist() == [*ids_of(*["gear"] * 4), 0, 0]
    assert embedder().encode(decoded, ran(decoded.requests))["usage"]["prompt_tokens"] == 6


def test_or_it_is_refused_if_so_set() -> None:
    made = embedder(too_long="refuse", max_tokens=6)
    assert made.decode(payload(words(4))).requests
    with pytest.raises(MalformedRequest, match=r"^input: has 42 tokens; one text may have at most 6"):
        made.decode(payload(words(40)))


def test_token_ids_are_taken_as_they_are() -> None:
    (request,) = embedder().decode(payload([5, 6, 7])).requests
    assert request["input_ids"].tolist() == [[5, 6, 7, 0]]
    decoded = embedder().decode(payload([[5], [6, 7, 8, 9, 10], [11, 12]]))
    assert [request["input_ids"].shape for request in decoded.requests] == [(2, 4), (1, 8)]


@given(
    st.lists(st.lists(st.integers(1, len(VOCABULARY) - 1), min_size=1, max_size=16), min_size=1, max_size=30)
)
def test_every_text_has_its_own_place_in_the_answer(tokens: list[list[int]]) -> None:
    made = embedder()
    decoded = made.decode(payload(tokens))
    for request in decoded.requests:
        ids, mask = request["input_ids"], request["attention_mask"]
        assert ids.shape == mask.shape
        assert ids.shape[1] in LENGTHS
        assert not ids[mask == 0].any()
    answer = made.encode(decoded, ran(decoded.requests))
    assert [each["index"] for each in answer["data"]] == list(range(len(tokens)))
    found = [each["embedding"].tolist() for each in answer["data"]]
    assert found == [[own[0], own[1] if len(own) > 1 else 0, len(own)] for own in tokens]
    assert answer["usage"]["total_tokens"] == sum(map(len, tokens))


def test_several_bodies_are_tokenised_together_and_one_bad_one_harms_itself_alone() -> None:
    made = embedder()
    good = [payload(["a", "gear is"]), payload([4, 5]), payload("text!")]
    bad = Payload(b"{")
    found = made.decode_many([good[0], bad, *good[1:]])
    assert isinstance(found[1], MalformedRequest)
    for one, alone in zip([found[0], *found[2:]], map(made.decode, good), strict=True):
        assert not isinstance(one, Exception)
        for request, expected in zip(one.requests, alone.requests, strict=True):
            assert {name: array.tolist() for name, array in request.items()} == {
                name: array.tolist() for name, array in expected.items()
            }


def test_ids_past_a_gap_are_known() -> None:
    told = json.loads(TOKENIZER)
    last = max(told["model"]["vocab"].values())
    told["model"]["vocab"]["far"] = last + 100
    made = embedder(tokenizer=json.dumps(told))
    (request,) = made.decode(payload([last + 100])).requests
    assert request["input_ids"][0, 0] == last + 100
    with pytest.raises(MalformedRequest, match=f"whole numbers of 0 to {last + 100}, by its own"):
        made.decode(payload([last + 101]))


# --- out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_base64_is_of_little_endian_float32(dtype: type) -> None:
    made = embedder()
    decoded = made.decode(payload("a", encoding_format="base64"))
    row = np.array([[0.5, -1.25, 3.0]], dtype)
    (told,) = made.encode(decoded, [{"embedding": row}])["data"]
    assert base64.b64decode(told["embedding"]) == bytes.fromhex("0000003f 0000a0bf 00004040")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_no_answer(bad: float) -> None:
    made = embedder()
    decoded = made.decode(payload(["a", "text"]))
    outputs = [{"embedding": np.array([[1, 2, 3], [4, bad, 6]], np.float32)}]
    with pytest.raises(UnusableOutput, match="not finite"):
        made.encode(decoded, outputs)


# --- refused --------------------------------------------------------------------------------------

# orjson reads more levels than it writes.
DEEP, DEEP_OBJECT = b"[" * 300 + b"]" * 300, b'{"a":' * 300 + b"1" + b"}" * 300
WRONG = {
    "no JSON": (b"{", "", "no JSON"),
    "no object": (b"[]", "", "no JSON object"),
    "unknown field": (b'{"input": "a", "modle": "x"}', "", "did you mean 'model'"),
    "no input": (b'{"model": "minilm"}', "input", "is missing"),
    "null": (b'{"input": null}', "input", "is null"),
    "an object": (b'{"input": {"text": "a"}}', "input", "is an object;"),
    "deep lists": (b'{"input": %s}' % DEEP, "input[0]", "has a list, which is no token id"),
    "deep objects": (b'{"input": %s}' % DEEP_OBJECT, "input", "is an object;"),
    "a deep second": (b'{"input": ["a", %s]}' % DEEP, "input[1]", "is a list, which is no text"),
    "a deep encoding": (b'{"input": "a", "encoding_format": %s}' % DEEP, "encoding_format", "is a list;"),
    "deep dimensions": (b'{"input": "a", "dimensions": %s}' % DEEP_OBJECT, "dimensions", "is an object,"),
    "a deep name": (b'{"input": "a", "model": %s}' % DEEP, "model", "is a list,"),
    "deeper than is read": (b"[" * 1025 + b"]" * 1025, "", "no JSON"),
    "an empty list": (b'{"input": []}', "input", "is an empty list"),
    "an empty text": (b'{"input": ""}', "input", "is an empty text"),
    "a second one": (b'{"input": ["a", ""]}', "input[1]", "is an empty text"),
    "no text among them": (b'{"input": ["a", 7]}', "input[1]", "is 7, which is no text"),
    "long text": (b'{"input": ["a", "%s"]}' % (b"a" * 101), "input[1]", "has 101 characters; one text may"),
    "many texts": (b'{"input": ["a", "a", "a", "a"]}', "input", "has 4 texts; one call may have at most 3"),
    "many lists": (b'{"input": [[4], [4], [4], [4]]}', "input", "has 4 texts; one call may have at most 3"),
    "no ids": (b'{"input": [[4], []]}', "input[1]", "has no token ids"),
    "text among ids": (b'{"input": [[4], "a"]}', "input[1]", 'is "a"'),
    "unknown id": (b'{"input": [4, 18]}', "input", "has 18, which is no token id"),
    "negative id": (b'{"input": [[-1]]}', "input[0]", "has -1"),
    "a fraction": (b'{"input": [[4.0]]}', "input[0]", "has 4.0"),
    "a truth": (b'{"input": [true]}', "input", "has true"),
    "many ids": (b'{"input": [%s]}' % b",".join([b"4"] * 17), "input", "has 17 tokens; one text may have at most 16"),
    "encoding": (b'{"input": "a", "encoding_format": "hex"}', "encoding_format", "one of float, base64"),
    "dimensions": (b'{"input": "a", "dimensions": 2}', "dimensions", "not trained to be shortened"),
    "no number of them": (b'{"input": "a", "dimensions": true}', "dimensions", "is true"),
    "no name": (b'{"input": "a", "model": 7}', "model", "is 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_told_which_field_and_why(name: str) -> None:
    body, param, said = WRONG[name]
    made = embedder(max_texts=3, max_characters=100)
    with pytest.raises(MalformedRequest) as raised:
        made.decode(Payload(body))
    told = made.failure(raised.value)["error"]
    assert said in told["message"]
    assert told["param"] == (param or None)
    assert (told["type"], told["code"]) == ("invalid_request_error", None)
    assert len(told["message"]) < 400


def test_a_long_value_is_not_repeated_whole() -> None:
    bounds = Bounds(texts=3, characters=100, tokens=16, vocabulary=18)
    body = json.dumps({"input": "a", "encoding_format": "x" * 10_000}).encode()
    with pytest.raises(MalformedRequest, match=r"x\.\.\.") as raised:
        read_call(body, "minilm", WIDTH, bounds)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "fields", [{}, {"model": "minilm"}, {"model": None, "user": "me", "dimensions": WIDTH}]
)
def test_what_may_be_left_out(fields: Mapping[str, Any]) -> None:
    assert embedder().decode(payload("a", **fields)).requests


def test_another_model_is_not_found() -> None:
    with pytest.raises(ModelNotFound, match="did you mean 'minilm'") as raised:
        embedder().decode(payload("a", model="minilm2"))
    assert failure(raised.value)["error"]["code"] == "model_not_found"


texts = st.text(max_size=20) | st.sampled_from(['"model": "x"', '{"model":"x"}', "\\", '","model":"x'])


@given(st.lists(texts, max_size=4), texts, st.permutations(FIELDS), st.sampled_from([None, 2]))
def test_the_model_is_found_without_reading_the_rest(
    given_texts: list[str], name: str, order: list[str], indent: int | None
) -> None:
    fields = {"input": given_texts, "model": name, "encoding_format": "float", "dimensions": 3, "user": name}
    for ascii_alone in (False, True):
        body = json.dumps({key: fields[key] for key in order}, indent=indent, ensure_ascii=ascii_alone)
        assert model_named(body.encode("utf-8", "surrogatepass")) == name
    del fields["model"]
    assert model_named(json.dumps(fields, indent=indent).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'"model"',
        b'{"model"',
        b'{"model": "\\ud800"}',
        b'{"model": 7}',
        b'{"model": "%s"}' % (b"a" * 5000),
    ],
)
def test_a_body_that_names_no_model(body: bytes) -> None:
    assert model_named(body) is None


def test_a_value_that_looks_like_the_key_is_passed_by() -> None:
    assert model_named(b'{"user": "model", "model": "minilm"}') == "minilm"
    assert model_named(b'{"user":"model","input":"\\"model\\": \\"x\\""}') is None


# --- settings -------------------------------------------------------------------------------------


def test_the_tokeniser_travels_and_its_file_does_not(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(TOKENIZER, encoding="utf-8")
    args = {"processor": HERE, "processor_args": {"tokenizer": str(file), "max_texts": 4}}
    whole = settled(args)
    file.unlink()
    assert whole["processor_args"] == {"tokenizer": TOKENIZER, "max_texts": 4}
    assert isinstance(make_processor(HERE, settled(whole)["processor_args"], spec()), TextEmbedder)


def test_a_file_that_is_not_there_is_told_by_the_check(tmp_path: Path) -> None:
    config = ModelConfig(recipe=Path("r.yaml"), processor=HERE, processor_args={"tokenizer": "no/such.json"})
    with pytest.raises(ConfigError, match=r"tokenizer: 'no/such\.json' cannot be read"):
        check_settings(config, tmp_path)


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (
            spec(),
            {"max_tokens": 17},
            "max_tokens is 17, but the longest length that 'minilm' was compiled for is 16",
        ),
        (spec(), {"max_tokens": 2}, "the tokeniser adds 2 to every text"),
        (spec(), {"output": "embeding"}, "did you mean 'embedding'"),
        (spec("input_ids", "mask"), {}, "input 'mask' of 'minilm' is none of tokens"),
        (spec("input_ids"), {}, "'minilm' has no input 'attention_mask'"),
        (spec(dtype=DataType.FP32), {}, "token ids are INT32 or INT64"),
        (spec(real=DataType.INT32), {}, "embeddings are FP16 or FP32"),
        (spec(output=(4, WIDTH)), {}, "pooling belongs into the graph"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_do_not_fit_the_model_are_refused(
    model: ModelSpec, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        embedder(model, **settings)
    assert said in str(raised.value)


def test_a_model_without_rows_or_with_inputs_of_two_lengths_is_refused() -> None:
    fixed = replace(
        spec(),
        inputs=tuple(TensorSpec(name, DataType.INT64, (16,)) for name in ("input_ids", "attention_mask")),
        outputs=(TensorSpec("embedding", DataType.FP32, (WIDTH,)),),
        gears=Gears((1,)),
        buckets=(),
    )
    with pytest.raises(ConfigError, match="has no batch axis"):
        embedder(fixed)
    odd = Bucket(GEARS, {"input_ids": (4,), "attention_mask": (8,), "embedding": (WIDTH,)})
    with pytest.raises(ConfigError, match=r"have the lengths \[4, 8\] in bucket 3"):
        embedder(replace(spec(), buckets=(*spec().buckets, odd)))


def test_of_two_outputs_one_is_named() -> None:
    shapes = {"input_ids": (8,), "attention_mask": (8,), "embedding": (WIDTH,), "pooled": (WIDTH,)}
    both = replace(
        spec(),
        outputs=(*spec().outputs, TensorSpec("pooled", DataType.FP32, (-1, WIDTH))),
        buckets=(Bucket(GEARS, shapes), Bucket(GEARS, {**shapes, "input_ids": (9,), "attention_mask": (9,)})),
    )
    with pytest.raises(ConfigError, match="say which by `output`"):
        embedder(both)
    assert embedder(both, output="pooled")


@pytest.mark.parametrize("told", ["{", "{}", '{"model": 7}'])
def test_a_file_that_is_no_tokeniser_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match="is no tokeniser"):
        TextEmbedder(EmbeddingSettings(tokenizer=told), spec())


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.delitem(sys.modules, "ascend_serve.processing.texts", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'ascend-serve\[text\]'"):
        embedder()


def test_a_verb_lists_nothing() -> None:
    with pytest.raises(ValueError, match="cannot list several"):
        ProcessorDoor(verb="embed", lists=True)


def test_a_list_of_models_has_a_form_of_its_own_unless_the_processor_has_one() -> None:
    assert Processor.listing(("a", "b")) == {"models": [{"name": "a"}, {"name": "b"}]}
    assert TextEmbedder.listing(("a",))["data"] == [TextEmbedder.listed("a")]


# --- before a parser makes objects of it ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"input": [' + b"[]," * 40_000 + b"[]]}", "more lists than the 3 texts"),
        (b'{"input": ' + b"[" * 70_000 + b"]" * 70_000 + b"}", "more lists than the 3 texts"),
        (b'{"input": [' + b'"a",' * 40_000 + b'"a"]}', "more texts than the 3"),
        (b'{"input": [' + b"1," * 40_000 + b"1]}", "more token ids than 3 texts of 16"),
    ],
)
def test_a_large_body_is_counted_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch, body: bytes, words: str
) -> None:
    monkeypatch.setattr("ascend_serve.processing.embedding_calls.orjson", None)
    with pytest.raises(MalformedRequest, match=f"^input: has {words}"):
        read_call(body, "minilm", WIDTH, Bounds(texts=3, characters=100, tokens=16, vocabulary=18))


@pytest.mark.parametrize(
    "text", ["[{,]}" * 30_000, '"' * 70_000, "\\" * 70_000, '\\"[,' * 40_000, "\u005c[" * 30_000]
)
def test_what_stands_within_a_text_is_not_counted(text: str) -> None:
    bounds = Bounds(texts=3, characters=1 << 20, tokens=16, vocabulary=18)
    for body in (payload([text, "a", text]).body, json.dumps({"input": text}, ensure_ascii=False).encode()):
        assert text in read_call(body, "minilm", WIDTH, bounds).texts

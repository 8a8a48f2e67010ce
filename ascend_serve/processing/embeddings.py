"""Texts in, embeddings out: the processor of sentence encoders, with OpenAI's API.

    processor: ascend_serve.processing.embeddings:TextEmbedder
    processor_args: {tokenizer: tokenizer.json}

Needs `tokenizers` (the extra `text`). The model takes `input_ids` and `attention_mask` (and `token_type_ids`, where it
has them), `[rows, length]` each, and gives one embedding a row: pooling belongs into its graph, where the card does it.

Each text is a row. Texts of one call that run at the same compiled length are one request to the model, so that short
ones are not padded to the longest, and share their runs with everybody else's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from ascend_serve.errors import AscendServeError, ConfigError, UnusableOutput
from ascend_serve.processing import embedding_calls
from ascend_serve.processing.embedding_calls import Bounds, Call, check_count, read_call
from ascend_serve.processing.processor import (
    Array,
    Decoded,
    Payload,
    Processor,
    ProcessorDoor,
    ProcessorSettings,
    Tensors,
)
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.text import nearest

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
"""Inputs as Hugging Face's models name them. Every token is of segment 0."""

_WHOLE = (DataType.INT32, DataType.INT64)
_REAL = (DataType.FP16, DataType.FP32)
_SINCE = int(time.time())
"""When this process began to serve, in seconds since 1970."""


class EmbeddingSettings(ProcessorSettings):
    """How texts become tokens, and what one call may ask for.

    Attributes:
        tokenizer: the model's `tokenizer.json`; its content travels to the replicas.
        output: the model's output with the embeddings; default its only one.
        max_texts: most texts of one call.
        max_characters: most characters of one text, before it is tokenised.
        max_tokens: most tokens of one text, special ones included; default the model's longest length.
        too_long: whether a text of more tokens is `cut` after them, or refused (`refuse`). Token ids that the caller
            sends are never cut.
    """

    tokenizer: str
    output: str | None = None
    max_texts: int = Field(default=2048, ge=1)
    max_characters: int = Field(default=32_768, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    too_long: Literal["cut", "refuse"] = "cut"

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _read_tokenizer(cls, tokenizer: object) -> object:
        """What the file holds, so that it and not its path travels to the replicas."""
        if not isinstance(tokenizer, str | Path) or str(tokenizer).lstrip().startswith("{"):
            return tokenizer
        return cls.content_of(tokenizer, "tokenizer")


class _Asked(NamedTuple):
    """What `encode` has to know of a call.

    Attributes:
        places: of the rows of each request, among the call's texts.
        tokens: how many all texts have.
        as_base64: as the call asked for.
    """

    places: Sequence[Array]
    tokens: int
    as_base64: bool


class TextEmbedder(Processor[EmbeddingSettings]):
    """Texts or token ids in, embeddings out, at `/v1/embeddings`; `/v1/models` lists the models there.

    Raises:
        ConfigError: tokenizers is missing, or the settings do not fit the model.
    """

    Settings: ClassVar[type[ProcessorSettings]] = EmbeddingSettings
    doors: ClassVar[tuple[ProcessorDoor, ...]] = (
        ProcessorDoor(path="/v1/embeddings", methods=("POST",)),
        ProcessorDoor(path="/v1/models", methods=("GET", "HEAD"), lists=True),
    )
    # One call of the tokeniser costs about as much as a short text.
    decode_together: ClassVar[int] = 16
    encode_together: ClassVar[int] = 16

    def __init__(self, settings: EmbeddingSettings, spec: ModelSpec) -> None:
        try:
            from ascend_serve.processing.texts import Texts
        except ImportError as error:
            raise ConfigError(
                f"texts need tokenizers, which is not installed ({error}): pip install 'ascend-serve[text]'"
            ) from error
        self._model = spec.name
        self._dtypes = _inputs(spec)
        self._lengths = _lengths(spec)
        self._output = _output(spec, settings.output)
        longest = self._lengths[-1]
        most = settings.max_tokens or longest
        if most > longest:
            raise ConfigError(
                f"max_tokens is {most}, but the longest length that '{spec.name}' was compiled for is {longest}"
            )
        self._texts = Texts(settings.tokenizer, most if settings.too_long == "cut" else None)
        self._bounds = Bounds(settings.max_texts, settings.max_characters, most, self._texts.vocabulary)

    def decode(self, payload: Payload) -> Decoded:
        """Make tensors of a call.

        Raises:
            MalformedRequest: no call of this API, or a bound was passed.
            ModelNotFound: it is for another model.
        """
        (decoded,) = self.decode_many([payload])
        if isinstance(decoded, AscendServeError):
            raise decoded
        return decoded

    def decode_many(self, payloads: Sequence[Payload]) -> Sequence[Decoded | AscendServeError]:
        """As `decode`, the texts of all tokenised in one go."""
        calls: list[Call | AscendServeError] = []
        texts: list[str] = []
        for payload in payloads:
            try:
                call = read_call(payload.body, self._model, self._output.shape[1], self._bounds)
            except AscendServeError as error:
                calls.append(error)
            else:
                calls.append(call)
                texts += call.texts
        tokens = iter(self._texts.tokens(texts) if texts else ())
        found: list[Decoded | AscendServeError] = []
        for each in calls:
            if isinstance(each, AscendServeError):
                found.append(each)
                continue
            own = each.tokens or [next(tokens) for _ in each.texts]
            try:
                found.append(self._decoded(own, each))
            except AscendServeError as error:
                found.append(error)
        return found

    def encode(self, decoded: Decoded, outputs: Sequence[Tensors]) -> Any:
        """The embeddings of a call, in the order of its texts.

        Raises:
            UnusableOutput: an output that is no finite number.
        """
        asked: _Asked = decoded.context
        rows = sum(map(len, asked.places))
        embeddings = np.empty((rows, self._output.shape[1]), np.float32)
        for places, tensors in zip(asked.places, outputs, strict=True):
            embeddings[places] = tensors[self._output.name]
        if not np.isfinite(embeddings).all():
            raise UnusableOutput(
                "the model gave an embedding with a number that is not finite: its weights, or values past half "
                "precision's range (a recipe with `precision: fp32` tells which)"
            )
        return embedding_calls.answer(self._model, embeddings, asked.tokens, as_base64=asked.as_base64)

    @classmethod
    def failure(cls, error: AscendServeError) -> Any:
        """OpenAI's error object."""
        return embedding_calls.failure(error)

    @classmethod
    def model_of(cls, payload: Payload) -> str | None:
        """The field `model`."""
        return embedding_calls.model_named(payload.body)

    @classmethod
    def listing(cls, names: Sequence[str]) -> Any:
        """OpenAI's list of models."""
        return {"object": "list", "data": [cls.listed(name) for name in names]}

    @classmethod
    def listed(cls, name: str) -> Any:
        """OpenAI's model object."""
        return {"id": name, "object": "model", "created": _SINCE, "owned_by": "ascend_serve"}

    def _decoded(self, tokens: Sequence[Sequence[int]], call: Call) -> Decoded:
        for index, row in enumerate(tokens):
            where = "input" if len(tokens) == 1 else f"input[{index}]"
            check_count(where, len(row), self._bounds.tokens)
        counts = np.fromiter(map(len, tokens), np.int64, len(tokens))
        lengths = np.searchsorted(self._lengths, counts)
        requests, places = [], []
        for bucket in np.unique(lengths).tolist():
            (own,) = np.nonzero(lengths == bucket)
            requests.append(self._tensors([tokens[place] for place in own.tolist()], self._lengths[bucket]))
            places.append(own)
        return Decoded(requests, _Asked(places, int(counts.sum()), call.as_base64))

    def _tensors(self, tokens: Sequence[Sequence[int]], length: int) -> Tensors:
        ids = np.full((len(tokens), length), self._texts.padding, self._dtypes[IDS])
        mask = np.zeros((len(tokens), length), self._dtypes[MASK])
        for row, own in enumerate(tokens):
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
        tensors = {IDS: ids, MASK: mask}
        if SEGMENTS in self._dtypes:
            tensors[SEGMENTS] = np.zeros((len(tokens), length), self._dtypes[SEGMENTS])
        return tensors


def _inputs(spec: ModelSpec) -> Mapping[str, np.dtype[Any]]:
    """The dtype of each input."""
    if not spec.batched:
        raise ConfigError(
            f"'{spec.name}' has no batch axis: compile it with `gears`, or `dims_gears` of batch and length"
        )
    for tensor in spec.inputs:
        if tensor.name not in (IDS, MASK, SEGMENTS):
            known = (IDS, MASK, SEGMENTS)
            raise ConfigError(
                f"input '{tensor.name}' of '{spec.name}' is none of tokens{nearest(tensor.name, known)}"
            )
        if tensor.dtype not in _WHOLE or len(tensor.shape) != 2:
            raise ConfigError(
                f"input '{tensor.name}' of '{spec.name}' is {tensor.dtype.name} {list(tensor.shape)}; token ids are "
                "INT32 or INT64 [rows, length]"
            )
    for name in (IDS, MASK):
        if spec.input(name) is None:
            raise ConfigError(f"'{spec.name}' has no input '{name}': without it, padding would count as text")
    return {tensor.name: tensor.dtype.numpy for tensor in spec.inputs}


def _lengths(spec: ModelSpec) -> list[int]:
    """The lengths that the model was compiled for, ascending."""
    lengths = set()
    for number, bucket in enumerate(spec.buckets):
        sizes = {bucket.shapes[tensor.name][0] for tensor in spec.inputs}
        if len(sizes) > 1:
            raise ConfigError(
                f"the inputs of '{spec.name}' have the lengths {sorted(sizes)} in bucket {number}: make them one"
            )
        lengths |= sizes
    return sorted(lengths)


def _output(spec: ModelSpec, name: str | None) -> TensorSpec:
    """The output with the embeddings."""
    names = [tensor.name for tensor in spec.outputs]
    if name is None and len(names) > 1:
        raise ConfigError(f"the model has the outputs {', '.join(names)}: say which by `output`")
    output = spec.output(names[0] if name is None else name)
    if output is None:
        raise ConfigError(f"output: the model has no output '{name}'{nearest(str(name), names)}")
    if len(output.shape) != 2 or output.shape[1] < 1 or output.dtype not in _REAL:
        raise ConfigError(
            f"output '{output.name}' of '{spec.name}' is {output.dtype.name} {list(output.shape)}; embeddings are FP16 "
            "or FP32 [rows, width]: pooling belongs into the graph, as examples/minilm/bert.py has it"
        )
    return output

"""The calls of OpenAI's embeddings API: what a body asks for, what is answered, and what an error looks like.

Rests on OpenAI's API reference ("Create embeddings", "List models", "Error codes"). Where it is silent about models
that are not OpenAI's own, this follows vLLM's server: `model` may be left out, token ids are taken as they are, and
`dimensions` is for models that were trained to be shortened.

A message about a field begins with the field's name and a colon, which becomes the error's `param`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ascend_serve.errors import AscendServeError, MalformedRequest, ModelNotFound, QueueFull, Unauthenticated
from ascend_serve.processing.processor import Array
from ascend_serve.spec.text import nearest

FIELDS = ("input", "model", "encoding_format", "dimensions", "user")
_FORMATS = ("float", "base64")
_FEW_VALUES = 32 * 1024
"""Values of which a parser makes objects in a few milliseconds."""
_FIELDS_AT_MOST = 64
"""Strings, numbers, lists and objects that a call has besides its texts; a few more than there are fields for."""
_LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""

# A quote within a JSON string has a backslash before it, so what follows a brace, a comma or a blank opens a string;
# and only a key has a colon behind it. What stands before the key is looked at after it, since `re` is quick to find
# an expression that begins with fixed bytes. The name is bounded, since `re` keeps a note for each of its characters.
_MODEL = re.compile(rb'"model"(?<=[{,\s]"model")\s*:\s*("(?:[^"\\\x00-\x1f]|\\.){0,4096}")')
_FIELD = re.compile(rf"({'|'.join(FIELDS)})(\[\d+\])*(?=:)")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on a call.

    Attributes:
        texts: the most texts.
        characters: the most of one text.
        tokens: the most of one text, special ones included.
        vocabulary: a number above every token id.
    """

    texts: int
    characters: int
    tokens: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Call:
    """What a body asks for.

    Attributes:
        texts: to be tokenised; empty when `tokens` are given.
        tokens: ids of texts that the caller tokenised.
        as_base64: whether embeddings are answered as base64 of little-endian float32.
    """

    texts: Sequence[str]
    tokens: Sequence[Sequence[int]]
    as_base64: bool


def read_call(body: bytes, model: str, width: int, bounds: Bounds) -> Call:
    """What a body asks for.

    Args:
        body: JSON.
        model: name of the one behind the door.
        width: numbers of one of its embeddings.
        bounds: on the call.

    Raises:
        MalformedRequest: no such call, or a bound was passed.
        ModelNotFound: it is for another model.
    """
    _check_size(body, bounds)
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MalformedRequest('the body is no JSON object; send {"model": ..., "input": ...}')
    for name in fields:
        if name not in FIELDS:
            raise MalformedRequest(f"there is no field {_shown(name)} here{nearest(name[:100], FIELDS)}")
    _check_model(fields.get("model"), model)
    given = fields.get("encoding_format")
    if given is not None and given not in _FORMATS:
        raise MalformedRequest(f"encoding_format: is {_shown(given)}; it is one of {', '.join(_FORMATS)}")
    dimensions = fields.get("dimensions")
    if dimensions is not None and (isinstance(dimensions, bool) or dimensions != width):
        raise MalformedRequest(
            f"dimensions: is {_shown(dimensions)}, but '{model}' gives {width} and was not trained to be shortened: "
            "leave it out"
        )
    if "input" not in fields:
        raise MalformedRequest(
            "input: is missing; it is a text, a list of texts, or token ids of one or of several"
        )
    texts, tokens = _read_input(fields["input"], bounds)
    return Call(texts, tokens, given == "base64")


def model_named(body: bytes) -> str | None:
    """The model that a body names, found without reading the rest; None when it names none."""
    found = _MODEL.search(body)
    if found is None:
        return None
    try:
        name: str = orjson.loads(found.group(1))
    except orjson.JSONDecodeError:
        return None
    return name


def answer(model: str, embeddings: Array, tokens: int, *, as_base64: bool) -> dict[str, Any]:
    """The body of an answer.

    Args:
        model: its name.
        embeddings: float32 `[texts, width]`, in the order of the texts.
        tokens: how many were run.
        as_base64: as the call asked for.
    """
    told = [_base64(row) if as_base64 else row for row in embeddings]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(told)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def failure(error: AscendServeError) -> dict[str, Any]:
    """The body of an error answer."""
    message, param, code = str(error), None, None
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    if isinstance(error, ModelNotFound):
        param, code = "model", "model_not_found"
    elif isinstance(error, Unauthenticated):
        code = "invalid_api_key"
    elif isinstance(error, QueueFull):
        kind, code = "requests", "rate_limit_exceeded"
    elif field := _FIELD.match(message):
        param = field.group()
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _check_size(body: bytes, bounds: Bounds) -> None:
    """Check that a body has no more in it than a call may have, before a parser makes objects of it.

    The parser holds the GIL until it is done, and a list of two bytes takes it as long as a text of many.
    """
    # A comma or what opens a list or an object stands before every value, or before its key.
    if body.count(b"[") + body.count(b"{") + body.count(b",") <= _FEW_VALUES:
        return
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")  # by now every quote opens or closes a string
    strings = bare.count(b'"') // 2
    if strings > bounds.texts + _FIELDS_AT_MOST:
        raise MalformedRequest(f"input: has more texts than the {bounds.texts} that one call may have")
    outside = b"".join(bare.split(b'"')[::2])
    if outside.count(b"[") + outside.count(b"{") > bounds.texts + _FIELDS_AT_MOST:
        raise MalformedRequest(f"input: has more lists than the {bounds.texts} texts that one call may have")
    if outside.count(b",") > bounds.texts * (bounds.tokens + 1) + _FIELDS_AT_MOST:
        raise MalformedRequest(
            f"input: has more token ids than {bounds.texts} texts of {bounds.tokens} have, which one call may have"
        )


def _check_model(given: object, model: str) -> None:
    if given is None or given == model:
        return
    if not isinstance(given, str):
        raise MalformedRequest(f"model: is {_shown(given)}, which is no text")
    raise ModelNotFound(f"model: no model {_shown(given)} here{nearest(given[:100], [model])}")


def _read_input(given: object, bounds: Bounds) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Texts, or lists of token ids."""
    if isinstance(given, str):
        _check_text("input", given, bounds)
        return [given], ()
    if not isinstance(given, list):
        raise MalformedRequest(f"input: is {_shown(given)}; it is a text, a list of texts, or token ids")
    if not given:
        raise MalformedRequest("input: is an empty list; give at least one text")
    if isinstance(given[0], int):
        _check_tokens("input", given, bounds)
        return (), [given]
    if len(given) > bounds.texts:
        raise MalformedRequest(f"input: has {len(given)} texts; one call may have at most {bounds.texts}")
    check = _check_text if isinstance(given[0], str) else _check_tokens
    for index, one in enumerate(given):
        check(f"input[{index}]", one, bounds)
    return (given, ()) if check is _check_text else ((), given)


def _check_text(where: str, text: object, bounds: Bounds) -> None:
    if not isinstance(text, str):
        raise MalformedRequest(f"{where}: is {_shown(text)}, which is no text as those before it are")
    if not text:
        raise MalformedRequest(f"{where}: is an empty text, which means nothing")
    if len(text) > bounds.characters:
        raise MalformedRequest(
            f"{where}: has {len(text)} characters; one text may have at most {bounds.characters}: send it in parts"
        )


def _check_tokens(where: str, tokens: object, bounds: Bounds) -> None:
    if not isinstance(tokens, list):
        raise MalformedRequest(f"{where}: is {_shown(tokens)}; it is a text, or a list of token ids")
    if not tokens:
        raise MalformedRequest(f"{where}: has no token ids")
    check_count(where, len(tokens), bounds.tokens)
    for token in tokens:
        if type(token) is not int or not 0 <= token < bounds.vocabulary:
            raise MalformedRequest(
                f"{where}: has {_shown(token)}, which is no token id of this model: those are whole numbers of 0 to "
                f"{bounds.vocabulary - 1}, by its own tokeniser"
            )


def check_count(where: str, count: int, most: int) -> None:
    """See that a text is no longer than a model's longest.

    Args:
        where: the field.
        count: tokens of the text.
        most: how many it may have.

    Raises:
        MalformedRequest: it is longer.
    """
    if count > most:
        raise MalformedRequest(
            f"{where}: has {count} tokens; one text may have at most {most}: send it in parts"
        )


def _base64(row: Array) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _shown(value: object) -> str:
    """A value as JSON has it, shortened, or what kind of container it is."""
    # orjson reads more levels than it writes.
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    words = orjson.dumps(value[:_LONGEST_SHOWN] if isinstance(value, str) else value).decode()
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}..."

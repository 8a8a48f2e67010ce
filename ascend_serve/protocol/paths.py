"""Every path of the protocol over HTTP: the one table that the door and its OpenAPI description are made of.

Rests on the Open Inference Protocol v2's REST document and on Triton's protocol extensions
(triton-inference-server/server, docs/protocol): model configuration, statistics and model repository. The path of the
description is MLServer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ascend_serve.spec.text import nearest

MODEL = "{model}"
VERSION = "{version}"


class Verb(NamedTuple):
    """Something that can be asked.

    Attributes:
        name: what the doors call it.
        method: of HTTP; where it is GET, HEAD is taken too.
        paths: templates, each segment of which is itself, `{model}` or `{version}`.
        summary: one sentence.
        answer: name of the answer's schema (`openapi`).
        body: name of the body's schema; empty for none.
        is_open: whether it is answered without a token.
    """

    name: str
    method: str
    paths: tuple[str, ...]
    summary: str
    answer: str
    body: str = ""
    is_open: bool = False


def _of_model(rest: str) -> tuple[str, str]:
    return f"/v2/models/{MODEL}{rest}", f"/v2/models/{MODEL}/versions/{VERSION}{rest}"


VERBS = (
    Verb("live", "GET", ("/v2/health/live",), "Whether the server answers.", "Live", is_open=True),
    Verb("ready", "GET", ("/v2/health/ready",), "Whether all models take requests.", "Ready", is_open=True),
    Verb("server", "GET", ("/v2",), "Name, version and extensions of the server.", "ServerMetadata"),
    Verb("description", "GET", ("/v2/docs/dataplane.json",), "This description.", "Description"),
    Verb("all_statistics", "GET", ("/v2/models/stats",), "Statistics of all models.", "Statistics"),
    Verb("index", "POST", ("/v2/repository/index",), "All models and versions.", "Index", "IndexRequest"),
    Verb(
        "load",
        "POST",
        (f"/v2/repository/models/{MODEL}/load", f"/v2/repository/models/{MODEL}/unload"),
        "Refused: models come and go with the Serve file.",
        "Error",
    ),
    Verb("model", "GET", _of_model(""), "Signature and versions of a model.", "ModelMetadata"),
    Verb("model_ready", "GET", _of_model("/ready"), "Whether a model takes requests.", "ModelReady"),
    Verb("config", "GET", _of_model("/config"), "How a model is served.", "ModelConfig"),
    Verb("statistics", "GET", _of_model("/stats"), "What a model did and took.", "Statistics"),
    Verb("infer", "POST", _of_model("/infer"), "Inference.", "InferResponse", "InferRequest"),
)
"""In the order in which they are looked for: a path of words stands before one that takes any name."""


class Asked(NamedTuple):
    """What a path asks for: a verb, and the model and version that the path names."""

    verb: Verb
    model: str | None
    version: str | None


def _templates() -> Iterator[tuple[tuple[str, ...], Verb]]:
    for verb in VERBS:
        for path in verb.paths:
            yield tuple(path.split("/")), verb


_TEMPLATES = tuple(_templates())


def asked_by(path: str) -> Asked | None:
    """What a path asks for, or None if that is nothing of the protocol."""
    segments = path.split("/")
    for template, verb in _TEMPLATES:
        if len(template) != len(segments):
            continue
        named: dict[str, str] = {}
        for expected, found in zip(template, segments, strict=True):
            if expected in (MODEL, VERSION) and found:
                named[expected] = found
            elif expected != found:
                break
        else:
            return Asked(verb, named.get(MODEL), named.get(VERSION))
    return None


def like(path: str) -> str:
    """A hint at the path of words that is nearest, for a message; empty if none is."""
    known = [each for verb in VERBS for each in verb.paths if MODEL not in each]
    return nearest(path[:100], known)

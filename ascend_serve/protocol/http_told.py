"""What is told of server and models over HTTP, as JSON, and the small requests for it.

Rests on the Open Inference Protocol v2's REST document, and on Triton's protocol extensions for a model's
configuration, statistics and the model repository (triton-inference-server/server, docs/protocol). A configuration is
the JSON form of Triton's message `ModelConfig`, with the field names of its .proto file and numbers as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from ascend_serve.errors import MalformedRequest
from ascend_serve.protocol.messages import (
    IndexEntry,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    TensorMetadata,
)
from ascend_serve.protocol.show import show


def encode_metadata(metadata: ServerMetadata | ModelMetadata) -> bytes:
    """Server or model metadata as the protocol's JSON object."""
    return orjson.dumps(metadata)


def encode_model_config(config: ModelConfig) -> bytes:
    """A model's configuration."""
    document: dict[str, Any] = {"name": config.name, "platform": config.platform}
    if config.version.isdigit():  # Triton's versions are numbers
        document["version_policy"] = {"specific": {"versions": [int(config.version)]}}
    document["max_batch_size"] = config.max_batch_size
    document["input"] = [_config_tensor(tensor) for tensor in config.inputs]
    document["output"] = [_config_tensor(tensor) for tensor in config.outputs]
    if config.gears:
        batching: dict[str, Any] = {"preferred_batch_size": config.gears}
        if config.priority_levels > 1:
            batching["priority_levels"] = config.priority_levels
        document["dynamic_batching"] = batching
    return orjson.dumps(document)


def encode_statistics(statistics: Iterable[ModelStatistics]) -> bytes:
    """Statistics of models."""
    return orjson.dumps({"model_stats": list(statistics)})


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """The index of the repository."""
    return orjson.dumps(list(entries))


def decode_index(body: bytes) -> bool:
    """Whether a request for the index asks for models that are ready alone; a body may be missing.

    Raises:
        MalformedRequest: it is no JSON object, or `ready` in it is no boolean.
    """
    if not body:
        return False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the JSON of the request cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequest(f"the request is {show(document)}, but must be a JSON object")
    ready = document.get("ready")
    if ready is not None and not isinstance(ready, bool):
        raise MalformedRequest(f"ready is {show(ready)}, but must be true or false")
    return bool(ready)


def _config_tensor(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": tensor.shape}

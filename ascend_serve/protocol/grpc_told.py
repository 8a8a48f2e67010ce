"""What is told of server and models over gRPC: serialised requests to their fields, and ours to serialised answers.

Rests on the Open Inference Protocol v2's gRPC document, and on Triton's protocol extensions for a model's
configuration, statistics and the model repository (triton-inference-server/server, docs/protocol).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ascend_serve.protocol._pb.messages import DATA_TYPES, message_class
from ascend_serve.protocol.grpc_codec import parsed
from ascend_serve.protocol.messages import (
    Duration,
    IndexEntry,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    TensorMetadata,
)

_ModelRequest = message_class(
    "ModelReadyRequest"
)  # those for metadata, config and statistics have the same fields
_IndexRequest = message_class("RepositoryIndexRequest")
_Live = message_class("ServerLiveResponse")
_ServerReady = message_class("ServerReadyResponse")
_ModelReady = message_class("ModelReadyResponse")
_ServerMetadata = message_class("ServerMetadataResponse")
_ModelMetadata = message_class("ModelMetadataResponse")
_ModelConfig = message_class("ModelConfigResponse")
_Statistics = message_class("ModelStatisticsResponse")
_Index = message_class("RepositoryIndexResponse")

_STAGES = ("compute_input", "compute_infer", "compute_output")
_COUNTED = ("success", "fail", "queue", *_STAGES, "cache_hit", "cache_miss")


def decode_model(message: bytes) -> tuple[str, str | None]:
    """Name and version that a request for a model names; None for no version.

    Raises:
        MalformedRequest: no such message.
    """
    request = parsed(_ModelRequest, message)
    return request.name, request.version or None


def decode_index(message: bytes) -> bool:
    """Whether a `RepositoryIndexRequest` asks for models that are ready alone.

    Raises:
        MalformedRequest: no such message.
    """
    ready: bool = parsed(_IndexRequest, message).ready
    return ready


def encode_server_live(live: bool) -> bytes:
    """A serialised `ServerLiveResponse`."""
    return _octets(_Live(live=live))


def encode_server_ready(ready: bool) -> bytes:
    """A serialised `ServerReadyResponse`."""
    return _octets(_ServerReady(ready=ready))


def encode_model_ready(ready: bool) -> bytes:
    """A serialised `ModelReadyResponse`."""
    return _octets(_ModelReady(ready=ready))


def encode_server_metadata(metadata: ServerMetadata) -> bytes:
    """A serialised `ServerMetadataResponse`."""
    return _octets(
        _ServerMetadata(name=metadata.name, version=metadata.version, extensions=metadata.extensions)
    )


def encode_model_metadata(metadata: ModelMetadata) -> bytes:
    """A serialised `ModelMetadataResponse`."""
    return _octets(
        _ModelMetadata(
            name=metadata.name,
            versions=metadata.versions,
            platform=metadata.platform,
            inputs=_tensors(metadata.inputs),
            outputs=_tensors(metadata.outputs),
        )
    )


def encode_model_config(config: ModelConfig) -> bytes:
    """A serialised `ModelConfigResponse`."""
    message = _ModelConfig()
    told = message.config
    told.name = config.name
    told.platform = config.platform
    told.max_batch_size = config.max_batch_size
    if config.version.isdigit():  # Triton's versions are numbers
        told.version_policy.specific.versions.append(int(config.version))
    for side, tensors in ((told.input, config.inputs), (told.output, config.outputs)):
        for tensor in tensors:
            side.add(name=tensor.name, data_type=DATA_TYPES.index(tensor.datatype), dims=tensor.shape)
    if config.gears:
        told.dynamic_batching.preferred_batch_size.extend(config.gears)
        if config.priority_levels > 1:
            told.dynamic_batching.priority_levels = config.priority_levels
    return _octets(message)


def encode_statistics(statistics: Iterable[ModelStatistics]) -> bytes:
    """A serialised `ModelStatisticsResponse`."""
    message = _Statistics()
    for model in statistics:
        told = message.model_stats.add(
            name=model.name,
            version=model.version,
            last_inference=model.last_inference,
            inference_count=model.inference_count,
            execution_count=model.execution_count,
        )
        _fill(told.inference_stats, model.inference_stats, _COUNTED)
        for batch in model.batch_stats:
            _fill(told.batch_stats.add(batch_size=batch.batch_size), batch, _STAGES)
    return _octets(message)


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """A serialised `RepositoryIndexResponse`."""
    message = _Index()
    for entry in entries:
        message.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
    return _octets(message)


def _fill(message: Any, durations: object, names: Iterable[str]) -> None:
    for name in names:
        duration: Duration = getattr(durations, name)
        into = getattr(message, name)
        into.SetInParent()  # so that a client finds it there even with zeros in it
        into.count, into.ns = duration.count, duration.ns


def _octets(message: Any) -> bytes:
    octets: bytes = message.SerializeToString()
    return octets


def _tensors(tensors: Iterable[TensorMetadata]) -> list[dict[str, Any]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": t.shape} for t in tensors]

"""What front doors and the data plane say to each other: requests, responses and metadata.

None of them changes once it is made. The two that every request makes are not frozen all the same: a frozen dataclass
takes three times as long to make.

The words are those of the Open Inference Protocol v2. Tensors are numpy arrays; those of a request are often
read-only views on the received bytes, at any alignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output the caller asks for.

    Attributes:
        name: of the output.
        binary: whether it goes as bytes; None leaves it to the request's default.
        classes: as how many of its largest values, with their indices, it is returned; 0 for the tensor itself
            (`classification`).
    """

    name: str
    binary: bool | None = None
    classes: int = 0


@dataclass(slots=True, eq=False)
class InferRequest:
    """One inference request.

    Attributes:
        model_name: the model, from the URL.
        model_version: the version, from the URL; None leaves the choice to the server.
        id: the caller's own mark, to be echoed; None if there is none.
        inputs: one array per input, of the shape the caller declared.
        outputs: the outputs to return, in this order; empty for all of the model's.
        parameters: the request's parameters as sent; `timeout` and `priority` are heeded (`scheduling`), and those
            nobody knows are ignored.
        binary_output_default: whether outputs go back as bytes where nothing else is asked
            (`binary_data_output`).
    """

    model_name: str
    inputs: Mapping[str, Array]
    model_version: str | None = None
    id: str | None = None
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    binary_output_default: bool = False

    def wants_binary(self, output: str) -> bool:
        """Whether the output of that name is to be returned as bytes rather than as JSON."""
        for requested in self.outputs:
            if requested.name == output and requested.binary is not None:
                return requested.binary
        return self.binary_output_default


@dataclass(slots=True, eq=False)
class InferResponse:
    """The answer to one request; `outputs` stand in the order they are to be written in."""

    model_name: str
    model_version: str
    outputs: Mapping[str, Array]
    id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Name, datatype and shape of an input or output; -1 marks the axes whose sizes requests choose."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and gives, as the protocol tells it."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """Who serves, and which protocol extensions it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is served, as far as Triton's model configuration has words for it.

    Attributes:
        name: of the model.
        version: the version that is told of.
        platform: as in the model's metadata.
        max_batch_size: rows that one request may have; 0 for a model without a batch axis.
        inputs: name, datatype and shape of a row.
        outputs: the same.
        gears: batch sizes that are run; empty for a model without a batch axis.
        priority_levels: levels of priority that requests may name.
    """

    name: str
    version: str
    platform: str
    max_batch_size: int
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    gears: tuple[int, ...]
    priority_levels: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A model and version in the index of the repository; `state` is `READY`, or `UNAVAILABLE` with its reason."""

    name: str
    version: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something was measured, and the nanoseconds of all times together."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """What the batches of one size took; of each, the count is that of its batches."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class InferStatistics:
    """What requests took. Of a batch, each of its requests counts the time of the whole batch, as with Triton."""

    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Statistics of a model and version since its replica started.

    Attributes:
        name: of the model.
        version: of the model.
        last_inference: milliseconds since the epoch at the end of the last request; 0 for none.
        inference_count: rows of all requests that succeeded.
        execution_count: batches that succeeded.
        inference_stats: by request.
        batch_stats: by batch size, ascending.
    """

    name: str
    version: str
    last_inference: int = 0
    inference_count: int = 0
    execution_count: int = 0
    inference_stats: InferStatistics = InferStatistics()
    batch_stats: tuple[BatchStatistics, ...] = ()

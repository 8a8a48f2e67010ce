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
    """An output the caller asks for; `binary` is None where its form is left to the request's default."""

    name: str
    binary: bool | None = None


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

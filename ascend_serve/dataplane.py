"""The protocol's verbs, once for every front door: live, ready, metadata, infer.

HTTP, gRPC and Ray handles all come through a `DataPlane`. It knows one model's signature, checks what is
asked against it before anything is submitted, and hands checked tensors to an `Inferer`. It knows no
server, no device and no queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ascend_serve import __version__
from ascend_serve.errors import ConfigError, InvalidTensor, ModelNotFound, RequestTooLarge
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    ServerMetadata,
    TensorMetadata,
)
from ascend_serve.protocol.show import show
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import TensorSpec
from ascend_serve.spec.text import nearest

EXTENSIONS = ("binary_tensor_data",)
"""Extensions of the protocol that the doors speak; Triton's name for the one there is."""


class Inferer(Protocol):
    """What the data plane needs of the engine's side."""

    async def __call__(
        self, tensors: Mapping[str, Array], *, deadline_s: float | None = None
    ) -> Mapping[str, Array]:
        """Run checked tensors and return all outputs of the model.

        Args:
            tensors: one array per input, as `check_tensors` accepts them: right in dtype and shape, but
                perhaps read-only, strided or unaligned. They must not be changed.
            deadline_s: seconds from now after which the answer is of no use; None for no limit.

        Raises:
            AscendServeError: refused, expired, cancelled or failed.
        """
        ...


class DataPlane:
    """One model behind every door.

    Args:
        spec: the model's signature.
        infer: runs checked tensors.
        ready: whether the model is warmed and takes requests.
        max_rows: rows one request may have.
        version: the one version served.
        platform: the `platform` of the model's metadata.
    """

    def __init__(
        self,
        spec: ModelSpec,
        infer: Inferer,
        *,
        ready: Callable[[], bool],
        max_rows: int,
        version: str = "1",
        platform: str = "ascend_om",
    ) -> None:
        if max_rows < 1:
            raise ConfigError(f"max_rows is {max_rows}: a request has at least one row")
        self._spec = spec
        self._infer = infer
        self._ready = ready
        self._max_rows = max_rows
        self._version = version
        self._platform = platform

    @property
    def spec(self) -> ModelSpec:
        """The signature of the model behind the doors."""
        return self._spec

    def live(self) -> bool:
        """Whether this process can answer at all: it just did."""
        return True

    def ready(self) -> bool:
        """Whether every model here (there is one) takes requests."""
        return self._ready()

    def server_metadata(self) -> ServerMetadata:
        """Name, version and protocol extensions of this server."""
        return ServerMetadata("ascend_serve", __version__, EXTENSIONS)

    def model_metadata(self, name: str, version: str | None = None) -> ModelMetadata:
        """Signature of a model.

        Raises:
            ModelNotFound: another model or version.
        """
        self.check_model(name, version)
        return ModelMetadata(
            name=self._spec.name,
            versions=(self._version,),
            platform=self._platform,
            inputs=_metadata(self._spec.inputs),
            outputs=_metadata(self._spec.outputs),
        )

    def model_ready(self, name: str, version: str | None = None) -> bool:
        """Whether a model takes requests.

        Raises:
            ModelNotFound: another model or version.
        """
        self.check_model(name, version)
        return self._ready()

    def check_model(self, name: str, version: str | None = None) -> None:
        """Check that this model and version are the ones served; None takes any version.

        Raises:
            ModelNotFound: they are not.
        """
        if name != self._spec.name:
            raise ModelNotFound(f"no model {show(name)} here{nearest(name[:100], [self._spec.name])}")
        if version is not None and version != self._version:
            raise ModelNotFound(
                f"model '{name}' has no version {show(version)}{nearest(version[:100], [self._version])}"
            )

    async def infer(self, request: InferRequest, *, deadline_s: float | None = None) -> InferResponse:
        """Answer one request of a front door.

        Args:
            request: as a codec made it.
            deadline_s: seconds from now after which the answer is of no use.

        Raises:
            ModelNotFound: another model or version.
            InvalidTensor: inputs or requested outputs that are not the model's.
            RequestTooLarge: more than `max_rows` rows.
            AscendServeError: what the `Inferer` raises.
        """
        self.check_model(request.model_name, request.model_version)
        wanted = _wanted(self._spec, request.outputs)
        check_tensors(self._spec, request.inputs, self._max_rows)
        outputs = await self._infer(request.inputs, deadline_s=deadline_s)
        return InferResponse(
            model_name=self._spec.name,
            model_version=self._version,
            id=request.id,
            outputs={name: outputs[name] for name in wanted},
        )

    async def infer_arrays(
        self, x: Mapping[str, Array] | Array, *, deadline_s: float | None = None
    ) -> dict[str, Array] | Array:
        """Answer one call of a Ray handle, in the form it came in.

        Args:
            x: one array per input by name, or, for a model with one input, that array alone.
            deadline_s: seconds from now after which the answer is of no use.

        Returns:
            Outputs by name; for an array alone and a model with one output, that output alone.

        Raises:
            InvalidTensor: not the model's inputs; nothing is cast or reshaped in silence.
            RequestTooLarge: more than `max_rows` rows.
            AscendServeError: what the `Inferer` raises.
        """
        bare = isinstance(x, np.ndarray)
        tensors = self._named(x)
        check_tensors(self._spec, tensors, self._max_rows)
        outputs = await self._infer(tensors, deadline_s=deadline_s)
        if bare and len(self._spec.outputs) == 1:
            return outputs[self._spec.outputs[0].name]
        return {tensor.name: outputs[tensor.name] for tensor in self._spec.outputs}

    def _named(self, x: Mapping[str, Array] | Array) -> Mapping[str, Array]:
        names = [tensor.name for tensor in self._spec.inputs]
        if isinstance(x, Mapping):
            return x
        if not isinstance(x, np.ndarray):
            raise InvalidTensor(
                f"infer got a {type(x).__name__}, but takes a dict of numpy arrays or one numpy array"
            )
        if len(names) > 1:
            raise InvalidTensor(
                f"model '{self._spec.name}' has {len(names)} inputs: give a dict with {', '.join(names)}, "
                "not one array"
            )
        return {names[0]: x}


def check_tensors(spec: ModelSpec, tensors: Mapping[str, Array], max_rows: int) -> int:
    """Check a request's inputs against the model's signature.

    Any memory layout is accepted, since packing copies by value. Another byte order is not: a caller who has
    it has most often mistaken it, and converting would cost a copy that nobody asked for.

    Args:
        spec: the model's signature.
        tensors: the inputs by name.
        max_rows: rows one request may have.

    Returns:
        Rows of the request; 1 for a model without a batch axis.

    Raises:
        InvalidTensor: an input is missing, unknown, no array, of another dtype, byte order or shape, or the
            inputs do not agree on the number of rows.
        RequestTooLarge: more than `max_rows` rows.
    """
    known = [tensor.name for tensor in spec.inputs]
    for name in tensors:
        if name not in known:
            raise InvalidTensor(
                f"model '{spec.name}' has no input {show(name)}{nearest(str(name)[:100], known)}"
            )
    rows: int | None = None
    for tensor in spec.inputs:
        if tensor.name not in tensors:
            raise InvalidTensor(
                f"input '{tensor.name}' is missing; model '{spec.name}' takes {', '.join(known)}"
            )
        array = tensors[tensor.name]
        _check_array(tensor, array)
        if not tensor.batched:
            continue
        if rows is not None and len(array) != rows:
            raise InvalidTensor(
                f"input '{tensor.name}' has {len(array)} rows, but input '{known[0]}' has {rows}: all inputs "
                "of a request have the same number of rows"
            )
        rows = len(array)
    if rows is None:
        return 1
    if rows > max_rows:
        raise RequestTooLarge(f"the request has {rows} rows; at most {max_rows} are taken: split it")
    return rows


def _check_array(tensor: TensorSpec, array: Array) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidTensor(f"input '{tensor.name}' is a {type(array).__name__}, but must be a numpy array")
    if array.dtype != tensor.dtype.numpy:
        rule = f"the model takes {tensor.dtype.name} ({tensor.dtype.numpy}); nothing is converted in silence"
        if array.dtype == tensor.dtype.numpy.newbyteorder():
            rule = f"in this byte order it is not taken: convert it with .astype('{tensor.dtype.numpy}')"
        raise InvalidTensor(f"input '{tensor.name}' has dtype {array.dtype}: {rule}")
    expected, shape = tensor.shape, array.shape
    fits = len(shape) == len(expected) and shape[tensor.batched :] == tensor.row_shape
    if fits and (not tensor.batched or shape[0] >= 1):
        return
    hint = ""
    if fits:
        hint = "; a request has at least one row"
    elif tensor.batched and shape == tensor.row_shape:
        hint = "; add a leading batch axis, such as [1, ...]"
    raise InvalidTensor(
        f"input '{tensor.name}' has shape {list(shape)}, but the model takes {list(expected)}"
        f"{' (-1 is the number of rows)' if tensor.batched else ''}{hint}"
    )


def _wanted(spec: ModelSpec, requested: Sequence[RequestedOutput]) -> list[str]:
    known = [tensor.name for tensor in spec.outputs]
    for output in requested:
        if output.name not in known:
            raise InvalidTensor(
                f"model '{spec.name}' has no output {show(output.name)}{nearest(output.name[:100], known)}"
            )
    return [output.name for output in requested] or known


def _metadata(tensors: Sequence[TensorSpec]) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(tensor.name, tensor.dtype.name, tensor.shape) for tensor in tensors)

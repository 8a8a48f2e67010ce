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
from ascend_serve.errors import ConfigError, InvalidTensor, ModelNotFound
from ascend_serve.protocol.checking import TensorCheck
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    ServerMetadata,
    TensorMetadata,
)
from ascend_serve.protocol.scheduling import check_schedule, schedule_of
from ascend_serve.protocol.show import show
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength, padded_axes
from ascend_serve.spec.tensors import FREE_AXIS, TensorSpec
from ascend_serve.spec.text import nearest

EXTENSIONS = ("binary_tensor_data", "schedule_policy")
"""Extensions of the protocol that the doors speak, by Triton's names."""


class Inferer(Protocol):
    """What the data plane needs of the engine's side."""

    async def __call__(
        self,
        tensors: Mapping[str, Array],
        *,
        deadline_s: float | None = None,
        priority: int | None = None,
    ) -> Mapping[str, Array]:
        """Run checked tensors and return all outputs of the model, in the model's order.

        Args:
            tensors: one array per input, as `TensorCheck` accepts them: right in dtype and shape, but
                perhaps read-only, strided or unaligned. They must not be changed.
            deadline_s: seconds from now after which the answer is of no use; None for no limit.
            priority: 1 for the most urgent level; None for the default.

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
        padded: axes along which requests may be shorter than the model.
        priority_levels: how many levels of priority `infer` knows.
        version: the one version served.
        platform: the `platform` of the model's metadata.

    Raises:
        ConfigError: `max_rows` below 1, or `padded` does not fit the model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        infer: Inferer,
        *,
        ready: Callable[[], bool],
        max_rows: int,
        padded: Sequence[PaddedLength] = (),
        priority_levels: int = 1,
        version: str = "1",
        platform: str = "ascend_om",
    ) -> None:
        if max_rows < 1:
            raise ConfigError(f"max_rows is {max_rows}: a request has at least one row")
        self._spec = spec
        self._infer = infer
        self._ready = ready
        self._check = TensorCheck(spec, max_rows, padded)
        self._padded = padded_axes(spec, padded)
        self._priority_levels = priority_levels
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]
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
            inputs=self._metadata("input", self._spec.inputs),
            outputs=self._metadata("output", self._spec.outputs),
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

    async def infer(
        self, request: InferRequest, *, deadline_s: float | None = None, priority: int | None = None
    ) -> InferResponse:
        """Answer one request of a front door.

        The request's own parameters `timeout` and `priority` are heeded (`protocol.scheduling`).

        Args:
            request: as a codec made it.
            deadline_s: seconds from now after which the answer is of no use; the nearer deadline holds.
            priority: of a request that says none itself.

        Raises:
            ModelNotFound: another model or version.
            InvalidTensor: inputs or requested outputs that are not the model's.
            RequestTooLarge: more than `max_rows` rows.
            RequestError: a parameter that is none.
            AscendServeError: what the `Inferer` raises.
        """
        self.check_model(request.model_name, request.model_version)
        if request.parameters:
            deadline_s, priority = schedule_of(
                request.parameters, deadline_s, priority, self._priority_levels
            )
        wanted = self._wanted(request.outputs) if request.outputs else None
        self._check(request.inputs)
        outputs = await self._infer(request.inputs, deadline_s=deadline_s, priority=priority)
        return InferResponse(
            self._spec.name,
            self._version,
            outputs if wanted is None else {name: outputs[name] for name in wanted},
            request.id,
        )

    async def infer_arrays(
        self,
        x: Mapping[str, Array] | Array,
        *,
        deadline_s: float | None = None,
        priority: int | None = None,
    ) -> dict[str, Array] | Array:
        """Answer one call of a Ray handle, in the form it came in.

        Args:
            x: one array per input by name, or, for a model with one input, that array alone.
            deadline_s: seconds from now after which the answer is of no use.
            priority: 1 for the most urgent level; 0 or None for the default.

        Returns:
            Outputs by name; for an array alone and a model with one output, that output alone.

        Raises:
            InvalidTensor: not the model's inputs; nothing is cast or reshaped in silence.
            RequestTooLarge: more than `max_rows` rows.
            RequestError: a deadline or priority that is none.
            AscendServeError: what the `Inferer` raises.
        """
        bare = isinstance(x, np.ndarray)
        tensors = self._named(x)
        if deadline_s is not None or priority is not None:
            priority = check_schedule(deadline_s, priority)
        self._check(tensors)
        outputs = await self._infer(tensors, deadline_s=deadline_s, priority=priority)
        if bare and len(self._outputs) == 1:
            return outputs[self._outputs[0]]
        return {name: outputs[name] for name in self._outputs}

    def _named(self, x: Mapping[str, Array] | Array) -> Mapping[str, Array]:
        if isinstance(x, Mapping):
            return x
        if not isinstance(x, np.ndarray):
            raise InvalidTensor(
                f"infer got a {type(x).__name__}, but takes a dict of numpy arrays or one numpy array"
            )
        if len(self._inputs) > 1:
            raise InvalidTensor(
                f"model '{self._spec.name}' has {len(self._inputs)} inputs: give a dict with "
                f"{', '.join(self._inputs)}, not one array"
            )
        return {self._inputs[0]: x}

    def _wanted(self, requested: Sequence[RequestedOutput]) -> list[str]:
        for output in requested:
            if output.name not in self._outputs:
                raise InvalidTensor(
                    f"model '{self._spec.name}' has no output {show(output.name)}"
                    f"{nearest(output.name[:100], self._outputs)}"
                )
        return [output.name for output in requested]

    def _metadata(self, side: str, tensors: Sequence[TensorSpec]) -> tuple[TensorMetadata, ...]:
        """Signatures of a side, with -1 wherever requests choose."""
        told = []
        for tensor in tensors:
            free = {pad.axis for pad in self._padded.get((side, tensor.name), ())}
            shape = tuple(FREE_AXIS if axis in free else size for axis, size in enumerate(tensor.shape))
            told.append(TensorMetadata(tensor.name, tensor.dtype.name, shape))
        return tuple(told)

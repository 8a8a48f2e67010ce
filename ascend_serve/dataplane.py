"""The protocol's verbs of one model, once for every front door: ready, metadata, infer.

HTTP, gRPC and Ray handles all come through a `DataPlane`, which a `Repository` found by name and version. It knows its
model's signature, checks what is asked against it before anything is submitted, and hands checked tensors to an
`Inferer`. It knows no server, no device and no queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from ascend_serve.errors import ConfigError, InvalidTensor
from ascend_serve.protocol.checking import TensorCheck
from ascend_serve.protocol.classification import top_classes
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    RequestedOutput,
    TensorMetadata,
)
from ascend_serve.protocol.scheduling import check_schedule, schedule_of
from ascend_serve.protocol.show import show
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength, padded_axes
from ascend_serve.spec.tensors import FREE_AXIS, TensorSpec
from ascend_serve.spec.text import nearest

_QUICKLY_CLASSIFIED = 16384
"""Elements of an output that are sorted on the event loop, in about a millisecond."""


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
    """One model, in one version, behind every door.

    Args:
        spec: the model's signature.
        infer: runs checked tensors.
        ready: whether the model is warmed and takes requests.
        max_rows: rows one request may have.
        padded: axes along which requests may be shorter than the model.
        priority_levels: how many levels of priority `infer` knows.
        version: which one of the model's it is, a whole number in digits.
        platform: the `platform` of the model's metadata.
        statistics: tells what the model did since its replica started; None: nothing is counted.
        labels: by output, what its elements are called, for requests that ask for classes.

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
        statistics: Callable[[], ModelStatistics] | None = None,
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._spec = spec
        self._infer = infer
        self._ready = ready
        self._padding = tuple(padded)
        self._padded = padded_axes(spec, padded)
        self.take_at_most(max_rows)
        self._priority_levels = priority_levels
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]
        self._version = version
        self._platform = platform
        self._statistics = statistics
        self._labels = {} if labels is None else labels

    @property
    def spec(self) -> ModelSpec:
        """The signature of the model behind the doors."""
        return self._spec

    @property
    def version(self) -> str:
        """Which version of the model it is."""
        return self._version

    def ready(self) -> bool:
        """Whether the model takes requests."""
        return self._ready()

    def take_at_most(self, max_rows: int) -> None:
        """Have requests from now on bounded by so many rows.

        Raises:
            ConfigError: below 1.
        """
        if max_rows < 1:
            raise ConfigError(f"max_rows is {max_rows}: a request has at least one row")
        self._check = TensorCheck(self._spec, max_rows, self._padding)
        self._max_rows = max_rows

    def metadata(self, versions: Sequence[str] = ()) -> ModelMetadata:
        """Signature of the model.

        Args:
            versions: all that are served of it, oldest first; none: this one.
        """
        return ModelMetadata(
            name=self._spec.name,
            versions=tuple(versions) or (self._version,),
            platform=self._platform,
            inputs=self._metadata("input", self._spec.inputs),
            outputs=self._metadata("output", self._spec.outputs),
        )

    def config(self) -> ModelConfig:
        """How the model is served, as Triton's model configuration tells it."""
        batched = self._spec.batched
        return ModelConfig(
            name=self._spec.name,
            version=self._version,
            platform=self._platform,
            max_batch_size=self._max_rows if batched else 0,
            inputs=self._rows("input", self._spec.inputs),
            outputs=self._rows("output", self._spec.outputs),
            gears=self._spec.gears.sizes if batched else (),
            priority_levels=self._priority_levels,
        )

    def statistics(self) -> ModelStatistics:
        """What the model did since its replica started; zeros where nothing is counted."""
        if self._statistics is None:
            return ModelStatistics(self._spec.name, self._version)
        return self._statistics()

    async def infer(
        self, request: InferRequest, *, deadline_s: float | None = None, priority: int | None = None
    ) -> InferResponse:
        """Answer one request of a front door that is for this model.

        The request's own parameters `timeout` and `priority` are heeded (`protocol.scheduling`).

        Args:
            request: as a codec made it.
            deadline_s: seconds from now after which the answer is of no use; the nearer deadline holds.
            priority: of a request that says none itself.

        Raises:
            InvalidTensor: inputs or requested outputs that are not the model's.
            RequestTooLarge: more than `max_rows` rows.
            RequestError: a parameter that is none.
            AscendServeError: what the `Inferer` raises.
        """
        if request.parameters:
            deadline_s, priority = schedule_of(
                request.parameters, deadline_s, priority, self._priority_levels
            )
        wanted = self._wanted(request.outputs) if request.outputs else None
        self._check(request.inputs)
        outputs = await self._infer(request.inputs, deadline_s=deadline_s, priority=priority)
        if wanted is not None:
            outputs = {name: outputs[name] for name in wanted}
            if any(output.classes for output in request.outputs):
                outputs = await self._classified(request.outputs, outputs)
        return InferResponse(self._spec.name, self._version, outputs, request.id)

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

    async def _classified(
        self, requested: Sequence[RequestedOutput], outputs: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        """The outputs, some of them as their largest values."""
        told = dict(outputs)
        for output in requested:
            if not output.classes:
                continue
            array = outputs[output.name]
            labels = self._labels.get(output.name, ())
            classify = partial(top_classes, array, output.classes, batched=self._spec.batched, labels=labels)
            if array.size <= _QUICKLY_CLASSIFIED:
                told[output.name] = classify()
            else:
                told[output.name] = await asyncio.to_thread(classify)
        return told

    def _rows(self, side: str, tensors: Sequence[TensorSpec]) -> tuple[TensorMetadata, ...]:
        """Signatures of a side's rows."""
        return tuple(
            TensorMetadata(told.name, told.datatype, told.shape[self._spec.batched :])
            for told in self._metadata(side, tensors)
        )

    def _metadata(self, side: str, tensors: Sequence[TensorSpec]) -> tuple[TensorMetadata, ...]:
        """Signatures of a side, with -1 wherever requests choose."""
        told = []
        for tensor in tensors:
            free = {pad.axis for pad in self._padded.get((side, tensor.name), ())}
            shape = tuple(FREE_AXIS if axis in free else size for axis, size in enumerate(tensor.shape))
            told.append(TensorMetadata(tensor.name, tensor.dtype.name, shape))
        return tuple(told)

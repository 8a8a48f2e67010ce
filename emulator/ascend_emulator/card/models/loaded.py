"""One load of an .om: which shapes an execution has, how long it takes, and the execution itself.

Inputs are read and outputs written in place, at the addresses the client gave, when the compute engine runs
the task and not when it is queued. The gear is what the hidden input's buffer holds at that moment
(facts/pyacl.md §12.1). A model of truly dynamic shape gets its inputs' dims with the execution (§12.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ascend_emulator import libc
from ascend_emulator.card.models.buffers import Batch, Buffer, cheap_outputs, integers, view
from ascend_emulator.card.models.description import check_description
from ascend_emulator.card.models.graph import Graph
from ascend_emulator.codes import GE_LOAD_MODEL, RT_CORE_EXCEPTION, RT_MODEL_EXECUTE, Failure
from ascend_emulator.dtypes import BY_ACL
from ascend_emulator.gears import GearKind

if TYPE_CHECKING:
    from ascend_emulator.card.models.network import Network, Networks
    from ascend_emulator.clock.timing import Timing
    from ascend_emulator.om import OmFile, TensorInfo

Dims = tuple[int, ...]

_MOST_BATCHES = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """The shapes of one execution.

    Attributes:
        gear: what the hidden input says; () for a model without gears.
        inputs: dims of the inputs without the hidden one.
        outputs: dims of the outputs; None of one that depends on the values.
    """

    gear: Dims
    inputs: tuple[Dims, ...]
    outputs: tuple[Dims | None, ...]


class LoadedModel:
    """One load of an .om.

    Args:
        om: the file.
        networks: the card's networks, where the model's is found or made; None when values are cheap.
        timing: the card's time model, or None.

    Raises:
        Failure: 545001, the network is broken, or the file does not describe its own network.

    Attributes:
        name: the model's name.
        dynamic: whether shapes are truly dynamic.
        work_bytes: working memory it asks for.
        weight_bytes: weight memory it asks for.
        inputs: its inputs without the hidden one.
        outputs: its outputs.
    """

    def __init__(self, om: OmFile, networks: Networks | None, timing: Timing | None) -> None:
        self.name = om.name
        self.dynamic = om.dynamic
        self.work_bytes = om.memory_size
        self.weight_bytes = om.weight_size
        self.inputs = om.inputs[:-1] if om.gears else om.inputs
        self.outputs = om.outputs
        self._gears = om.gears
        self._timing = timing
        self._network: Network | None = networks.get(om.network) if networks else None
        check_description(om, self.inputs, self._network)
        self._graph: Graph | None = None
        if om.dynamic or (timing is not None and not timing.has_table(om.name)):
            self._graph = Graph(om.network)
        self._plans: tuple[Plan, ...] = ()
        if om.gears:
            rows = zip(om.gears.values, om.gear_input_dims, om.gear_output_dims, strict=True)
            self._plans = tuple(Plan(*row) for row in rows)
        elif not om.dynamic:
            at_rest = tuple(info.physical_dims for info in om.inputs), tuple(info.dims for info in om.outputs)
            self._plans = (Plan((), *at_rest),)
        self._batches: dict[tuple[Dims | Buffer, ...], Batch] = {}

    def plan(self, buffers: Sequence[Buffer], described: Sequence[Dims]) -> Plan:
        """The shapes that an execution has, seen when it starts.

        Args:
            buffers: of the inputs, the hidden one last.
            described: the inputs' dims of a model of truly dynamic shape; () for any other.

        Raises:
            Failure: 507011, the network takes no such shapes.
        """
        if self._gears is not None:
            return self._plans[self._gear(buffers[-1])]
        if not self.dynamic:
            return self._plans[0]
        if self._graph is None:
            raise ValueError("a model of truly dynamic shape keeps its graph")
        dims = tuple(described)
        return Plan((), dims, self._graph.output_dims(dims))

    def _gear(self, buffer: Buffer) -> int:
        """Which gear the hidden input's memory says; the largest if it says none."""
        if self._gears is None:
            raise ValueError("the model has no gears")
        count = len(self._gears.values[0])
        # The setters write int64 where they fit, a program's own copy is of the int32 that the file declares.
        for itemsize in (8, 4):
            if buffer[1] >= count * itemsize:
                place = self._gears.index(integers(buffer, count, itemsize))
                if place is not None:
                    return place
        return self._gears.largest

    def duration_ns(self, plan: Plan) -> int:
        """Modelled time of one execution.

        Raises:
            Failure: 507011, the network takes no such shapes.
        """
        timing, graph = self._timing, self._graph
        if timing is None:
            raise ValueError("there is no time model in functional timing")
        if graph is None:
            return timing.execute_ns(self.name, plan.gear, _no_work)
        return timing.execute_ns(self.name, plan.gear, lambda: graph.work(plan.inputs))

    def run(self, plan: Plan, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Compute one batch in place, for a model of fixed shapes or gears.

        Args:
            plan: its shapes.
            inputs: buffers of the model's inputs, the hidden one last.
            outputs: buffers of its outputs; a smaller one gets as much as it holds.

        Raises:
            Failure: 507011, the network failed; 145000, an input buffer ends before its tensor does.
        """
        visible = inputs[: len(self.inputs)]
        key: tuple[Dims | Buffer, ...] = (plan.gear, *visible, *outputs)
        batch = self._batches.get(key)
        if batch is None:
            if len(self._batches) >= _MOST_BATCHES:
                del self._batches[next(iter(self._batches))]
            made = [(_numpy(info), dims or ()) for info, dims in zip(self.outputs, plan.outputs, strict=True)]
            rows = plan.gear[0] if self._gears and self._gears.kind is GearKind.BATCH else 0
            batch = Batch(self._network, self._arrays(plan, visible), made, outputs, rows)
            self._batches[key] = batch
        batch.compute()

    def run_dynamic(self, plan: Plan, inputs: Sequence[Buffer]) -> list[NDArray[Any]]:
        """Compute one batch of a model of truly dynamic shape, into arrays of the card's own.

        Raises:
            Failure: 507011, the network failed, or cheap values are asked of a shape that depends on values;
                145000, an input buffer ends before its tensor does.
        """
        arrays = self._arrays(plan, inputs)
        if self._network is not None:
            return self._network.run(arrays)
        made = []
        for info, dims in zip(self.outputs, plan.outputs, strict=True):
            if dims is None:
                text = (
                    f"the shape of output {info.name!r} depends on values: use ASCEND_EMULATOR_VALUES=exact"
                )
                raise Failure(RT_MODEL_EXECUTE, f"ascend-emulator: {text}")
            made.append(np.empty(dims, _numpy(info)))
        cheap_outputs(arrays, made, 0)
        return made

    def _arrays(self, plan: Plan, inputs: Sequence[Buffer]) -> list[NDArray[Any]]:
        return [
            view(buffer, dims, _numpy(info))
            for info, dims, buffer in zip(self.inputs, plan.inputs, inputs, strict=True)
        ]


def store(result: NDArray[Any], buffer: Buffer, name: str) -> None:
    """Copy an output of truly dynamic shape to where the program wants it.

    Raises:
        Failure: 507015, the memory is too small: on hardware the kernel writes past its end.
    """
    address, size = buffer
    if result.nbytes > size:
        text = f"output {name!r} of shape {list(result.shape)} takes {result.nbytes} bytes, its buffer has {size}"
        raise Failure(RT_CORE_EXCEPTION, f"EZ9999: {text}.")
    whole = np.ascontiguousarray(result)
    libc.move_freeing_gil(address, whole.ctypes.data, whole.nbytes)


def _numpy(info: TensorInfo) -> str:
    return BY_ACL[info.dtype].numpy


def _no_work() -> Any:
    raise Failure(
        GE_LOAD_MODEL, "ascend-emulator: neither a table of times nor a count of the work is there."
    )

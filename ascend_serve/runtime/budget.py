"""Whether models fit a device's memory, asked before any of them is loaded.

A load that runs out of memory halfway has taken seconds and may have pushed a neighbour out of its slots. What a
model takes is what the runtime says of its file (`acl.mdl.query_size`, facts: pyACL §9.1) and its slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ascend_serve.errors import TooLittleMemory
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.model import ModelSize, size_of
from ascend_serve.runtime.signature import largest_bytes
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.text import shown_size


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of device memory that a session takes.

    Attributes:
        name: the model's.
        model: for the model itself.
        slot_bytes: for the inputs and outputs of one slot, at their largest.
        slots: how many slots it begins with.
    """

    name: str
    model: ModelSize
    slot_bytes: int
    slots: int

    @classmethod
    def of(cls, om_path: Path, spec: ModelSpec, slots: int) -> Need:
        """What a session on this file needs at least; alignment is not counted.

        Raises:
            ArtifactError: there is no such file, or it is no whole `.om`.
        """
        slot_bytes = sum(largest_bytes(spec, tensor.name) for tensor in (*spec.inputs, *spec.outputs))
        return cls(spec.name, size_of(om_path), slot_bytes, slots)

    @property
    def total(self) -> int:
        """All of it."""
        return self.model.work + self.model.weights + self.slots * self.slot_bytes

    def __str__(self) -> str:
        weights, work = shown_size(self.model.weights), shown_size(self.model.work)
        slots = f"{self.slots} slot{'s' * (self.slots > 1)} of {shown_size(self.slot_bytes)}"
        return f"'{self.name}' wants {weights} for weights, {work} for work and {slots}"


def require(needs: Sequence[Need], memory: MemoryInfo, most_bytes: int | None = None) -> None:
    """Make sure that all of this fits.

    Args:
        needs: what is to be loaded.
        memory: of the device.
        most_bytes: how much of it may be taken at most, whatever is free; None: all of it.

    Raises:
        TooLittleMemory: it does not; the message has what is wanted, what is free, and the ways out.
    """
    total = sum(need.total for need in needs)
    if most_bytes is not None and total > most_bytes:
        raise TooLittleMemory(
            f"{_names(needs)} not fit what may be taken of the device's memory, by {shown_size(total - most_bytes)}: "
            f"{shown_size(total)} wanted, {shown_size(most_bytes)} of {shown_size(memory.total_bytes)} allowed "
            f"({'; '.join(map(str, needs))}): raise memory_share or memory_bytes, or {_ways_out(needs)}"
        )
    if total > memory.free_bytes:
        raise TooLittleMemory(_misfit(needs, total, memory))


def _names(needs: Sequence[Need]) -> str:
    names = " and ".join(f"'{need.name}'" for need in needs)
    return f"{names} {'does' if len(needs) == 1 else 'together do'}"


def _ways_out(needs: Sequence[Need]) -> str:
    ways = ["compile for a smaller largest gear"]
    if any(need.slots > 1 for need in needs):
        ways.insert(0, "use fewer slots")
    if len(needs) > 1:
        ways.append("put fewer models on it")
    return " or ".join(ways)


def _misfit(needs: Sequence[Need], total: int, memory: MemoryInfo) -> str:
    others = (
        "all that the device has is less"
        if total > memory.total_bytes
        else "`npu-smi info` shows who else uses the device"
    )
    free = f"{shown_size(memory.free_bytes)} free of {shown_size(memory.total_bytes)}"
    return (
        f"{_names(needs)} not fit the device's memory, by "
        f"{shown_size(total - memory.free_bytes)}: {shown_size(total)} wanted, {free} ({'; '.join(map(str, needs))}): "
        f"{_ways_out(needs)}; {others}"
    )

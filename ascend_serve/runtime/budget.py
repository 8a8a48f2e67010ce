"""Whether models fit a device's memory, asked before any of them is loaded.

A load that runs out of memory halfway has taken seconds and may have pushed a neighbour out of its slots. What a
model takes is what the runtime says of its file (`acl.mdl.query_size`, facts: pyACL §9.1) and its slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ascend_serve.runtime import _codes
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.model import ModelSize, size_of
from ascend_serve.runtime.signature import largest_bytes
from ascend_serve.spec.model import ModelSpec

_MIB = 1 << 20


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
        return (
            f"'{self.name}' {_mib(self.total)} (weights {_mib(self.model.weights)}, working memory "
            f"{_mib(self.model.work)}, {self.slots} slots of {_mib(self.slot_bytes)})"
        )


def require(needs: Sequence[Need], memory: MemoryInfo) -> None:
    """Make sure that all of this fits.

    Raises:
        AclResourceError: it does not; the message has the numbers.
    """
    total = sum(need.total for need in needs)
    if total > memory.free_bytes:
        raise _codes.error_for(
            "the check of device memory",
            _codes.RT_MEMORY_ALLOCATION,
            f"{_mib(total)} are needed and {_mib(memory.free_bytes)} of {_mib(memory.total_bytes)} are free: "
            f"{'; '.join(map(str, needs))}. Use fewer slots, a smaller largest gear, or fewer models on this device; "
            "`npu-smi info` shows who else uses it",
        )


def _mib(count: int) -> str:
    return f"{count / _MIB:,.1f} MiB"

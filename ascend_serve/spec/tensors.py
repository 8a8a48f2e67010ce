"""Datatypes and tensor signatures.

A `DataType` is named as the Open Inference Protocol v2 names it and knows its numpy dtype and its number in
ACL and in an `.om` (the C++ `aclDataType` / `ge::DataType` enum: `acl_base_rt.h`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

import numpy as np

from ascend_serve.errors import ConfigError


class DataType(Enum):
    """An element type a served tensor may have. `value` is `(numpy name, ACL number)`."""

    FP32 = ("float32", 0)
    FP16 = ("float16", 1)
    INT8 = ("int8", 2)
    INT32 = ("int32", 3)
    UINT8 = ("uint8", 4)
    INT16 = ("int16", 6)
    UINT16 = ("uint16", 7)
    UINT32 = ("uint32", 8)
    INT64 = ("int64", 9)
    UINT64 = ("uint64", 10)
    FP64 = ("float64", 11)
    BOOL = ("bool", 12)

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype, in native byte order."""
        return np.dtype(self.value[0])

    @property
    def acl(self) -> int:
        """The number in ACL and in the MODEL_INOUT_INFO partition of an `.om`."""
        return self.value[1]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.numpy.itemsize

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> DataType:
        """The datatype of a numpy dtype.

        Raises:
            ConfigError: numpy dtype without a counterpart, such as complex64.
        """
        for member in cls:
            if member.numpy == dtype:
                return member
        raise ConfigError(f"dtype {dtype} cannot be served; supported: {', '.join(m.value[0] for m in cls)}")

    @classmethod
    def from_acl(cls, number: int) -> DataType:
        """The datatype of an ACL number.

        Raises:
            ConfigError: a type that has no numpy dtype here, such as 27 (BF16).
        """
        for member in cls:
            if member.acl == number:
                return member
        raise ConfigError(
            f"ACL datatype {number} cannot be served; supported: "
            + ", ".join(f"{m.acl} ({m.name})" for m in cls)
        )


BATCH_AXIS = -1
"""Stands at axis 0 of a batched tensor's shape, as in ONNX, ATC and the Open Inference Protocol."""

FREE_AXIS = -1
"""Stands at an axis whose size differs from bucket to bucket."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one input or output.

    `shape` is what a caller sees: `(-1, 3, 224, 224)` for a batched tensor, fixed numbers otherwise. A -1 past axis 0
    is a *free axis*, whose sizes are in the buckets of the model (`ModelSpec.buckets`).

    Attributes:
        counted: whether a -1 at axis 0 counts rows; False makes that axis a free one too. True where axis 0 is fixed.

    Raises:
        ConfigError: a shape with a number that is neither -1 nor at least 1.
    """

    name: str
    dtype: DataType
    shape: tuple[int, ...]
    counted: bool = True

    def __post_init__(self) -> None:
        if any(dim < 1 and dim != BATCH_AXIS for dim in self.shape):
            raise ConfigError(f"tensor '{self.name}' has shape {list(self.shape)}: dims are -1 or at least 1")
        if self.shape[:1] != (BATCH_AXIS,):
            object.__setattr__(self, "counted", True)

    @property
    def batched(self) -> bool:
        """Whether axis 0 counts rows."""
        return self.counted and self.shape[:1] == (BATCH_AXIS,)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row, -1 at free axes; the whole shape when the tensor is not batched."""
        return self.shape[1:] if self.batched else self.shape

    @property
    def free(self) -> bool:
        """Whether an axis of a row is free."""
        return FREE_AXIS in self.row_shape

    @property
    def row_bytes(self) -> int:
        """Bytes of one row.

        Raises:
            ConfigError: it has a free axis; `ModelSpec.bytes_at` knows the sizes.
        """
        return row_bytes(self.dtype, self._fixed_row())

    def at(self, rows: int) -> tuple[int, ...]:
        """The concrete shape of `rows` rows; the fixed shape when the tensor is not batched.

        Raises:
            ConfigError: it has a free axis; `ModelSpec.shape_at` knows the sizes.
        """
        return (rows, *self._fixed_row()) if self.batched else self._fixed_row()

    def _fixed_row(self) -> tuple[int, ...]:
        if self.free:
            raise ConfigError(
                f"tensor '{self.name}' has shape {list(self.shape)}, with free axes: name a bucket of its model"
            )
        return self.row_shape


def row_bytes(dtype: DataType, shape: tuple[int, ...]) -> int:
    """Bytes of one row of a concrete shape."""
    return prod(shape) * dtype.itemsize

"""Element types in the three numberings an `.om` and its ONNX use.

The MODEL_INOUT_INFO partition and ACL share one numbering, the protobuf of the MODEL_DEF partition has its
own (facts/atc_om_soc.md §3.4, §3.5), ONNX a third (`onnx.TensorProto.DataType`). Names are GE's, without
`DT_`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        name: GE's name, such as `FLOAT16`.
        acl: number in ACL and MODEL_INOUT_INFO.
        proto: number in the protobuf of MODEL_DEF.
        onnx: number in ONNX.
        numpy: name of the numpy dtype.
        itemsize: bytes per element.
    """

    name: str
    acl: int
    proto: int
    onnx: int
    numpy: str
    itemsize: int


DTYPES = (
    DType("FLOAT", 0, 1, 1, "float32", 4),
    DType("FLOAT16", 1, 2, 10, "float16", 2),
    DType("INT8", 2, 3, 3, "int8", 1),
    DType("INT32", 3, 7, 6, "int32", 4),
    DType("UINT8", 4, 4, 2, "uint8", 1),
    DType("INT16", 6, 5, 5, "int16", 2),
    DType("UINT16", 7, 6, 4, "uint16", 2),
    DType("UINT32", 8, 9, 12, "uint32", 4),
    DType("INT64", 9, 8, 7, "int64", 8),
    DType("UINT64", 10, 10, 13, "uint64", 8),
    DType("DOUBLE", 11, 12, 11, "float64", 8),
    DType("BOOL", 12, 11, 9, "bool", 1),
)
"""The types a graph input or output may have here: those that have a numpy dtype of their own."""

BY_ACL = {dtype.acl: dtype for dtype in DTYPES}
BY_PROTO = {dtype.proto: dtype for dtype in DTYPES}
BY_ONNX = {dtype.onnx: dtype for dtype in DTYPES}

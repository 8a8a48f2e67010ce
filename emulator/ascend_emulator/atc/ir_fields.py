"""The fields of `ge.proto.ModelDef` by number, as far as an `.om` uses them (GE: graph_metadef/proto/ge_ir.proto).

The compiler's attribute groups (symbolic shapes) are left out: they are of no use outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """How a field's value is written."""

    INT = auto()
    UINT = auto()
    BOOL = auto()
    FLOAT = auto()
    STRING = auto()
    BYTES = auto()
    ENUM = auto()
    MESSAGE = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: as in the schema.
        kind: of its value, or of each of its values.
        repeated: whether it is a list.
        of: name of the message or enum.
        always: whether a value that is the default is present when it was written: the alternatives of
            `AttrDef` and the two halves of a map's entry.
    """

    name: str
    kind: Kind
    repeated: bool = False
    of: str = ""
    always: bool = False


def _text(name: str) -> Field:
    return Field(name, Kind.STRING)


def _texts(name: str) -> Field:
    return Field(name, Kind.STRING, repeated=True)


def _int(name: str) -> Field:
    return Field(name, Kind.INT)


def _ints(name: str) -> Field:
    return Field(name, Kind.INT, repeated=True)


def _bool(name: str) -> Field:
    return Field(name, Kind.BOOL)


def _one(name: str, of: str) -> Field:
    return Field(name, Kind.MESSAGE, of=of)


def _many(name: str, of: str) -> Field:
    return Field(name, Kind.MESSAGE, repeated=True, of=of)


def _choice(name: str, kind: Kind, of: str = "") -> Field:
    return Field(name, kind, of=of, always=True)


ROOT = "ModelDef"

MESSAGES: dict[str, dict[int, Field]] = {
    "ModelDef": {
        1: _text("name"),
        2: Field("version", Kind.UINT),
        3: _text("custom_version"),
        7: _many("graph", "GraphDef"),
        11: _many("attr", "AttrEntry"),
    },
    "GraphDef": {
        1: _text("name"),
        4: _texts("input"),
        5: _texts("output"),
        6: _many("op", "OpDef"),
        11: _many("attr", "AttrEntry"),
    },
    "OpDef": {
        1: _text("name"),
        2: _text("type"),
        5: _texts("input"),
        10: _many("attr", "AttrEntry"),
        20: _bool("has_out_attr"),
        21: _int("id"),
        22: _int("stream_id"),
        23: _texts("input_name"),
        24: _texts("src_name"),
        25: _ints("src_index"),
        26: _texts("dst_name"),
        27: _ints("dst_index"),
        28: _ints("input_i"),
        29: _ints("output_i"),
        30: _ints("workspace"),
        31: _ints("workspace_bytes"),
        32: Field("is_input_const", Kind.BOOL, repeated=True),
        33: _many("input_desc", "TensorDescriptor"),
        34: _many("output_desc", "TensorDescriptor"),
        35: _texts("subgraph_name"),
    },
    "TensorDescriptor": {
        1: _text("name"),
        2: Field("dtype", Kind.ENUM, of="DataType"),
        3: _one("shape", "ShapeDef"),
        4: _text("layout"),
        5: _many("attr", "AttrEntry"),
        9: _bool("has_out_attr"),
        10: _int("size"),
        11: _int("weight_size"),
        12: _bool("reuse_input"),
        13: _bool("output_tensor"),
        14: _text("device_type"),
        15: _bool("input_tensor"),
        16: _int("real_dim_cnt"),
        17: _int("reuse_input_index"),
        18: _int("data_offset"),
        19: _int("cmps_size"),
        20: _text("cmps_tab"),
        21: _int("cmps_tab_offset"),
    },
    "ShapeDef": {1: _ints("dim")},
    "TensorDef": {1: _one("desc", "TensorDescriptor"), 2: Field("data", Kind.BYTES)},
    "NamedAttrs": {1: _text("name"), 2: _many("attr", "AttrEntry")},
    "AttrEntry": {1: _choice("key", Kind.STRING), 2: _choice("value", Kind.MESSAGE, "AttrDef")},
    "AttrDef": {
        1: _choice("list", Kind.MESSAGE, "ListValue"),
        2: _choice("s", Kind.BYTES),
        3: _choice("i", Kind.INT),
        4: _choice("f", Kind.FLOAT),
        5: _choice("b", Kind.BOOL),
        7: _choice("bt", Kind.BYTES),
        10: _choice("func", Kind.MESSAGE, "NamedAttrs"),
        11: _choice("td", Kind.MESSAGE, "TensorDescriptor"),
        12: _choice("t", Kind.MESSAGE, "TensorDef"),
        13: _choice("g", Kind.MESSAGE, "GraphDef"),
        14: _choice("list_list_int", Kind.MESSAGE, "ListListInt"),
        15: _choice("dt", Kind.INT),
        16: _choice("list_list_float", Kind.MESSAGE, "ListListFloat"),
        17: _choice("expression", Kind.BYTES),
    },
    "ListValue": {
        2: Field("s", Kind.BYTES, repeated=True),
        3: _ints("i"),
        4: Field("f", Kind.FLOAT, repeated=True),
        5: Field("b", Kind.BOOL, repeated=True),
        7: Field("bt", Kind.BYTES, repeated=True),
        8: _many("td", "TensorDescriptor"),
        9: _many("t", "TensorDef"),
        10: _many("g", "GraphDef"),
        11: _many("na", "NamedAttrs"),
        12: _ints("dt"),
        20: Field("val_type", Kind.ENUM, of="ListValueType"),
    },
    "ListListInt": {1: _many("list_list_i", "ListInt")},
    "ListInt": {1: _ints("list_i")},
    "ListListFloat": {1: _many("list_list_f", "ListFloat")},
    "ListFloat": {1: Field("list_f", Kind.FLOAT, repeated=True)},
}
"""Fields by number, of each message by its name."""

# fmt: off
# A line for each name would bury the rest of the file.
_DATA_TYPES = (
    "UNDEFINED", "FLOAT", "FLOAT16", "INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64", "UINT32", "UINT64",
    "BOOL", "DOUBLE", "STRING", "DUAL_SUB_INT8", "DUAL_SUB_UINT8", "COMPLEX64", "COMPLEX128", "QINT8",
    "QINT16", "QINT32", "QUINT8", "QUINT16", "RESOURCE", "STRING_REF", "DUAL", "VARIANT", "BF16", "INT4",
    "UINT1", "INT2", "UINT2", "COMPLEX32", "HIFLOAT8", "FLOAT8_E5M2", "FLOAT8_E4M3FN", "FLOAT8_E8M0",
    "FLOAT6_E3M2", "FLOAT6_E2M3", "FLOAT4_E2M1", "FLOAT4_E1M2", "HIFLOAT4",
)
_LIST_TYPES = (
    "NONE", "STRING", "INT", "FLOAT", "BOOL", "BYTES", "TENSOR_DESC", "TENSOR", "GRAPH", "NAMED_ATTRS",
    "DATA_TYPE",
)
# fmt: on

ENUMS: dict[str, tuple[str, ...]] = {
    "DataType": tuple(f"DT_{name}" for name in _DATA_TYPES),
    "ListValueType": tuple(f"VT_LIST_{name}" for name in _LIST_TYPES),
}
"""Names of each enum's values, by number from 0."""

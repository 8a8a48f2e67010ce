"""What `Om` tells beyond what serving needs: where a file comes from, what is in it, what it costs.

Values only; `om.py` fills them (facts: ATC §3).
"""

from __future__ import annotations

from dataclasses import dataclass

GENERATIONS = (
    "DDK 1.x of 2018/19: one raw model, no partition table",
    "2020: header version 1, before CANN 5",
    "CANN 5 to 6.2: header version 2, which counts sub-models",
    "from CANN 6.3: 64-bit lengths",
    "from CANN 7.0: with an input/output summary",
)
"""The generations of the format, by number (facts: ATC §3.10, chronology)."""

MODEL_TYPES = {
    0: "IR model",
    1: "standard model",
    2: "tiny model",
    3: "flow model",
    4: "lite model",
    5: "bundle",
}
"""`modeltype` of the header in words."""

PARTITION_NAMES = {
    0: "MODEL_DEF",
    1: "WEIGHTS_DATA",
    2: "TASK_INFO",
    3: "TBE_KERNELS",
    4: "CUST_AICPU_KERNELS",
    5: "SO_BINS",
    6: "FLOW_MODEL",
    7: "FLOW_SUBMODEL",
    8: "MODEL_INOUT_INFO",
    9: "STATIC_TASK_DESC",
    10: "DYNAMIC_TASK_DESC",
    11: "TASK_PARAM",
    12: "TILING_DATA",
    20: "PRE_MODEL_DESC",
    21: "PRE_MODEL_SQE",
    22: "PRE_KERNEL_ARGS",
    23: "PRE_MODEL_DESC_EXTEND",
    24: "BUNDLE_MODEL_INFO",
    25: "BUNDLE_MODEL_VAR_INFO",
    26: "CUSTOM_OPS",
}
"""Types of partitions (facts: ATC §3.3)."""


@dataclass(frozen=True, slots=True)
class SubModel:
    """One sub-model of a file.

    Attributes:
        what: what it is, in words.
        partitions: name and bytes of each partition, in the file's order.
    """

    what: str
    partitions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The file around the model.

    Attributes:
        size: bytes of the file.
        generation: index into `GENERATIONS`.
        header_version: 1 or 2.
        table: `big`, `small` or `none`.
        model_type: in words; `type <n>` for one that is not known.
        sub_models: the root first; none in files without a table.
        compresses_names: whether attribute names are coded (`--enable_attr_compression`).
    """

    size: int
    generation: int
    header_version: int
    table: str
    model_type: str
    sub_models: tuple[SubModel, ...]
    compresses_names: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made the model, from what and for which host; texts are empty where the file does not tell.

    Attributes:
        vendor_note: the header's field that CANN leaves empty.
        atc_version: version of ATC.
        opp_version: version of the operator package.
        framework: of the source, such as `Onnx`.
        arch_type: the architecture as the file numbers it, unlike `spec.soc`.
        host_os: OS of the host it loads on, for models that hold libraries.
        host_cpu: CPU of that host.
        bound_to_host: whether the loader checks them.
    """

    vendor_note: str = ""
    atc_version: str = ""
    opp_version: str = ""
    framework: str = ""
    arch_type: str = ""
    host_os: str = ""
    host_cpu: str = ""
    bound_to_host: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """What the model asks for on the device; None where the file does not tell. Sizes in bytes.

    Attributes:
        zero_copy_memory: of its inputs and outputs, which callers provide.
        p2p_memory: shared with other devices.
        host_memory: on the host.
        streams: number of streams.
        events: number of events.
        labels: number of labels.
        notifies: number of notifies.
        om_info: `om_info_list`: sizes of weights, kernels, AI CPU kernels, tasks and, in newer files, libraries.
    """

    zero_copy_memory: int | None = None
    p2p_memory: int | None = None
    host_memory: int | None = None
    streams: int | None = None
    events: int | None = None
    labels: int | None = None
    notifies: int | None = None
    om_info: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Precision:
    """In what the model was told to compute.

    Attributes:
        option: `precision_mode` or `precision_mode_v2`.
        value: its value; empty when the file has no command line.
        given: whether the command line gave it; else it is ATC's default.
    """

    option: str
    value: str
    given: bool


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library inside a model of dynamic shape: its file name, vendor and bytes."""

    name: str
    vendor: str
    size: int


@dataclass(frozen=True, slots=True)
class GearShapes:
    """Shapes at one gear; None where the file does not tell.

    Attributes:
        gear: its sizes.
        inputs: per input of the model, the hidden one left out.
        outputs: per output.
    """

    gear: tuple[int, ...]
    inputs: tuple[tuple[int, ...] | None, ...]
    outputs: tuple[tuple[int, ...] | None, ...]

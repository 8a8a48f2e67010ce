"""Image preprocessing (AIPP) that was compiled into a model.

Rests on the attributes that GE leaves on a model's input nodes (facts: ATC §3.7, §5.1; GE:
compiler/graph/preprocess/insert_op/aipp_op.cc).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ascend_serve.artifacts.om.attributes import AttrValue, strings_of, text_of
from ascend_serve.artifacts.om.graph import Node

_MODES = {"static_aipp": "static", "dynamic_aipp": "dynamic", "dynamic_aipp_conf": "parameters"}
_NUMBERED = {
    "aipp_mode": ("undefined", "static", "dynamic"),
    "input_format": (
        *("UNDEFINED", "YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8", "NC1HWC0DI_FP16"),
        *("NC1HWC0DI_S8", "ARGB8888_U8", "YUYV_U8", "YUV422SP_U8", "AYUV444_U8", "RAW10", "RAW12", "RAW16"),
        *("RAW24", "RGB16", "RGB20", "RGB24", "RGB8_IR", "RGB16_IR", "RGB24_IR"),
    ),
}
"""Fields that the configuration names and the graph numbers (GE: `insert_op.proto`)."""


@dataclass(frozen=True, slots=True)
class Aipp:
    """Preprocessing of one input.

    Attributes:
        input: name of the input.
        mode: `static`, `dynamic`, or `parameters` for the input that takes the settings of a dynamic one.
        settings: fields of its `aipp_op` block and their values.
        network_inputs: what the network itself takes, per gear, as `format:dtype:name:bytes:rank:dims`; empty
            when not recorded.
        network_outputs: what the preprocessing gives it, alike.
    """

    input: str
    mode: str
    settings: tuple[tuple[str, int | float | str | bool], ...]
    network_inputs: tuple[str, ...]
    network_outputs: tuple[str, ...]


def aipps_of(nodes: Sequence[Node]) -> tuple[Aipp, ...]:
    """The preprocessing of a model's inputs, in the order of the nodes; those without it are left out."""
    found = []
    for node in nodes:
        mode = text_of(node.attrs, "_data_related_aipp_mode")
        settings = node.attrs.get("aipp")
        if mode or isinstance(settings, dict):
            fields = settings if isinstance(settings, dict) else {}
            found.append(
                Aipp(
                    node.name,
                    _MODES.get(mode, mode or "unknown"),
                    tuple(
                        (name, shown)
                        for name, value in fields.items()
                        if (shown := _shown(name, value)) is not None
                    ),
                    tuple(strings_of(node.attrs, "_aipp_inputs")),
                    tuple(strings_of(node.attrs, "_aipp_outputs")),
                )
            )
    return tuple(found)


def _shown(name: str, value: AttrValue) -> int | float | str | bool | None:
    words = _NUMBERED.get(name, ())
    if isinstance(value, int) and 0 <= value < len(words):
        return words[value]
    return value if isinstance(value, int | float | str) else None

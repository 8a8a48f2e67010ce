"""Fills what `Om` tells of the file around a model, of its makers and of its needs.

Rests on the header, the partitions and the model's own attributes (facts: ATC §3.2, §3.3, §3.5, §3.10).
"""

from __future__ import annotations

from collections.abc import Mapping

from ascend_serve.artifacts.om.attributes import AttrValue, int_of, ints_of, text_of
from ascend_serve.artifacts.om.container import (
    FLOW_MODEL,
    HEADER_BYTES,
    INOUT_INFO,
    Container,
    Partition,
    Partitions,
)
from ascend_serve.artifacts.om.facts import (
    MODEL_TYPES,
    PARTITION_NAMES,
    Layout,
    Origin,
    Resources,
    SubModel,
)
from ascend_serve.artifacts.om.inout import is_inout


def layout_of(container: Container, compresses_names: bool) -> Layout:
    """The file around the model; its generation follows from header, table and partitions."""
    if container.table == "none":
        generation = 0
    elif container.version == 1:
        generation = 1
    elif container.table == "small":
        generation = 2
    else:
        generation = 3 if container.first(INOUT_INFO) is None else 4
    return Layout(
        size=HEADER_BYTES + len(container.raw),
        generation=generation,
        header_version=container.version,
        table=container.table,
        model_type=MODEL_TYPES.get(container.model_type, f"type {container.model_type}"),
        sub_models=tuple(
            SubModel(_what(number, len(container.sub_models)), _sizes(partitions))
            for number, partitions in enumerate(container.sub_models)
        ),
        compresses_names=compresses_names,
    )


def _what(number: int, count: int) -> str:
    if count == 1:
        return "the model"
    return "root graph" if number == 0 else f"static sub-graph {number}"


def _sizes(partitions: Partitions) -> tuple[tuple[str, int], ...]:
    return tuple((_name(partition), len(partition.data)) for partition in partitions)


def _name(partition: Partition) -> str:
    kind = INOUT_INFO if partition.kind == FLOW_MODEL and is_inout(partition.data) else partition.kind
    return PARTITION_NAMES.get(kind, f"type {kind}")


def origin_of(container: Container, attrs: Mapping[str, AttrValue]) -> Origin:
    """Who made the model, from what and for which host."""
    return Origin(
        vendor_note=container.vendor_note,
        atc_version=text_of(attrs, "atc_version"),
        opp_version=text_of(attrs, "opp_version"),
        framework=text_of(attrs, "framework_type"),
        arch_type=text_of(attrs, "arch_type"),
        host_os=text_of(attrs, "host_env_os"),
        host_cpu=text_of(attrs, "host_env_cpu"),
        bound_to_host=container.bound_to_host,
    )


def resources_of(attrs: Mapping[str, AttrValue]) -> Resources:
    """What the model asks for on the device."""

    def told(key: str) -> int | None:
        return int_of(attrs, key) if isinstance(attrs.get(key), int) else None

    return Resources(
        zero_copy_memory=told("zero_copy_memory_size"),
        p2p_memory=told("p2p_memory_size"),
        host_memory=told("host_memory_size"),
        streams=told("stream_num"),
        events=told("event_num"),
        labels=told("label_num"),
        notifies=told("notify_num"),
        om_info=ints_of(attrs, "om_info_list"),
    )

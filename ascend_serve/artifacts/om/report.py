"""What an `.om` says about itself as JSON values, and how two of them differ.

The keys of a report are stable:

- `name`, `soc`, `dynamic`; `architecture`: number of the SoC's NPU architecture, null when it is not known;
- `made_by`: `vendor`, `version`, `is_cann`, `atc_version`, `opp_version`, `framework`, `arch_type` (as the file numbers
  it), `host_os`, `host_cpu`, `bound_to_host`, `vendor_note`;
- `command`: `line`, `program`, `options` (name as given → value);
- `inputs`, `outputs`: each `name`, `dtype`, `format`, `dims`, `memory_dims`, `ranges`, `bytes`;
- `gears`: `kind`, `groups` (sizes of each, in the file's order), `input_order` (in which gears of any dims count),
  `shapes` (each `gear`, `inputs`, `outputs`, by name);
- `serving`: `reason` (why it is not served, or empty), `batched`, `buckets` (each `gears`, `inputs`, `outputs`: shapes
  of a row by name);
- `precision`: `option`, `value`, `given` (false: ATC's default);
- `aipp`: each `input`, `mode`, `settings`, `network_inputs`, `network_outputs`;
- `memory`: bytes: `working`, `weights`, `zero_copy`, `p2p`, `host`; `streams`, `events`, `labels`, `notifies`;
- `file`: `bytes`, `generation`, `generation_words`, `header_version`, `table`, `model_type`, `compresses_names`,
  `om_info_list`, `sub_models` (each `what`, `partitions`: each `type`, `bytes`);
- `external_weights`: file names; `libraries`: each `name`, `vendor`, `bytes`;
- `operators`: null, or `types` and `dtypes` with counts; `contained`: a report for each model inside.

Values that the file does not tell are null, empty texts or empty lists. It rests on `Om` alone (facts: ATC §3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ascend_serve.artifacts.om.cmdline import options, program
from ascend_serve.artifacts.om.facts import GENERATIONS
from ascend_serve.artifacts.om.inout import OmTensor
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.artifacts.om.serving import serving
from ascend_serve.errors import ConfigError
from ascend_serve.spec.soc import resolve_soc
from ascend_serve.spec.tensors import DataType
from ascend_serve.spec.toolchain import CANN

Json = Any
"""A JSON value: None, bool, int, float, str, or lists and dicts of them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two models differ.

    Attributes:
        field: path into the reports; inputs, outputs and options stand by name, gears by their sizes.
        a: the first model's value; None where it has none.
        b: the second model's.
    """

    field: str
    a: Json
    b: Json


def report(om: Om) -> dict[str, Json]:
    """All that is known of a model, as JSON values under the keys that the module lists."""
    return {
        "name": om.name,
        "soc": om.soc,
        "architecture": _architecture(om.soc),
        "dynamic": om.dynamic,
        "made_by": _made_by(om),
        "command": {
            "line": om.atc_cmdline,
            "program": program(om.atc_cmdline),
            "options": options(om.atc_cmdline),
        },
        "inputs": [_tensor(tensor) for tensor in om.inputs],
        "outputs": [_tensor(tensor) for tensor in om.outputs],
        "gears": _gears(om),
        "serving": serving(om),
        "precision": {
            "option": om.precision.option,
            "value": om.precision.value,
            "given": om.precision.given,
        },
        "aipp": [
            {
                "input": aipp.input,
                "mode": aipp.mode,
                "settings": dict(aipp.settings),
                "network_inputs": list(aipp.network_inputs),
                "network_outputs": list(aipp.network_outputs),
            }
            for aipp in om.aipps
        ],
        "memory": _memory(om),
        "file": _file(om),
        "external_weights": list(om.external_weights),
        "libraries": [
            {"name": library.name, "vendor": library.vendor, "bytes": library.size}
            for library in om.libraries
        ],
        "operators": om.operators
        and {
            "types": om.operators.types,
            "dtypes": {dtype_name(number): count for number, count in om.operators.dtypes.items()},
        },
        "contained": [report(inner) for inner in om.contained],
    }


def _architecture(soc: str) -> int | None:
    try:
        return resolve_soc(soc).arch
    except ConfigError:
        return None


def dtype_name(number: int) -> str:
    """An element type in words by ACL's number, as in `OmTensor.dtype`."""
    try:
        return DataType.from_acl(number).name.lower()
    except ConfigError:
        return _NAMELESS.get(number, f"type {number}" if number >= 0 else f"graph type {-number}")


_NAMELESS = {27: "bf16"}
"""Types that ACL has and numpy does not."""


def _made_by(om: Om) -> dict[str, Json]:
    origin = om.origin
    return {
        "vendor": om.toolchain.vendor,
        "version": om.toolchain.version,
        "is_cann": om.toolchain.vendor == CANN,
        "atc_version": origin.atc_version,
        "opp_version": origin.opp_version,
        "framework": origin.framework,
        "arch_type": origin.arch_type,
        "host_os": origin.host_os,
        "host_cpu": origin.host_cpu,
        "bound_to_host": origin.bound_to_host,
        "vendor_note": origin.vendor_note,
    }


def _tensor(tensor: OmTensor) -> dict[str, Json]:
    return {
        "name": tensor.name,
        "dtype": dtype_name(tensor.dtype),
        "format": tensor.format,
        "dims": list(tensor.dims),
        "memory_dims": list(tensor.memory_dims),
        "ranges": [list(pair) for pair in tensor.ranges],
        "bytes": tensor.size,
    }


def _gears(om: Om) -> dict[str, Json]:
    def by_name(tensors: tuple[OmTensor, ...], shapes: tuple[tuple[int, ...] | None, ...]) -> dict[str, Json]:
        return {tensor.name: dims and list(dims) for tensor, dims in zip(tensors, shapes, strict=True)}

    return {
        "kind": om.gear_kind,
        "groups": [list(gear) for gear in om.gear_groups],
        "input_order": list(om.input_order),
        "shapes": [
            {
                "gear": list(shapes.gear),
                "inputs": by_name(om.inputs, shapes.inputs),
                "outputs": by_name(om.outputs, shapes.outputs),
            }
            for shapes in om.gear_shapes
        ],
    }


def _memory(om: Om) -> dict[str, Json]:
    resources = om.resources
    return {
        "working": om.memory_size,
        "weights": om.weight_size,
        "zero_copy": resources.zero_copy_memory,
        "p2p": resources.p2p_memory,
        "host": resources.host_memory,
        "streams": resources.streams,
        "events": resources.events,
        "labels": resources.labels,
        "notifies": resources.notifies,
    }


def _file(om: Om) -> dict[str, Json]:
    layout = om.layout
    return {
        "bytes": layout.size,
        "generation": layout.generation,
        "generation_words": GENERATIONS[layout.generation],
        "header_version": layout.header_version,
        "table": layout.table,
        "model_type": layout.model_type,
        "compresses_names": layout.compresses_names,
        "om_info_list": list(om.resources.om_info),
        "sub_models": [
            {
                "what": part.what,
                "partitions": [{"type": kind, "bytes": size} for kind, size in part.partitions],
            }
            for part in layout.sub_models
        ],
    }


# --- differences -----------------------------------------------------------------------------------


def differences(a: Om, b: Om) -> list[Difference]:
    """In what two models differ, in the order of a report.

    Inputs, outputs and options of the command line are compared by name, gears as a set, everything else by its place.
    The order of inputs and of outputs counts, since callers feed them by it.
    """
    return list(_differing((), _comparable(report(a)), _comparable(report(b))))


def _comparable(told: dict[str, Json]) -> dict[str, Json]:
    """A report with names in the place of positions."""
    changed = dict(told)
    del changed["serving"]  # It follows from the rest.
    changed["command"] = {"program": told["command"]["program"], **told["command"]["options"]}
    for side in ("inputs", "outputs"):
        changed[side] = {"(order)": [tensor["name"] for tensor in told[side]]} | _by(told[side], "name")
    changed["gears"] = {
        "kind": told["gears"]["kind"],
        "sizes": sorted(told["gears"]["groups"]),
        **{
            ",".join(map(str, shapes["gear"])): {"inputs": shapes["inputs"], "outputs": shapes["outputs"]}
            for shapes in told["gears"]["shapes"]
        },
    }
    changed["aipp"] = _by(told["aipp"], "input")
    changed["libraries"] = _by(told["libraries"], "name")
    sub_models = enumerate(told["file"]["sub_models"])
    changed["file"] = {**told["file"], "sub_models": {str(place): _sizes(part) for place, part in sub_models}}
    changed["contained"] = {str(place): _comparable(inner) for place, inner in enumerate(told["contained"])}
    return changed


def _by(items: list[dict[str, Json]], key: str) -> dict[str, Json]:
    return {item[key]: {name: value for name, value in item.items() if name != key} for item in items}


def _sizes(part: dict[str, Json]) -> dict[str, Json]:
    """Bytes by partition type; types that occur more than once are added up."""
    sizes: dict[str, Json] = {"what": part["what"]}
    for partition in part["partitions"]:
        sizes[partition["type"]] = sizes.get(partition["type"], 0) + partition["bytes"]
    return sizes


def _differing(path: tuple[str, ...], a: Json, b: Json) -> Iterator[Difference]:
    """What differs below a path; an empty value is as good as none."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from _differing((*path, key), a.get(key), b.get(key))
        return
    a, b = (None if value in ({}, [], "") else value for value in (a, b))
    if a != b:
        yield Difference(".".join(path), a, b)

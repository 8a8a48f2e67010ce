"""What `atc` prints of a finished `.om`: its graph as JSON (`--mode=1`) and its summary (`--mode=6`).

Facts: atc_om_soc.md §3.8. The JSON is not protobuf's own mapping but GE's (parser/parser/common/convert/
pb2json.cc, base/common/helper/model_saver.cc): fields under their names in the schema, sorted, numbers of all
sizes as numbers, a single float as text of six digits where that takes less than ten characters, a single
bytes field with C escapes, maps as lists of key and value. Names and texts of attributes are expanded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from ascend_emulator.atc.ir_fields import ENUMS, MESSAGES, ROOT, Field, Kind
from ascend_emulator.om_compression import DICTIONARY, Expander
from ascend_emulator.om_container import MODEL_DEF, OmError, read_container
from ascend_emulator.om_definition import decode_definition
from ascend_emulator.protobuf import WireError, fields, float32, signed, varints

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_LEFT_OUT = frozenset(
    {
        *("output", "data_offset", "data", "workspace", "workspace_bytes"),
        *("memory_size", "weight_size", "size", "bt", "quantize_factor"),
    }
)
"""Fields that GE leaves out wherever they stand (api/atc/omg.cc, kOmBlackFields)."""

_DEEPEST = 20
_FLOAT_CHARACTERS = 10
_FLOAT_BYTES = 4
_SUMMARY_SIZES = 5
_ESCAPES = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: '\\"', 0x27: "\\'", 0x5C: "\\\\"}


def to_json(data: bytes | memoryview) -> str:
    """The graph of an `.om` as `atc --mode=1 --om --json` writes it.

    Args:
        data: the whole file.

    Returns:
        JSON, indented by two, without a newline at its end.

    Raises:
        OmError: no `.om`, or one whose graph cannot be read.
    """
    partition = read_container(data).partitions[MODEL_DEF]
    try:
        model = _message(partition, ROOT, 0)
        expander = Expander(decode_definition(partition).attributes)
        if isinstance(model, dict):
            own = model.get("attr")
            if isinstance(own, list):
                kept = [
                    entry for entry in own if not (isinstance(entry, dict) and entry["key"] in DICTIONARY)
                ]
                model["attr"] = kept
            _expand(model, expander)
    except ValueError as error:
        raise OmError(f"the model's graph cannot be read: {error}") from error
    return json.dumps(model, indent=2, ensure_ascii=False, sort_keys=True)


def model_info(data: bytes | memoryview) -> str:
    """The summary of `atc --mode=6` and `--display_model_info`, each line with its newline.

    Sizes and counts that the file lacks are -1. A file of CANN 5 or older has no five sizes to show, which is
    told in their place, as ATC does.

    Args:
        data: the whole file.

    Raises:
        OmError: no `.om`, or one whose graph cannot be read.
    """
    partition = read_container(data).partitions[MODEL_DEF]
    try:
        found = decode_definition(partition).attributes
    except ValueError as error:
        raise OmError(f"the model's description cannot be read: {error}") from error

    def text(name: str) -> str:
        value = found.get(name)
        return value if isinstance(value, str) else ""

    def number(name: str) -> int:
        value = found.get(name)
        return value if isinstance(value, int) else -1

    lines = [
        "============ Display Model Info start ============",
        f"Original Atc command line: {text('atc_cmdline')}",
        f"system   info: atc_version[{text('atc_version')}], soc_version[{text('soc_version')}], "
        f"framework_type[{text('framework_type')}].",
        f"resource info: memory_size[{number('memory_size')} B], weight_size[{number('weight_size')} B], "
        f"stream_num[{number('stream_num')}], event_num[{number('event_num')}].",
    ]
    sizes = found.get("om_info_list")
    if not isinstance(sizes, list):
        lines.append(
            'Display Model Info failed, attr "om_info_list" is not found in om, check the version is matched.'
        )
    elif len(sizes) != _SUMMARY_SIZES:
        lines.append("Display Model Info error, please check!")
    else:
        weights, kernels, aicpu, tasks, libraries = sizes
        lines.append(
            f"om       info: modeldef_size[{len(partition)} B], weight_data_size[{weights} B], "
            f"tbe_kernels_size[{kernels} B], cust_aicpu_kernel_store_size[{aicpu} B], "
            f"task_info_size[{tasks} B], so_store_size[{libraries} B]."
        )
    lines.append("============ Display Model Info end   ============")
    return "".join(f"{line}\n" for line in lines)


# --- protobuf to JSON -----------------------------------------------------------------------------


def _message(data: memoryview, name: str, depth: int) -> Json:
    """A message as JSON: null where nothing of it is shown, or where it lies too deep."""
    if depth > _DEEPEST:
        return None
    schema = MESSAGES[name]
    found: dict[str, Json] = {}
    for number, value in fields(data):
        field = schema.get(number)
        if field is None or field.name in _LEFT_OUT:
            continue
        if field.repeated:
            made = list(_items(field, value, depth))
            items = found.get(field.name)
            if isinstance(items, list):
                items.extend(made)
            elif made:
                found[field.name] = made
        else:
            _put(found, field, value, depth)
        if name == "AttrDef":
            # Of a oneof the last one written counts.
            found = {field.name: found[field.name]} if field.name in found else {}
    return found or None


def _put(found: dict[str, Json], field: Field, value: int | memoryview, depth: int) -> None:
    if field.kind is Kind.MESSAGE:
        content = _view(field, value)
        if content:
            found[field.name] = _message(content, field.of, depth + 1)
        return
    shown = _single(field, value)
    if field.always or _number_or_length(value):
        found[field.name] = shown
    else:
        found.pop(field.name, None)


def _number_or_length(value: int | memoryview) -> int:
    return value if isinstance(value, int) else len(value)


def _single(field: Field, value: int | memoryview) -> Json:
    if field.kind is Kind.BYTES:
        return _escaped(bytes(_view(field, value)))
    if field.kind is Kind.STRING:
        return _shown(bytes(_view(field, value)))
    if isinstance(value, memoryview):
        raise WireError(f"field {field.name} holds bytes where a number is expected")
    number = _number(field, value)
    if isinstance(number, float):
        text = format(number, "g")
        return text if len(text) < _FLOAT_CHARACTERS else number
    return number


def _items(field: Field, value: int | memoryview, depth: int) -> Iterator[Json]:
    if field.kind is Kind.MESSAGE:
        content = _view(field, value)
        yield _message(content, field.of, depth + 1) if content else None
    elif field.kind in (Kind.STRING, Kind.BYTES):
        yield _shown(bytes(_view(field, value)))
    elif isinstance(value, int):
        yield _listed(_number(field, value))
    elif field.kind is Kind.FLOAT:
        if len(value) % _FLOAT_BYTES:
            raise WireError(f"field {field.name} ends inside a float")
        for at in range(0, len(value), _FLOAT_BYTES):
            yield _listed(float32(int.from_bytes(value[at : at + _FLOAT_BYTES], "little")))
    else:
        for number in varints(value):
            yield _number(field, number)


def _listed(number: bool | int | float | str) -> Json:
    # JSON has no infinity and no NaN.
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _view(field: Field, value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError(f"field {field.name} holds a number where bytes are expected")
    return value


def _number(field: Field, value: int) -> bool | int | float | str:
    if field.kind is Kind.BOOL:
        return bool(value)
    if field.kind is Kind.FLOAT:
        return float32(value)
    if field.kind is Kind.ENUM:
        names = ENUMS[field.of]
        number = signed(value)
        return names[number] if 0 <= number < len(names) else f"UNKNOWN_ENUM_VALUE_{field.of}_{number}"
    return value if field.kind is Kind.UINT else signed(value)


def _shown(data: bytes) -> str:
    # As GE's writer: bytes that are no UTF-8 are dropped.
    return data.decode("utf-8", "ignore")


def _escaped(data: bytes) -> str:
    """The C escapes of protobuf's `CEscape`: octal for everything that does not print."""
    return "".join(
        _ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}") for byte in data
    )


# --- attribute names ------------------------------------------------------------------------------


def _expand(node: Json, expander: Expander) -> None:
    """Put names and texts where the file has their numbers, in place; what lies inside an attribute stays."""
    if isinstance(node, list):
        for item in node:
            _expand(item, expander)
    elif isinstance(node, dict):
        if "key" in node and "value" in node:
            name, is_text = expander.name(str(node["key"]))
            node["key"] = name
            if is_text and isinstance(node["value"], dict):
                _expand_value(node["value"], expander)
            return
        for item in node.values():
            _expand(item, expander)


def _expand_value(value: dict[str, Json], expander: Expander) -> None:
    number = value.pop("i", None)
    if isinstance(number, int):
        value["s"] = expander.text(number)
    items = value.get("list")
    if isinstance(items, dict):
        numbers = items.pop("i", None)
        if isinstance(numbers, list):
            items["s"] = [expander.text(each) for each in numbers if isinstance(each, int)]
        if "val_type" in items:
            items["val_type"] = "VT_LIST_STRING"

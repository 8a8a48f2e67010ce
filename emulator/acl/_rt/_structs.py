"""C structs that pyACL takes as dicts, with its own errors for dicts of another form (facts/pyacl.md §8.1)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client.virtual import PhysicalProperties


def malloc_attributes(cfg: object) -> list[tuple[int, int]]:
    """The (`aclrtMallocAttrType`, value) pairs of an `aclrtMallocConfig`; an empty dict stands for none.

    Raises:
        TypeError: what should be a dict or a list is none.
        KeyError: `numAttrs` is not the number of attributes, or a value has none of its keys.
        ValueError: a number does not fit.
    """
    if not isinstance(cfg, dict):
        raise TypeError("pyCfg is not dict!")
    if not cfg:
        return []
    entries = cfg.get("attrs")
    if entries is None:
        raise TypeError("the aclrtMallocAttrValue argument is not dict")
    if not isinstance(entries, list):
        raise TypeError("cfg.attrs malloc failed!")
    if _number(cfg, "numAttrs") != len(entries):
        raise KeyError("The numAttrs inputed does not match the expected numAttrs")
    return [_malloc_attribute(entry) for entry in entries]


def physical_properties(prop: object) -> PhysicalProperties:
    """An `aclrtPhysicalMemProp`; a key that is missing or no int counts as 0.

    Raises:
        TypeError: it, or its `location`, is no dict.
        ValueError: a number does not fit.
    """
    if not isinstance(prop, dict):
        raise TypeError("the aclrtPhysicalMemProp argument is not dict")
    location = prop.get("location", {})
    if not isinstance(location, dict):
        raise TypeError("the aclrtMemLocation argument is not dict")
    return PhysicalProperties(
        handle_type=_number(prop, "handleType"),
        allocation_type=_number(prop, "allocationType"),
        attribute=_number(prop, "memAttr"),
        location_type=_number(location, "type"),
        location_id=_number(location, "id"),
    )


def _malloc_attribute(entry: object) -> tuple[int, int]:
    if not isinstance(entry, dict):
        raise TypeError("the aclrtMallocWithCfg argument is not dict")
    value = entry.get("value", {"rsv": []})
    if not isinstance(value, dict):
        raise TypeError("the aclrtMallocAttrValue argument is not dict")
    for key, mask in (("moduleId", 0xFFFF), ("deviceId", 0xFFFF_FFFF)):
        if key in value:
            return _number(entry, "attr"), _unsigned(value[key]) & mask
    if "rsv" not in value:
        raise KeyError("No valid key found in aclrtMallocAttrValue")
    return _number(entry, "attr"), 0


def _number(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if not isinstance(value, int):
        return 0
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("PyLong_AsLong failed")
    return value


def _unsigned(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ValueError("PyLong_AsUnsignedLong failed")
    return value

"""What software the card comes with and what it is able to do (facts/pyacl.md §3).

An emulated node has no CANN installed. It answers as the CANN whose open sources its behaviour was read from,
which is the one of the API version that `acl.get_version` gives.
"""

from __future__ import annotations

from ascend_emulator.client import process
from ascend_emulator.client.calling import dict_ret, function, value_ret
from ascend_emulator.codes import INVALID_FILE, INVALID_PARAM, Failure

__all__ = [
    "get_cann_attribute",
    "get_cann_attribute_list",
    "get_cann_version",
    "get_device_capability",
    "get_version_str",
]

_CANN = "9.1.0"
_DRIVER = "25.2.0"

_PACKAGES = (
    "runtime",
    "runtime",
    "bisheng-compiler",
    "hccl",
    "oam-tools",
    "ops-legacy",
    "ops-legacy",
    "driver",
)
"""Package of each `aclCANNPackageName`; CANN as a whole is named by its runtime."""

_INF_NAN, _BF16, _JIT_COMPILE = range(3)
_ATTRIBUTES = (_INF_NAN, _BF16, _JIT_COMPILE)
_ARCHS_WITH_BF16 = frozenset((2201, 3510))
"""Architectures that compute with bfloat16, infinities and NaN; the others saturate."""


def _text_ret(code: int) -> tuple[str, int]:
    return "", code


def _list_count_ret(code: int) -> tuple[list[int], int, int]:
    return [], 0, code


@function("I", dict_ret)
def get_cann_version(package: int) -> tuple[dict[str, str], int]:
    """`(dict, ret)`: the version of a package, whole and in parts, all texts."""
    if package >= len(_PACKAGES):
        text = f"EH0001: package {package} is invalid, the valid range is [0, {len(_PACKAGES) - 1}]."
        raise Failure(INVALID_PARAM, text)
    version = _version_of(_PACKAGES[package])
    major, minor, release = version.split(".")
    parts = {"major_version": major, "minor_version": minor, "release_version": release, "patch_version": "0"}
    return {"version": version, **parts, "reserved": ""}, 0


@function("s", _text_ret)
def get_version_str(package: str) -> tuple[str, int]:
    """`(text, ret)`: the version of a package by its name; `_` in it counts as `-`."""
    name = package.replace("_", "-")
    if name not in _PACKAGES:
        raise Failure(INVALID_FILE, f"EH0003: no package {package!r} is installed.")
    return _version_of(name), 0


@function("", _list_count_ret)
def get_cann_attribute_list() -> tuple[list[int], int, int]:
    """`(list, count, ret)`: the `aclCannAttr`s that software and SoC have."""
    able = [attribute for attribute in _ATTRIBUTES if _is_able(attribute)]
    return able, len(able), 0


@function("i", value_ret)
def get_cann_attribute(attribute: int) -> tuple[int, int]:
    """`(1 or 0, ret)`: whether software and SoC have an `aclCannAttr`."""
    if attribute not in _ATTRIBUTES:
        raise Failure(INVALID_PARAM, f"EH0001: attribute {attribute} is invalid, the valid range is [0, 2].")
    return int(_is_able(attribute)), 0


@function("Ii", value_ret)
def get_device_capability(device: int, capability: int) -> tuple[int, int]:
    """`(value, ret)`: 0 number of AI cores, 1 of vector cores, 2 bytes of the L2 cache."""
    seen = len(process.ordinals())
    if device >= seen:
        raise Failure(
            INVALID_PARAM, f"EH0001: device id {device} is invalid, the valid range is [0, {seen})."
        )
    soc = process.settings().soc
    values = (soc.ai_cores, soc.vector_cores, soc.l2_bytes)
    if not 0 <= capability < len(values):
        raise Failure(
            INVALID_PARAM, f"EH0001: capability {capability} is invalid, the valid range is [0, 2]."
        )
    return values[capability], 0


def _version_of(package: str) -> str:
    return _DRIVER if package == "driver" else _CANN


def _is_able(attribute: int) -> bool:
    return attribute == _JIT_COMPILE or process.settings().soc.arch in _ARCHS_WITH_BF16

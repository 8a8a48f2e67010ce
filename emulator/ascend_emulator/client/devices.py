"""What devices are and may do to each other (facts/pyacl.md §5.1)."""

from __future__ import annotations

from ascend_emulator.client import process
from ascend_emulator.codes import (
    FEATURE_UNSUPPORTED,
    INVALID_PARAM,
    RT_FEATURE_NOT_SUPPORTED,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import Op

_AICPU_CORES, _AI_CORES, _CUBE_CORES, _VECTOR_CORES = 1, 101, 102, 201
_MEMORY_BYTES, _L2_BYTES = 301, 302
_PHYSICAL_CHIP, _IS_VIRTUAL, _ARCH = 402, 501, 601
_OTHER_ATTRIBUTES = frozenset((*range(202, 213), 401, 403, 404, 405, 406, 407, 408, 409))
"""What `aclrtDevAttr` has besides, and nothing public says of a SoC."""

_UNKNOWN = -1
_MODES = (0, 1)
_ARCHS_WITHOUT_PEERS = frozenset((3002,))

_mode = 0


def utilization(ordinal: int) -> dict[str, int]:
    """How busy a device was in the last second, in percent; -1 for what cannot be told.

    Args:
        ordinal: the device; one that this process has not opened counts as idle, one that is not there as unknown.
    """
    busy, vector, aicpu = _UNKNOWN, _UNKNOWN, _UNKNOWN
    if 0 <= ordinal < len(process.ordinals()):
        device = process.open_device(ordinal)
        busy = device.link.call(Op.BUSY_SHARE, b"").first if device is not None else 0
        vector = busy if process.settings().soc.vector_cores else _UNKNOWN
        aicpu = 0
    return {
        "cube_utilization": busy,
        "vector_utilization": vector,
        "aicpu_utilization": aicpu,
        "memory_utilization": _UNKNOWN,
        "utilization_extend": 0,
    }


def information(ordinal: int, attribute: int) -> int:
    """An attribute of a device, by its number in `aclrtDevAttr`.

    Raises:
        Failure: 107000, no such device or attribute; 207000, one that is not known of the SoC.
    """
    if ordinal >= len(process.ordinals()):
        raise Failure(RT_PARAM_INVALID, f"EE1003: device id {ordinal} is invalid.")
    soc = process.settings().soc
    known = {
        _AICPU_CORES: soc.ai_cpus,
        _AI_CORES: soc.ai_cores,
        _CUBE_CORES: soc.ai_cores,
        _VECTOR_CORES: soc.vector_cores,
        _MEMORY_BYTES: soc.memory_bytes,
        _L2_BYTES: soc.l2_bytes,
        _PHYSICAL_CHIP: process.ordinals()[ordinal],
        _IS_VIRTUAL: 0,
        _ARCH: soc.arch,
    }
    if attribute in known:
        return known[attribute]
    if attribute in _OTHER_ATTRIBUTES:
        text = f"EE1005: attribute {attribute} of {soc.name} is not known to the emulator."
        raise Failure(RT_FEATURE_NOT_SUPPORTED, text)
    raise Failure(RT_PARAM_INVALID, f"EE1003: device attribute {attribute} is invalid.")


def saturation_mode() -> int:
    """What was set last in this process; 0 before."""
    return _mode


def set_saturation_mode(mode: int) -> None:
    """Note the mode: 0 saturation, 1 infinity and NaN.

    Raises:
        Failure: 107000, another mode.
    """
    global _mode
    if mode not in _MODES:
        raise Failure(
            RT_PARAM_INVALID, f"EE1003: overflow mode {mode} is invalid, the valid range is [0, 2)."
        )
    _mode = mode


def check_peers(ordinal: int, peer: int) -> None:
    """Refuse what are no two devices that could reach each other.

    Raises:
        Failure: 100000, the same device; 107001, no such device; 207000, a SoC or a board without peers.
    """
    if ordinal == peer:
        raise Failure(INVALID_PARAM, f"EH0001: device {ordinal} cannot be a peer of itself.")
    process.check_ordinal(ordinal)
    process.check_ordinal(peer)
    settings = process.settings()
    if settings.run_mode == 0 or settings.soc.arch in _ARCHS_WITHOUT_PEERS:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1005: the devices of this SoC or board cannot reach each other."
        )


def check_peer_of_current(peer: int, flags: int = 0) -> None:
    """As `check_peers` for the current device and another.

    Raises:
        Failure: 200006, flags other than 0; 107002; else as `check_peers`.
    """
    if flags:
        raise Failure(FEATURE_UNSUPPORTED, f"EH0001: flags {flags} are invalid: they must be 0.")
    check_peers(process.current().device.ordinal, peer)

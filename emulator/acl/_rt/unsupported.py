"""Functions of memory that exist and are not emulated: with a SoC that has no such feature they answer 207000 too."""

from __future__ import annotations

from ascend_emulator.client.calling import function, ret, value_ret
from ascend_emulator.codes import INVALID_PARAM, RT_FEATURE_NOT_SUPPORTED, Failure

__all__ = [
    "get_mem_uce_info",
    "get_memcpy_desc_size",
    "mem_export_to_shareable_handle",
    "mem_import_from_shareable_handle",
    "mem_set_pid_to_shareable_handle",
    "mem_uce_repair",
    "memcpy_async_with_desc",
    "set_memcpy_desc",
    "value_wait",
    "value_write",
]


def _list_ret(code: int) -> tuple[list[object], int]:
    return [], code


@function("kik", value_ret)
def mem_export_to_shareable_handle(handle: int, kind: int, flags: int) -> tuple[int, int]:
    """`(shareable handle, ret)`: 207000; `ipc_mem_get_export_key` shares blocks."""
    raise _refusal(handle)


@function("ki", value_ret)
def mem_import_from_shareable_handle(shareable: int, device: int) -> tuple[int, int]:
    """`(handle, ret)`: 207000."""
    raise _refusal()


@function("kO", ret)
def mem_set_pid_to_shareable_handle(shareable: int, pids: object) -> int:
    """207000; ValueError for anything but a list."""
    if not isinstance(pids, list):
        raise ValueError("argument 2 only support the format of list")
    raise _refusal()


@function("i", value_ret)
def get_memcpy_desc_size(kind: int) -> tuple[int, int]:
    """`(bytes, ret)`: 207000; 100000 for a kind outside 0 to 7."""
    raise _refusal(0 <= kind <= 7)


@function("kikkkk", value_ret)
def set_memcpy_desc(
    desc: int, kind: int, source: int, target: int, size: int, config: int
) -> tuple[int, int]:
    """`(desc, ret)`: 207000."""
    raise _refusal(desc)


@function("kik", ret)
def memcpy_async_with_desc(desc: int, kind: int, stream: int) -> int:
    """207000."""
    raise _refusal(desc)


@function("kkIk", ret)
def value_write(address: int, value: int, flag: int, stream: int) -> int:
    """207000."""
    raise _refusal(address)


@function("kkIk", ret)
def value_wait(address: int, value: int, flag: int, stream: int) -> int:
    """207000."""
    raise _refusal(address)


@function("iI", _list_ret)
def get_mem_uce_info(device: int, count: int) -> tuple[list[object], int]:
    """`([], ret)`: 207000."""
    raise _refusal()


@function("iO", ret)
def mem_uce_repair(device: int, infos: object) -> int:
    """207000; TypeError for anything but a list."""
    if not isinstance(infos, list):
        raise TypeError("aclrtMemUceInfo argument is not list")
    raise _refusal()


def _refusal(valid: object = True) -> Failure:
    if not valid:
        return Failure(INVALID_PARAM, "EH0002: an address or handle is null, or a kind is out of range.")
    return Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: ascend-emulator does not have this function.")

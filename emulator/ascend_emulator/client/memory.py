"""Blocks of device and pinned host memory (facts/pyacl.md §8.2, §8.3)."""

from __future__ import annotations

from ascend_emulator.allocator import ALIGNMENT, whole_lines
from ascend_emulator.client import addresses, process
from ascend_emulator.client.addresses import Block
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_FEATURE_NOT_SUPPORTED,
    RT_INVALID_MEMORY_TYPE,
    RT_OUT_OF_MEMORY,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import ONE, TWO, Op

HUGE_FIRST, HUGE_ONLY, NORMAL_ONLY, HUGE_FIRST_P2P, HUGE_ONLY_P2P = range(5)
HUGE_PAGE = 2 << 20
PAGE = 4 << 10

_HUGE_POLICIES = frozenset((HUGE_ONLY, HUGE_ONLY_P2P))
_HUGE_FIRST_POLICIES = frozenset((HUGE_FIRST, HUGE_FIRST_P2P))
_HUGE_FROM = 1 << 20
_SIZE_T = 1 << 64
_LARGEST = 1 << 62

_KINDS_OF_MEMORY = range(18)
_DDR_KINDS = frozenset((0, 2, 3, 6, 7))
_HUGE_1G_KINDS = frozenset((10, 11, 14, 17))
_HBM_ARCHS = frozenset((1001, 2201, 3510))

_ATTR_NOTHING, _ATTR_MODULE, _ATTR_DEVICE, _ATTR_ADDRESS_FLAG = range(4)

_blocks: dict[int, Block] = {}
"""Device blocks not freed yet. One whose device was reset is gone, but programs free it all the same, and get 0."""


def malloc(size: int, *, pad: bool, policy: int = HUGE_FIRST, alignment: int = ALIGNMENT) -> int:
    """Allocate device memory in the current context's device.

    Args:
        size: bytes asked for.
        pad: whether the 32 bytes of slack behind the block are added, as `malloc` does and `malloc_align32`
            does not.
        policy: `aclrtMemMallocPolicy` (facts/pyacl.md §15.4); it decides what pages the block says it has.
        alignment: of the address, in bytes.

    Returns:
        The block's address in this process.

    Raises:
        Failure: 100000 (size 0, or so large that its padding wraps), 107002, 207001 (no room).
    """
    _check_size(size)
    slack = 63 if pad else 31
    if size + slack >= _SIZE_T:
        raise Failure(INVALID_PARAM, f"EH0001: a size of {size} bytes is too large.")
    device = process.current().device
    real_size = (size + slack) // 32 * 32
    if real_size >= _LARGEST:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: no device has {size} bytes of memory.")
    link = device.link
    address = link.memory.base + link.call(Op.MALLOC, TWO.pack(real_size, alignment)).first
    huge = policy in _HUGE_POLICIES or (policy in _HUGE_FIRST_POLICIES and size > _HUGE_FROM)
    block = _blocks[address] = Block(device, HUGE_PAGE if huge else PAGE)
    addresses.live.add(address, whole_lines(real_size), block)
    return address


def malloc_cached(size: int, policy: int) -> int:
    """Allocate device memory that is cached, which here all is.

    Raises:
        Failure: as `malloc`; 207000, another policy than normal pages.
    """
    _check_size(size)
    process.current()
    if policy != NORMAL_ONLY:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1005: cached memory comes in normal pages (policy 2) only."
        )
    return malloc(size, pad=True, policy=policy)


def malloc_configured(size: int, policy: int, attributes: list[tuple[int, int]]) -> int:
    """Allocate device memory with attributes.

    Args:
        size: bytes asked for.
        policy: as for `malloc`.
        attributes: (`aclrtMallocAttrType`, value) pairs: 1 a module, 2 the device, which must be the current.

    Raises:
        Failure: as `malloc`; 107000, another attribute or device.
    """
    _check_size(size)
    device = process.current().device
    for kind, value in attributes:
        known = kind in (_ATTR_NOTHING, _ATTR_MODULE) or (kind == _ATTR_DEVICE and value == device.ordinal)
        if not known:
            raise Failure(RT_PARAM_INVALID, f"EE1003: attribute {kind} cannot be {value} in this context.")
    return malloc(size, pad=False, policy=policy & 0xFF)


def free(address: int) -> None:
    """Free device memory; does not wait for work that uses it.

    Raises:
        Failure: 100000, the address is 0; 107000, it starts no live block.
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    block = _blocks.pop(address, None)
    if block is None or block.device is None:
        raise Failure(
            RT_PARAM_INVALID, f"EE1001: {address:#x} is not the start of a live block of device memory."
        )
    found = addresses.live.at(address)
    if found is not None and found.value is block:
        addresses.live.take(address)
    link = block.device.link
    if not link.closed:
        link.call(Op.FREE, ONE.pack(address - link.memory.base))


def malloc_host(size: int) -> int:
    """Allocate pinned host memory; on a board it is device memory as well.

    Raises:
        Failure: 100000 (size 0), 107002, 207001 (no room).
    """
    _check_size(size)
    context = process.current()
    context.device.link.call(Op.MEET, b"malloc_host")
    if process.settings().run_mode == 0:
        return malloc(size, pad=True)
    address = process.pinned().allocate(size) if size < _LARGEST else None
    if address is None:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: the host has no {size} bytes left to pin.")
    addresses.live.add(address, whole_lines(size), Block(None, PAGE))
    return address


def malloc_host_configured(size: int, attributes: list[tuple[int, int]]) -> int:
    """Allocate pinned host memory with attributes.

    Args:
        size: bytes asked for.
        attributes: (`aclrtMallocAttrType`, value) pairs: 1 a module, 3 a flag of the address; neither matters here.

    Raises:
        Failure: as `malloc_host`; 107000, another attribute.
    """
    _check_size(size)
    for kind, _ in attributes:
        if kind not in (_ATTR_MODULE, _ATTR_ADDRESS_FLAG):
            raise Failure(RT_PARAM_INVALID, f"EE1003: host memory has no attribute {kind}.")
    return malloc_host(size)


def free_host(address: int) -> None:
    """Free pinned host memory.

    Raises:
        Failure: 100000, the address is 0; 107000, it starts no live block of it.
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    if process.settings().run_mode == 0:
        free(address)
        return
    try:
        process.pinned().free(address)
    except KeyError:
        text = f"EE1001: {address:#x} is not the start of a live block of pinned host memory."
        raise Failure(RT_PARAM_INVALID, text) from None
    addresses.live.take(address)


def flush(address: int, size: int) -> None:
    """Write back, or drop, what a cache holds of device memory: the caches here are always coherent.

    Raises:
        Failure: 100000 (null, size 0), 107002.
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    _check_size(size)
    process.current()


def memory_info(kind: int) -> tuple[int, int]:
    """(free, total) bytes of one kind of memory of the current device.

    On a SoC without HBM every kind is answered as DDR; on one with HBM, kinds of DDR are (0, 0).

    Raises:
        Failure: 107002, 107016 (no such kind), 207000 (1 GiB pages).
    """
    if kind not in _KINDS_OF_MEMORY:
        raise Failure(
            RT_INVALID_MEMORY_TYPE, f"EE1003: memory kind {kind} is invalid, the valid range is [0, 17]."
        )
    context = process.current()
    if process.settings().soc.arch in _HBM_ARCHS:
        if kind in _HUGE_1G_KINDS:
            raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: pages of 1 GiB are not supported.")
        if kind in _DDR_KINDS:
            return 0, 0
    answer = context.device.link.call(Op.MEMORY_INFO, b"")
    return answer.first, answer.second


def _check_size(size: int) -> None:
    if not size:
        raise Failure(INVALID_PARAM, "EH0001: size is 0, it must be greater than 0.")

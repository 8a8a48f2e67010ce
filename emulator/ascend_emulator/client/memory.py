"""Device and pinned host memory, and copies between them and ordinary memory (facts/pyacl.md §8)."""

from __future__ import annotations

import time

from ascend_emulator import libc, wire
from ascend_emulator.client import process
from ascend_emulator.client.process import Context
from ascend_emulator.client.streams import stream_of
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_FEATURE_NOT_SUPPORTED,
    RT_OUT_OF_MEMORY,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import ONE, Op, Way

_KINDS = range(6)
_KINDS_OF_MEMORY = range(18)
_DDR_KINDS = frozenset((0, 2, 3, 6, 7))
_ANY_KINDS = frozenset(range(12, 18))
_HBM_ARCHS = frozenset((1001, 2201, 3510))
_HUGE_1G_KINDS = frozenset((10, 11, 14, 17))

_blocks: dict[int, Context] = {}
"""Device blocks not freed yet. One whose device was reset is gone, but programs free it all the same, and get 0."""


def malloc(size: int, *, pad: bool) -> int:
    """Allocate device memory in the current context's device.

    Args:
        size: bytes asked for.
        pad: whether the 32 bytes of slack behind the block are added, as `malloc` does and `malloc_align32`
            does not.

    Returns:
        The block's address in this process, 64-byte aligned.

    Raises:
        Failure: 107002, 100000 (size 0), 207001 (no room).
    """
    context = process.current()
    if not size:
        raise Failure(INVALID_PARAM, "EH0001: size is 0, it must be greater than 0.")
    real_size = (size + 63) // 32 * 32 if pad else (size + 31) // 32 * 32
    if real_size >= 1 << 62:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: no device has {size} bytes of memory.")
    link = context.device.link
    address = link.memory.base + link.call(Op.MALLOC, ONE.pack(real_size)).first
    _blocks[address] = context
    return address


def free(address: int) -> None:
    """Free device memory; does not wait for work that uses it.

    Raises:
        Failure: 100000, the address is 0 or starts no live block.
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    context = _blocks.pop(address, None)
    if context is None:
        raise Failure(
            INVALID_PARAM, f"EE1001: {address:#x} is not the start of a live block of device memory."
        )
    link = context.device.link
    if not link.closed:
        link.call(Op.FREE, ONE.pack(address - link.memory.base))


def malloc_host(size: int) -> int:
    """Allocate pinned host memory; on a board it is device memory as well.

    Raises:
        Failure: 107002, 100000 (size 0), 207001 (no room).
    """
    process.current()
    if not size:
        raise Failure(INVALID_PARAM, "EH0001: size is 0, it must be greater than 0.")
    if process.settings().run_mode == 0:
        return malloc(size, pad=True)
    address = process.pinned().allocate(size)
    if address is None:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: the host has no {size} bytes left to pin.")
    return address


def free_host(address: int) -> None:
    """Free pinned host memory.

    Raises:
        Failure: 100000, the address is 0 or starts no live block of it.
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    if address in _blocks:
        free(address)
        return
    try:
        process.pinned().free(address)
    except KeyError:
        text = f"EE1001: {address:#x} is not the start of a live block of pinned host memory."
        raise Failure(INVALID_PARAM, text) from None


def copy(target: int, room: int, source: int, size: int, kind: int) -> None:
    """Copy and wait for the copy, not for any stream.

    Raises:
        Failure: 107002, 100000 (null, bad kind), 107000 (more bytes than room).
    """
    context = process.current()
    if size:
        _check_copy(target, room, source, size, kind)
        _check_alive(context)
        _copy_now(context, target, source, size)


def copy_async(target: int, room: int, source: int, size: int, kind: int, stream: int) -> None:
    """Queue a copy between device and pinned memory; with pageable memory, drain the stream and copy now.

    Raises:
        Failure: as `copy`; 107003 (stream of another context), 207000 (host to host).
    """
    queue = stream_of(stream)
    if not size:
        return
    _check_copy(target, room, source, size, kind)
    link = queue.context.device.link
    to, start = link.address_on_wire(target), link.address_on_wire(source)
    to_host, from_host = to >= wire.PINNED, start >= wire.PINNED
    if to_host and from_host:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1006: copying from host to host is not supported asynchronously."
        )
    if wire.NOWHERE in (to, start):
        link.call(Op.SYNC_STREAM, ONE.pack(queue.number))
        _copy_now(queue.context, target, source, size)
        return
    way = Way.H2D if from_host else Way.D2H if to_host else Way.LOCAL
    link.post(wire.COPY.pack(Op.COPY, 0, 0, queue.number, to, start, size, way))


def fill(target: int, room: int, value: int, size: int) -> None:
    """Set `size` bytes to `value` and wait for it.

    Raises:
        Failure: 107002, 100000 (null), 107000 (more bytes than room).
    """
    context = process.current()
    if size:
        _check_fill(target, room, size)
        _check_alive(context)
        libc.fill_keeping_gil(target, value & 0xFF, size)


def fill_async(target: int, room: int, value: int, size: int, stream: int) -> None:
    """Queue setting `size` bytes to `value`.

    Raises:
        Failure: as `fill`; 107003 (stream of another context).
    """
    queue = stream_of(stream)
    if size:
        _check_fill(target, room, size)
        link = queue.context.device.link
        message = wire.FILL.pack(
            Op.FILL, 0, 0, queue.number, link.address_on_wire(target), value & 0xFF, size
        )
        link.post(message)


def memory_info(kind: int) -> tuple[int, int]:
    """(free, total) bytes of one kind of memory of the current device; (0, 0) of a kind the SoC has not.

    Raises:
        Failure: 107002, 107000 (no such kind), 207000 (1 GiB pages).
    """
    context = process.current()
    if kind not in _KINDS_OF_MEMORY:
        raise Failure(RT_PARAM_INVALID, f"EE1003: memory kind {kind} is invalid, the valid range is [0, 17].")
    if kind in _HUGE_1G_KINDS:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: pages of 1 GiB are not supported.")
    has_hbm = process.settings().soc.arch in _HBM_ARCHS
    if kind not in _ANY_KINDS and (kind in _DDR_KINDS) == has_hbm:
        return 0, 0
    answer = context.device.link.call(Op.MEMORY_INFO, b"")
    return answer.first, answer.second


def _check_copy(target: int, room: int, source: int, size: int, kind: int) -> None:
    if not target or not source:
        raise Failure(INVALID_PARAM, "EH0002: source and destination of a copy must not be null.")
    if kind not in _KINDS:
        raise Failure(INVALID_PARAM, f"EH0001: copy kind {kind} is invalid, the valid range is [0, 5].")
    if size > room:
        raise Failure(RT_PARAM_INVALID, f"EE1001: {size} bytes do not fit into the destination's {room}.")


def _check_fill(target: int, room: int, size: int) -> None:
    if not target:
        raise Failure(INVALID_PARAM, "EH0002: the address to set is null.")
    if size > room:
        raise Failure(RT_PARAM_INVALID, f"EE1001: {size} bytes do not fit into the destination's {room}.")


def _check_alive(context: Context) -> None:
    link = context.device.link
    if not link.alive():
        raise link.lose()


def _copy_now(context: Context, target: int, source: int, size: int) -> None:
    began_ns = time.monotonic_ns()
    link = context.device.link
    libc.move_keeping_gil(target, source, size)
    if link.copy_times:
        to_card, from_card = link.memory.covers(target), link.memory.covers(source)
        way = Way.LOCAL if to_card and from_card else Way.H2D if to_card else Way.D2H
        if to_card or from_card:
            libc.sleep_keeping_gil(began_ns + link.copy_times[way].duration_ns(size))

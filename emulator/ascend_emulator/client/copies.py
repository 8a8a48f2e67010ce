"""Copies and fills, between device memory, pinned and ordinary host memory (facts/pyacl.md §8.4 to §8.6)."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

from ascend_emulator import libc, wire
from ascend_emulator.client import addresses, process
from ascend_emulator.client.process import Context, Stream
from ascend_emulator.client.streams import stream_of
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_DRIVER,
    RT_FEATURE_NOT_SUPPORTED,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import HEADER, ONE, Op, Way, moment_now

H2H, H2D, D2H, D2D, DEFAULT, H2BUF2D = range(6)

_COPY = int(Op.COPY)
_PINNED = wire.PINNED
_KINDS = range(6)
_KINDS_2D = (H2D, D2H, D2D, DEFAULT)
_MOST_ROWS = 5 << 20
_MOST_COLUMNS = 5_000_000


class _Place(IntEnum):
    """Where an address lies, as the runtime tells apart."""

    DEVICE = 0
    PINNED = 1
    PAGEABLE = 2


_KIND_BETWEEN = {
    (_Place.PINNED, _Place.DEVICE): H2D,
    (_Place.DEVICE, _Place.PINNED): D2H,
    (_Place.PINNED, _Place.PINNED): H2H,
    (_Place.DEVICE, _Place.DEVICE): D2D,
}
"""Kind of a copy (source, destination) whatever the program says."""

_KINDS_WITH_PAGEABLE = {
    (_Place.PAGEABLE, _Place.DEVICE): (H2D, D2D),
    (_Place.DEVICE, _Place.PAGEABLE): (D2H, D2D),
    (_Place.PINNED, _Place.PAGEABLE): (H2H, H2D),
    (_Place.PAGEABLE, _Place.PINNED): (H2H, D2H),
    (_Place.PAGEABLE, _Place.PAGEABLE): (H2H, H2D, D2H, D2D),
}
"""Kinds that a program may say of a copy (source, destination); the first is what `DEFAULT` means."""


def copy(target: int, room: int, source: int, size: int, kind: int) -> None:
    """Copy and wait for the copy, not for any stream.

    Raises:
        Failure: 100000 (null, bad kind), 107000 (more bytes than room), 107002, 507899 (memory that is not there).
    """
    if size:
        _check_copy(target, room, source, size, kind)
        if target == source:
            return
        context = process.current()
        _check_alive(context)
        _copy_now(context, target, source, size)


def copy_async(target: int, room: int, source: int, size: int, kind: int, stream: int) -> None:
    """Queue a copy between device and pinned memory; with pageable memory, drain the stream and copy now.

    Raises:
        Failure: as `copy`; 107000 (a kind that pageable memory does not go with), 107003 (stream of another
            context), 207000 (host to host).
    """
    if not size:
        return
    _check_copy(target, room, source, size, kind)
    queue = stream_of(stream)
    link = queue.context.device.link
    to, start = link.address_on_wire(target), link.address_on_wire(source)
    if to == wire.NOWHERE or start == wire.NOWHERE or kind == H2BUF2D:
        if _must_wait(target, source, kind):
            if target != source:
                _drain(queue)
                _copy_now(queue.context, target, source, size)
            return
        way = Way.LOCAL
    else:
        to_host, from_host = to >= _PINNED, start >= _PINNED
        if to_host and from_host:
            raise _host_to_host()
        way = Way.H2D if from_host else Way.D2H if to_host else Way.LOCAL
    if target != source:
        link.post(wire.COPY.pack(_COPY, 0, moment_now(), queue.number, to, start, size, way))


def copy_2d(
    target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int, kind: int
) -> None:
    """Copy the left part of rows, between host and device, and wait for it.

    Args:
        target: where the first row goes.
        target_pitch: bytes from one row to the next there.
        source: the first row.
        source_pitch: bytes from one row to the next there.
        width: bytes of each row.
        height: rows.
        kind: `aclrtMemcpyKind`.

    Raises:
        Failure: 100000 (null, wider than a pitch, a kind other than 1 to 4), 107000 (too large, or not between host
            and device), 107002, 207000 (on the device), 507899 (memory that is not there).
    """
    if not width or not height:
        return
    _check_2d(target, target_pitch, source, source_pitch, width, height, kind)
    if kind == D2D:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1006: memcpy2d does not copy on the device; use memcpy2d_async."
        )
    context = process.current()
    if _kind_of(target, source, kind) not in (H2D, D2H):
        raise Failure(RT_PARAM_INVALID, "EE1017: memcpy2d copies between host and device only.")
    _check_alive(context)
    _copy_rows_now(context, target, target_pitch, source, source_pitch, width, height)


def copy_2d_async(
    target: int,
    target_pitch: int,
    source: int,
    source_pitch: int,
    width: int,
    height: int,
    kind: int,
    stream: int,
) -> None:
    """Queue a copy of rows; with pageable memory, drain the stream and copy now.

    Raises:
        Failure: as `copy_2d`, but copies on the device are fine; 107003, a stream of another context.
    """
    if not width or not height:
        return
    _check_2d(target, target_pitch, source, source_pitch, width, height, kind)
    queue = stream_of(stream)
    real_kind = _kind_of(target, source, kind)
    if real_kind == H2H:
        raise Failure(RT_PARAM_INVALID, "EE1017: memcpy2d_async does not copy from host to host.")
    link = queue.context.device.link
    to, start = link.address_on_wire(target), link.address_on_wire(source)
    if wire.NOWHERE in (to, start) and (real_kind != D2D or _place(target) == _place(source)):
        _drain(queue)
        _copy_rows_now(queue.context, target, target_pitch, source, source_pitch, width, height)
        return
    way = {H2D: Way.H2D, D2H: Way.D2H, D2D: Way.LOCAL}[real_kind]
    fields = (queue.number, to, target_pitch, start, source_pitch, width, height, way)
    link.post(HEADER.pack(Op.COPY_2D, 0, moment_now()) + wire.COPY_2D.pack(*fields))


def fill(target: int, room: int, value: int, size: int) -> None:
    """Set `size` bytes to `value` and wait for it.

    Raises:
        Failure: 100000 (null), 107000 (more bytes than room), 107002, 507899 (memory that is not there).
    """
    if size:
        if not target:
            raise _null_target()
        context = process.current()
        _check_room(room, size)
        _check_alive(context)
        addresses.fill(target, value & 0xFF, size, code=RT_DRIVER)


def fill_async(target: int, room: int, value: int, size: int, stream: int) -> None:
    """Queue setting `size` bytes to `value`.

    Raises:
        Failure: as `fill`; 107003 (stream of another context).
    """
    if size:
        if not target:
            raise _null_target()
        _check_room(room, size)
        queue = stream_of(stream)
        link = queue.context.device.link
        message = wire.FILL.pack(
            Op.FILL, 0, moment_now(), queue.number, link.address_on_wire(target), value & 0xFF, size
        )
        link.post(message)


def _must_wait(target: int, source: int, kind: int) -> bool:
    """Whether an asynchronous copy is made at once: pageable memory is copied while the program waits.

    A copy that says it goes from device to device is believed, and its engine then meets host addresses.
    """
    if process.settings().run_mode == 0:
        return True
    if kind == H2BUF2D:
        if _place(source) == _Place.DEVICE or _place(target) != _Place.DEVICE:
            raise Failure(RT_PARAM_INVALID, "EE1011: kind 5 copies from host to device only.")
        return True
    real_kind = _kind_of(target, source, kind)
    if real_kind == H2H:
        raise _host_to_host()
    return real_kind != D2D or _place(target) == _place(source) == _Place.DEVICE


def _kind_of(target: int, source: int, kind: int) -> int:
    places = (_place(source), _place(target))
    known = _KIND_BETWEEN.get(places)
    if known is not None:
        return known
    allowed = _KINDS_WITH_PAGEABLE[places]
    if kind == DEFAULT:
        return allowed[0]
    if kind not in allowed:
        raise Failure(
            RT_PARAM_INVALID,
            f"EE1011: copy kind {kind} is invalid between these addresses, it must be one of {allowed}.",
        )
    return kind


def _place(address: int) -> _Place:
    if addresses.is_device_memory(address):
        return _Place.DEVICE
    return _Place.PINNED if addresses.is_pinned_memory(address) else _Place.PAGEABLE


def _drain(queue: Stream) -> None:
    queue.context.device.link.call(Op.SYNC_STREAM, ONE.pack(queue.number))


def _copy_now(context: Context, target: int, source: int, size: int) -> None:
    _in_modelled_time(
        context, target, source, size, lambda: addresses.move(target, source, size, code=RT_DRIVER)
    )


def _copy_rows_now(
    context: Context, target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int
) -> None:
    def rows() -> None:
        for row in range(height):
            addresses.move(target + row * target_pitch, source + row * source_pitch, width, code=RT_DRIVER)

    _in_modelled_time(context, target, source, width * height, rows)


def _in_modelled_time(
    context: Context, target: int, source: int, size: int, work: Callable[[], None]
) -> None:
    began_ns = time.monotonic_ns()
    work()
    link = context.device.link
    if link.copy_times:
        to_card, from_card = addresses.is_device_memory(target), addresses.is_device_memory(source)
        way = Way.LOCAL if to_card and from_card else Way.H2D if to_card else Way.D2H
        if to_card or from_card:
            libc.sleep_keeping_gil(began_ns + link.copy_times[way].duration_ns(size))


def _check_copy(target: int, room: int, source: int, size: int, kind: int) -> None:
    if not target or not source:
        raise Failure(INVALID_PARAM, "EH0002: source and destination of a copy must not be null.")
    if kind not in _KINDS:
        raise Failure(INVALID_PARAM, f"EH0001: copy kind {kind} is invalid, the valid range is [0, 5].")
    if size > room:
        raise _no_room(room, size)


def _check_2d(
    target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int, kind: int
) -> None:
    if not target or not source:
        raise Failure(INVALID_PARAM, "EH0002: source and destination of a copy must not be null.")
    if width > target_pitch or width > source_pitch:
        raise Failure(
            INVALID_PARAM,
            f"EH0003: a width of {width} does not fit into pitches of {source_pitch} and {target_pitch}.",
        )
    if kind not in _KINDS_2D:
        raise Failure(INVALID_PARAM, f"EH0001: copy kind {kind} is invalid, the valid range is [1, 4].")
    if height > _MOST_ROWS or width > _MOST_COLUMNS:
        raise Failure(
            RT_PARAM_INVALID,
            f"EE1003: {height} rows of {width} bytes are too many: {_MOST_ROWS} of {_MOST_COLUMNS} are the most.",
        )


def _check_room(room: int, size: int) -> None:
    if size > room:
        raise _no_room(room, size)


def _no_room(room: int, size: int) -> Failure:
    return Failure(RT_PARAM_INVALID, f"EE1001: {size} bytes do not fit into the destination's {room}.")


def _check_alive(context: Context) -> None:
    link = context.device.link
    if not link.alive():
        raise link.lose()


def _null_target() -> Failure:
    return Failure(INVALID_PARAM, "EH0002: the address to set is null.")


def _host_to_host() -> Failure:
    return Failure(
        RT_FEATURE_NOT_SUPPORTED, "EE1006: copying from host to host is not supported asynchronously."
    )

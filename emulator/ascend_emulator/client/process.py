"""What one process has open: initialisation, devices, contexts, and which context each thread is bound to.

A process is connected to a card exactly while it has a context there: the primary one (`set_device`) or
explicit ones (`create_context`). The last to go closes the connection, and the card frees what is left.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from ascend_emulator.allocator import Allocator
from ascend_emulator.arena import Arena
from ascend_emulator.client import exceptions, handles
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_CONTEXT_NULL,
    RT_CONTEXT_RELEASE,
    RT_DEVICE_SETUP,
    RT_INVALID_DEVICE,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.settings import Settings, read_settings, visible_devices
from ascend_emulator.wire import HEADER, ONE, TWO, Op

if TYPE_CHECKING:
    from ascend_emulator.client.link import Link

_LAG_MS, _LAG_SHARE = 20.0, 0.02
"""What a process is told of: first executions are slow, and a moment's delay is nothing to speak of."""

_stream_numbers = count(1)
_context_numbers = count(1)


class Stream:
    """A stream of this process.

    Attributes:
        context: the context it was made in.
        number: the card's name for it; also what `stream_get_id` says.
        priority: 0 to 7, which makes no difference here.
        attributes: what `set_stream_attribute` made of those that make no difference here, by their number.
    """

    def __init__(self, context: Context, priority: int = 0) -> None:
        self.context = context
        self.number = next(_stream_numbers)
        self.priority = priority
        self.attributes: dict[int, int] = {}
        context.device.link.call(Op.CREATE_STREAM, TWO.pack(self.number, context.number))
        context.streams.add(self.number)


class Context:
    """A context: one default stream on one device.

    Attributes:
        device: the device.
        primary: whether `set_device` made it.
        alive: whether it still exists; threads may be bound to one that does not.
        stops_on_failure: whether one of its streams was told to, which cannot be undone.
        failure: what stopped it, as far as this process has learned; None while it goes on.
        number: the card's name for it.
        handle: what the program calls it.
        streams: the card's numbers of its streams.
        default_stream: what stream 0 means in it.
        default_handle: what the program calls its default stream.
    """

    def __init__(self, device: Device, *, primary: bool) -> None:
        self.device = device
        self.primary = primary
        self.alive = True
        self.stops_on_failure = False
        self.failure: Failure | None = None
        self.number = next(_context_numbers)
        self.streams: set[int] = set()
        self.default_stream = Stream(self)
        self.handle = handles.add(self)
        self.default_handle = handles.add(self.default_stream)


class Device:
    """One device this process has open.

    Attributes:
        ordinal: the process's number for it.
        link: the connection to its card.
        users: how many `set_device` calls are not reset yet.
        primary: the context that `set_device` made, or None.
        contexts: every live context, the primary one included.
    """

    def __init__(self, ordinal: int, link: Link) -> None:
        self.ordinal = ordinal
        self.link = link
        self.users = 0
        self.primary: Context | None = None
        self.contexts: set[Context] = set()


class _Thread(threading.local):
    context: Context | None = None


class _Pinned:
    """This process's pinned host memory: made with the first connection, kept as long as the process."""

    def __init__(self) -> None:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.arena = Arena(size)
        self._blocks = Allocator(size)
        self._lock = threading.RLock()  # a __del__ that frees may run inside an allocation of its own thread

    def allocate(self, size: int) -> int | None:
        """Address of a new block, or None when none fits."""
        with self._lock:
            offset = self._blocks.allocate(size)
        if offset is None:
            return None
        self.arena.soil(offset, size)
        return self.arena.base + offset

    def free(self, address: int) -> None:
        """Give a block back; KeyError when none starts there."""
        offset = address - self.arena.base
        with self._lock:
            size = self._blocks.size_of(offset)
            self.arena.give_back(self._blocks.free(offset), offset, size)


_thread = _Thread()
_lock = threading.RLock()
_devices: dict[int, Device] = {}
_pinned: _Pinned | None = None
_visible: tuple[int, ...] | None = None
_forked = False


def settings() -> Settings:
    """This process's settings, as the environment has them now."""
    return read_settings()


def ordinals() -> tuple[int, ...]:
    """Physical numbers of the devices this process sees; fixed once it has opened one.

    Raises:
        Failure: 207004, none is visible.
    """
    return _visible if _visible is not None else visible_devices(settings().devices)


def check_ordinal(ordinal: int) -> int:
    """The physical number of a device.

    Raises:
        Failure: 107001, the ordinal is outside what this process sees.
    """
    seen = ordinals()
    if not 0 <= ordinal < len(seen):
        text = f"EE1003: device id {ordinal} is invalid, the valid range is [0, {len(seen)})."
        raise Failure(RT_INVALID_DEVICE, text)
    return seen[ordinal]


def pinned() -> _Pinned:
    """This process's pinned host memory."""
    global _pinned
    with _lock:
        if _pinned is None:
            _pinned = _Pinned()
        return _pinned


def current() -> Context:
    """The context of the calling thread.

    Raises:
        Failure: 107002, it has none, or the one it had was destroyed.
    """
    context = _thread.context
    if context is None or not context.alive:
        raise Failure(
            RT_CONTEXT_NULL,
            "EE1002: the calling thread has no context: call set_device or set_context in it.",
        )
    return context


def set_device(ordinal: int) -> None:
    """Bind the thread to a device's primary context and count one more user of it."""
    physical = check_ordinal(ordinal)
    with _lock:
        device = _devices.get(ordinal)
        if device is None or device.primary is None:
            context = _new_context(ordinal, physical, primary=True)
            device = context.device
            device.primary = context
        device.users += 1
        _thread.context = device.primary


def reset_device(ordinal: int, *, force: bool = False) -> None:
    """Count one user less; the last one (or force) ends the primary context.

    Raises:
        Failure: 107001, no such device; 507007, nobody has set it.
    """
    check_ordinal(ordinal)
    with _lock:
        device = _devices.get(ordinal)
        if device is None or device.primary is None:
            raise Failure(
                RT_CONTEXT_RELEASE, f"EE9999: device {ordinal} is reset more often than it was set."
            )
        device.users = 0 if force else device.users - 1
        if not device.users:
            primary, device.primary = device.primary, None
            with suppress(Failure):  # failures of the work, or of the card itself, do not keep a device open
                device.link.call(Op.SYNC_CARD, ONE.pack(1))
            _end_context(primary)


def create_context(ordinal: int) -> Context:
    """A new explicit context, to which the thread is bound from now on."""
    physical = check_ordinal(ordinal)
    with _lock:
        context = _new_context(ordinal, physical, primary=False)
        _thread.context = context
        return context


def set_context(handle: int) -> None:
    """Bind the thread to a context.

    Raises:
        Failure: 100000, handle 0; 107000, no live context.
    """
    if not handle:
        raise Failure(INVALID_PARAM, "EH0002: the context is null.")
    context = handles.find(handle)
    if not isinstance(context, Context):
        raise Failure(RT_PARAM_INVALID, f"EE1001: {handle:#x} is no live context.")
    _thread.context = context


def destroy_context(handle: int) -> None:
    """End an explicit context.

    Raises:
        Failure: 100000, no context handle; 107002, it is a primary context.
    """
    context = handles.get(handle, Context)
    with _lock:
        if context.primary:
            raise Failure(
                RT_CONTEXT_NULL,
                "EE1002: the default context ends with reset_device, not with destroy_context.",
            )
        _end_context(context)


def is_abnormal(ordinal: int) -> bool:
    """Whether a device is lost, be it open in this process or not.

    Raises:
        Failure: 107001, no such device.
    """
    physical = check_ordinal(ordinal)
    device = _devices.get(ordinal)
    if device is not None:
        return not device.link.alive()
    from ascend_emulator.client.start import is_lost

    return is_lost(settings(), physical)


def open_device(ordinal: int) -> Device | None:
    """The device if this process has it open."""
    return _devices.get(ordinal)


def _open(ordinal: int, physical: int) -> Device:
    global _visible
    if _forked:
        text = "ascend-emulator: this process was forked after acl had opened a device; start it with spawn instead."
        raise Failure(RT_DEVICE_SETUP, text)
    device = _devices.get(ordinal)
    if device is None:
        # Imported late: every process of Ray imports acl to count devices, few open one.
        from ascend_emulator.client.link import Link
        from ascend_emulator.client.start import join_card

        chosen = settings()
        _visible = ordinals()
        arena = pinned().arena
        try:
            try:
                link = Link(join_card(chosen, physical), chosen, arena)
            except ConnectionError:  # it was about to die; the next try finds it dead and starts another
                link = Link(join_card(chosen, physical), chosen, arena)
        except OSError as error:
            text = f"ascend-emulator: card {physical} cannot be opened: {error}"
            raise Failure(RT_DEVICE_SETUP, text) from error
        device = _devices[ordinal] = Device(ordinal, link)
        link.on_task_failure = partial(_task_failed, device)
    return device


def _task_failed(device: Device, failure: Failure) -> None:
    context = next((one for one in tuple(device.contexts) if failure.stream in one.streams), None)
    if context is not None and context.stops_on_failure:
        if context.failure is not None:
            return  # told already
        context.failure = Failure(failure.code, failure.text)
    exceptions.tell(failure, device.ordinal)


def _new_context(ordinal: int, physical: int, *, primary: bool) -> Context:
    device = _open(ordinal, physical)
    try:
        context = Context(device, primary=primary)
    except Failure:
        _close_if_unused(device)
        raise
    device.contexts.add(context)
    return context


def _end_context(context: Context) -> None:
    context.alive = False
    device = context.device
    device.contexts.discard(context)
    handles.remove(context.handle, Context)
    handles.remove(context.default_handle, Stream)
    _close_if_unused(device)
    if not device.link.closed:
        with suppress(Failure):  # a card that has gone has no streams either
            for number in context.streams:
                device.link.post(HEADER.pack(Op.DESTROY_STREAM, 0, 0) + TWO.pack(number, 0))


def _close_if_unused(device: Device) -> None:
    if not device.contexts:
        del _devices[device.ordinal]
        _tell_lag(device)
        device.link.close()
        if device.link.lost:
            from ascend_emulator.client.start import clear_away

            with suppress(Failure):  # whoever starts the next card clears away too
                clear_away(settings(), ordinals()[device.ordinal])


def _tell_lag(device: Device) -> None:
    """Say so where modelled times were not kept: a program's figures would be wrong without a word."""
    link = device.link
    if not link.copy_times:
        return
    with suppress(Failure):
        answer = link.call(Op.COUNT_LAG, b"")
        behind_ms, modelled_ms = answer.first / 1e6, answer.second / 1e6
        if behind_ms > _LAG_MS and behind_ms > _LAG_SHARE * modelled_ms:
            text = (
                f"ascend-emulator: device {device.ordinal} was {behind_ms:.0f} ms behind {modelled_ms:.0f} ms of "
                "modelled work: computing took longer than the model says, so times seen are too long. "
                "ASCEND_EMULATOR_VALUES=cheap computes less."
            )
            print(text, file=sys.stderr)


def _after_fork() -> None:
    # The connection is the parent's: two writers would mix their messages, and a copy would hide the parent's death.
    global _forked, _lock, _pinned
    _lock = threading.RLock()
    # Shared memory is shared with the parent too: what this process pins must not be the parent's as well.
    _pinned = None
    if _devices:
        _forked = True
        for device in _devices.values():
            device.link.abandon()
            for context in device.contexts:
                context.alive = False
        _devices.clear()


os.register_at_fork(after_in_child=_after_fork)

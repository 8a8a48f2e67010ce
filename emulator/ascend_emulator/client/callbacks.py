"""Callbacks in stream order, run by a thread of the program that asks for them (facts/pyacl.md §7)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ascend_emulator.client import handles, process, subscriptions
from ascend_emulator.client.process import Stream
from ascend_emulator.client.streams import FOREVER, stream_of
from ascend_emulator.codes import INVALID_PARAM, RT_REPORT_TIMEOUT, RT_THREAD_SUBSCRIBE, Failure
from ascend_emulator.wire import HEADER, ONE, THREE, TWO, Op

if TYPE_CHECKING:
    from ascend_emulator.client.link import Link

_BLOCK_TYPES = (0, 1)


def subscribe(thread: int, handle: int) -> None:
    """Let a thread run the callbacks of a stream, of any context.

    Args:
        thread: what `threading.get_ident()` says in it.
        handle: the stream; 0 for the default stream of the current context.

    Raises:
        Failure: 107002 (stream 0 only), 100000, no stream; else as `subscriptions.add`.
    """
    stream = _stream(handle)
    subscriptions.add(thread, stream)
    stream.context.device.link.post(HEADER.pack(Op.SUBSCRIBE, 0, 0) + TWO.pack(stream.number, thread))


def unsubscribe(thread: int, handle: int) -> None:
    """Undo `subscribe`; callbacks that were not run yet never are, and hold their stream no longer.

    Raises:
        Failure: 107002 (stream 0 only), 100000, no stream; else as `subscriptions.remove`.
    """
    stream = _stream(handle)
    subscriptions.remove(thread, stream)
    stream.context.device.link.post(HEADER.pack(Op.UNSUBSCRIBE, 0, 0) + ONE.pack(stream.number))


def launch(function: Callable[[object], object], argument: object, block_type: int, handle: int) -> None:
    """Queue a call of `function(argument)` by the stream's thread.

    Args:
        function: what to call.
        argument: its one argument.
        block_type: 1: what is queued behind it waits until the function has returned; 0: it does not.
        handle: the stream.

    Raises:
        Failure: 100000, another block type; as `stream_of`; 107015, no thread runs the stream's callbacks.
    """
    if block_type not in _BLOCK_TYPES:
        raise Failure(INVALID_PARAM, f"EH0001: block type {block_type} is invalid: 0 or 1.")
    stream = stream_of(handle)
    number = subscriptions.hand_in(stream, function, argument)
    message = HEADER.pack(Op.CALL_BACK, 0, 0) + THREE.pack(stream.number, number, block_type)
    stream.context.device.link.post(message)


def process_report(timeout_ms: int) -> None:
    """Wait, without the GIL, until functions are due to the calling thread, and call those that are.

    Args:
        timeout_ms: how long to wait for the first; -1 for ever.

    Raises:
        Failure: 100000, a time of 0 or below -1; 107012, the thread runs no stream's callbacks; 507012, none was due
            in time.
        SystemError: a function raised; the others were called all the same.
    """
    if timeout_ms == 0 or timeout_ms < FOREVER:
        raise Failure(INVALID_PARAM, f"EH0001: a time-out of {timeout_ms} ms is invalid: -1 or more than 0.")
    thread = threading.get_ident()
    device = subscriptions.device_of(thread)
    if device is None:
        raise Failure(RT_THREAD_SUBSCRIBE, f"EE9999: thread {thread} serves no stream's callbacks.")
    link = device.link
    callback, due = _next(link, thread, timeout_ms)
    raised: BaseException | None = None
    while True:
        raised = _call(callback) or raised
        due -= 1
        if not due or link.closed:
            break
        answer = link.call(Op.NEXT_REPORT, THREE.pack(thread, callback, 0))
        callback = answer.first
        if not callback:
            break
    if not link.closed and callback:
        link.post(HEADER.pack(Op.REPORT_DONE, 0, 0) + ONE.pack(callback))
    if raised is not None:
        text = "<built-in function process_report> returned a result with an exception set"
        raise SystemError(text) from raised


def _next(link: Link, thread: int, timeout_ms: int) -> tuple[int, int]:
    """The function that is due first, and how many are."""
    body = THREE.pack(thread, 0, 1)
    if timeout_ms == FOREVER:
        answer = link.call(Op.NEXT_REPORT, body, keep_gil=False)
        return answer.first, answer.second
    found = link.call_within(Op.NEXT_REPORT, body, timeout_ms, keep_gil=False)
    if found is None:
        raise Failure(RT_REPORT_TIMEOUT, f"EE9999: no callback was due within {timeout_ms} ms.")
    return found.first, found.second


def _call(number: int) -> BaseException | None:
    found = subscriptions.hand_out(number)
    if found is None:
        return None
    function, argument = found
    try:
        function(argument)
    except BaseException as error:  # noqa: BLE001 - the binding goes on with the exception set
        return error
    return None


def _stream(handle: int) -> Stream:
    return handles.get(handle, Stream) if handle else process.current().default_stream

"""Streams, which run their work in order and beside each other, and the events that chain them.

Everything here but the two `synchronize` only queues and returns at once; the two wait without the GIL
(facts: pyACL §6, §17).
"""

from __future__ import annotations

from ascend_serve.runtime import _acl
from ascend_serve.runtime.handle import Handle
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer


class Event(Handle):
    """A point in a stream that other streams and the host can wait for, and that knows its time.

    Made by `acl.rt.create_event`, whose events may be recorded again and again without a reset; those of
    `create_event_with_flag` may not (QUIRKS.md, Q7).
    """

    kind = "event"
    door = "Device.event()"

    def synchronize(self) -> None:
        """Wait until the last record is reached; an event never recorded is reached already.

        Raises:
            AclDeviceFault: the context has stopped at a failed task.
        """
        _acl.synchronize_event(self.address)

    def ms_since(self, start: Event) -> float:
        """Milliseconds from `start` to this event, both reached and recorded on the same stream."""
        return _acl.event_elapsed_ms(start.address, self.address)

    def _release(self, address: int) -> None:
        _acl.destroy_event(address)


class Stream(Handle):
    """An in-order queue of the device."""

    kind = "stream"
    door = "Device.stream()"

    def copy_in(self, target: DeviceBuffer, source: HostBuffer, count: int) -> None:
        """Queue a copy of the first `count` bytes to the device."""
        _acl.memcpy_async(
            target.address, target.size, source.address, count, _acl.HOST_TO_DEVICE, self.address
        )

    def copy_out(self, target: HostBuffer, source: DeviceBuffer, count: int) -> None:
        """Queue a copy of the first `count` bytes to the host."""
        _acl.memcpy_async(
            target.address, target.size, source.address, count, _acl.DEVICE_TO_HOST, self.address
        )

    def record(self, event: Event) -> None:
        """Let the event stand for all that is queued here so far."""
        _acl.record_event(event.address, self.address)

    def wait_for(self, event: Event) -> None:
        """Let what is queued from now on wait for the event's last record."""
        _acl.stream_wait_event(self.address, event.address)

    def synchronize(self) -> None:
        """Wait until all that is queued here so far has ended.

        Raises:
            AclDeviceFault: a task of this stream failed since the last call.
        """
        _acl.synchronize_stream(self.address)

    def stop_on_failure(self) -> bool:
        """Let the whole context stop at its first failed task; whether the runtime can (QUIRKS.md, Q3)."""
        return _acl.stop_on_failure(self.address)

    def _release(self, address: int) -> None:
        _acl.destroy_stream(address)

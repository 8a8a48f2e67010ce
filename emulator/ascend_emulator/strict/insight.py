"""What strict mode asks of the client side of the emulator."""

from __future__ import annotations

from typing import Protocol

Range = tuple[int, int]
"""Address and bytes."""


class Insight(Protocol):
    """Questions about the process and the calling thread; none of them changes anything."""

    def device(self) -> int:
        """Ordinal of the calling thread's device, -1 without a context."""

    def default_stream(self) -> int:
        """Handle of what stream 0 means in the calling thread, 0 without a context."""

    def open_devices(self) -> frozenset[int]:
        """Ordinals of the devices that the process has open."""

    def set_devices(self) -> frozenset[int]:
        """Those of them that `set_device` opened and nobody has reset."""

    def is_board(self) -> bool:
        """Whether host and device memory are one."""

    def is_of_card(self, address: int) -> bool:
        """Whether an address lies where device or pinned memory can lie."""

    def is_alive(self, device: int) -> bool:
        """Whether a device is open and its card still there."""

    def free_bytes(self) -> int:
        """Free memory of the calling thread's device, 0 when it cannot be told."""

    def bytes_at(self, address: int) -> int:
        """Bytes of the emulated block that starts at an address, 0 when none does."""

    def buffers(self, dataset: int) -> list[Range]:
        """The ranges that a dataset's buffers name; empty when the handle is no dataset."""

    def gear_buffer(self, dataset: int, index: int) -> Range | None:
        """The range of the buffer that a gear is written into."""


class ClientInsight:
    """The answers of the emulated client in this process.

    Its modules are imported when they are asked, because a process that only looks at `acl` has no need of them.
    """

    def device(self) -> int:
        """See `Insight`."""
        from ascend_emulator.client import process
        from ascend_emulator.codes import Failure

        try:
            return process.current().device.ordinal
        except Failure:
            return -1

    def default_stream(self) -> int:
        """See `Insight`."""
        from ascend_emulator.client import process
        from ascend_emulator.codes import Failure

        try:
            return process.current().default_handle
        except Failure:
            return 0

    def open_devices(self) -> frozenset[int]:
        """See `Insight`."""
        from ascend_emulator.client import process
        from ascend_emulator.settings import MAX_DEVICES

        return frozenset(ordinal for ordinal in range(MAX_DEVICES) if process.open_device(ordinal))

    def set_devices(self) -> frozenset[int]:
        """See `Insight`."""
        from ascend_emulator.client import process

        devices = {ordinal: process.open_device(ordinal) for ordinal in self.open_devices()}
        return frozenset(ordinal for ordinal, device in devices.items() if device and device.users)

    def is_board(self) -> bool:
        """See `Insight`."""
        from ascend_emulator.client import process

        return process.settings().run_mode == 0

    def is_of_card(self, address: int) -> bool:
        """See `Insight`."""
        from ascend_emulator.client import process
        from ascend_emulator.wire import NOWHERE

        devices = (process.open_device(ordinal) for ordinal in self.open_devices())
        return any(device and device.link.address_on_wire(address) != NOWHERE for device in devices)

    def is_alive(self, device: int) -> bool:
        """See `Insight`."""
        from ascend_emulator.client import process

        found = process.open_device(device)
        return found is not None and found.link.alive()

    def free_bytes(self) -> int:
        """See `Insight`."""
        from ascend_emulator.client import process
        from ascend_emulator.codes import Failure
        from ascend_emulator.wire import Op

        try:
            return process.current().device.link.call(Op.MEMORY_INFO, b"").first
        except Failure:
            return 0

    def bytes_at(self, address: int) -> int:
        """See `Insight`."""
        from ascend_emulator.client import addresses

        found = addresses.live.at(address)
        return found.end - found.start if found is not None else 0

    def buffers(self, dataset: int) -> list[Range]:
        """See `Insight`."""
        from ascend_emulator.client import datasets
        from ascend_emulator.codes import Failure

        try:
            return [(buffer.address, buffer.size) for buffer in datasets.buffers_of(dataset)]
        except Failure:
            return []

    def gear_buffer(self, dataset: int, index: int) -> Range | None:
        """See `Insight`."""
        from ascend_emulator.client import datasets
        from ascend_emulator.codes import Failure

        try:
            buffer = datasets.hidden_buffer(dataset, index)
        except Failure:
            return None
        return buffer.address, buffer.size

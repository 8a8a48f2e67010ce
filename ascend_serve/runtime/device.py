"""The accelerator: one card or board, one context, and everything that is made in it.

A device is opened, used and closed on one thread; `bind` lets a second thread of the same lane use it too. It
hands out all other objects of this room and closes those that are still open when it is closed, newest first.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ascend_serve import env
from ascend_serve.errors import AclDeviceFault, AclResourceError, AclUsageError, ConfigError, DeviceError
from ascend_serve.runtime import _acl, process
from ascend_serve.runtime import model as models
from ascend_serve.runtime.context import Context
from ascend_serve.runtime.handle import Ledger
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer
from ascend_serve.runtime.model import Dataset, OmModel
from ascend_serve.runtime.stream import Event, Stream
from ascend_serve.spec.toolchain import CANN, Toolchain

_thread = threading.local()


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Bytes of device memory."""

    free_bytes: int
    total_bytes: int


class Device:
    """An open device.

    Attributes:
        ordinal: number among the devices this process sees (`ASCEND_RT_VISIBLE_DEVICES`).
        soc_name: full name of its SoC, such as `Ascend310P3`.
        shares_memory: True on a board, where host and device memory are one, False on a card
            (`get_run_mode`).
        toolchain: who provides `acl` here.
    """

    ordinal: int
    soc_name: str
    shares_memory: bool
    toolchain: Toolchain
    _context: Context
    _ledger: Ledger
    _open: bool
    _outer: Device | None

    def __init__(self) -> None:
        raise TypeError("Device is not constructed but opened: call Device.open()")

    @classmethod
    def open(cls, ordinal: int = 0) -> Device:
        """Open a device for the calling thread.

        Initialises ACL if nobody has, takes the device and makes a context (`acl.init`, `acl.rt.set_device`,
        `acl.rt.create_context`).

        Raises:
            AclMissing: no `acl` here.
            AclError: the runtime refused, such as 107001 for an ordinal that is not seen.
            DeviceError: the SoC's name cannot be had, or ACL is of no use any more in this process.
        """
        process.enter()
        try:
            device = cls._take(ordinal)
        except BaseException:
            process.leave()
            raise
        return device

    @classmethod
    def _take(cls, ordinal: int) -> Device:
        soc_name = _acl.soc_name()
        if soc_name is None:
            raise DeviceError("acl.get_soc_name() cannot tell the SoC: check the driver with `npu-smi info`")
        shares_memory = _acl.run_mode() == _acl.RUN_MODE_BOARD
        device = cls.__new__(cls)
        device.ordinal = ordinal
        device.soc_name = soc_name
        device.shares_memory = shares_memory
        device.toolchain = runtime_toolchain()
        device._ledger = Ledger()
        device._open = False
        _acl.set_device(ordinal)
        try:
            device._context = Context._hand_out(
                _acl.create_context(ordinal), ledger=device._ledger, parent=device
            )
        except BaseException:
            _acl.reset_device(ordinal)
            raise
        device._open = True
        device._outer = _current()
        _thread.device = weakref.ref(device)
        return device

    # --- what it hands out -------------------------------------------------------------------------

    def stream(self) -> Stream:
        """A new stream."""
        return Stream._hand_out(_acl.create_stream(), ledger=self._ledger, parent=self)

    def event(self) -> Event:
        """A new event, which orders streams and keeps time."""
        return Event._hand_out(_acl.create_event(), ledger=self._ledger, parent=self)

    def device_buffer(self, size: int) -> DeviceBuffer:
        """Device memory of `size` bytes, with whatever contents.

        Raises:
            AclResourceError: the device's memory ran out (207001).
        """
        buffer = DeviceBuffer._hand_out(_acl.malloc(_at_least_one(size)), ledger=self._ledger, parent=self)
        buffer.size = size
        buffer.visible = self.shares_memory
        return buffer

    def host_buffer(self, size: int) -> HostBuffer:
        """Page-locked host memory of `size` bytes, with whatever contents."""
        buffer = HostBuffer._hand_out(_acl.malloc_host(_at_least_one(size)), ledger=self._ledger, parent=self)
        buffer.size = size
        return buffer

    def load(self, path: Path) -> OmModel:
        """Load an offline model; see `runtime.model.load` for what it raises."""
        return models.load(path, ledger=self._ledger, parent=self)

    def dataset(self, buffers: Iterable[DeviceBuffer]) -> Dataset:
        """A data set over buffers, in the order of a model's inputs or outputs."""
        return models.make_dataset(list(buffers), ledger=self._ledger, parent=self)

    # --- what it knows -----------------------------------------------------------------------------

    @property
    def live(self) -> dict[str, int]:
        """Handles that are open, per kind; empty after `close`."""
        return self._ledger.counts()

    def memory(self) -> MemoryInfo:
        """Free and total device memory.

        The argument of `acl.rt.get_mem_info` is a kind of memory, and a chip answers with an error or zeros
        for the kind it does not have (facts: pyACL §8.6); so both are asked.

        Raises:
            AclError: neither kind can be asked.
        """
        try:
            free, total = _acl.mem_info(_acl.MEMORY_HBM)
        except (AclUsageError, AclResourceError):
            total = 0
        if not total:
            free, total = _acl.mem_info(_acl.MEMORY_DDR)
        return MemoryInfo(free, total)

    def examine(self) -> None:
        """Ask the driver whether the device is in order; costs no work on the device.

        Raises:
            AclDeviceFault: it is not.
            AclError: it cannot be asked.
        """
        status = _acl.device_status(self.ordinal)
        if status != _acl.DEVICE_NORMAL:
            raise AclDeviceFault(
                "acl.rt.query_device_status",
                status,
                "DEVICE_ABNORMAL",
                f"the driver reports device {self.ordinal} ill",
            )

    def bind(self) -> None:
        """Make this device's context current for the calling thread, so that it may use the device too."""
        self._context.bind()

    # --- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what is still open, newest first, then the context, and give the device back.

        To be called on a thread that is bound to this device. A second call does nothing. ACL itself stays
        initialised: see `runtime.process.finalize`.

        Raises:
            AclError: the first thing that could not be given back; the rest was tried all the same.
        """
        if not self._open:
            return
        self._open = False
        try:
            self._ledger.close_all()
        finally:
            try:
                _acl.reset_device(self.ordinal)
            finally:
                process.leave()
        self._give_way()

    def _give_way(self) -> None:
        """Make that device's context current again which the calling thread had before it opened this one."""
        device = _current()
        while device is not None and not device._open:
            device = device._outer
        _thread.device = (lambda: None) if device is None else weakref.ref(device)
        if device is not None:
            # Giving a device back takes away the thread's context, whosesoever it is.
            device._context.bind()

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Calling ACL here could come after its end or from a thread without a context (facts: pyACL §18).
        if getattr(self, "_open", False):
            warnings.warn(f"{self!r} was never closed; it holds {self.live}", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Device {self.ordinal} {self.soc_name}{'' if self._open else ' closed'}>"


def _current() -> Device | None:
    """The device that the calling thread opened last; None when it has none, or has given it back."""
    device: Device | None = getattr(_thread, "device", lambda: None)()
    return device


def runtime_toolchain() -> Toolchain:
    """Who provides `acl` here: an installed distribution, else CANN with its version if it tells."""
    distribution = env.acl_distribution()
    if distribution is None:
        return Toolchain(CANN, _acl.cann_version())
    return Toolchain(*distribution)


def _at_least_one(size: int) -> int:
    if size < 1:
        raise ConfigError(f"a buffer of {size} bytes: memory comes in sizes of at least 1 byte")
    return size

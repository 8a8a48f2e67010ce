"""What all clients of a card share: memory, engines, networks, the time model and the limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ascend_emulator.card.engines import Engine
from ascend_emulator.card.memory import DeviceMemory
from ascend_emulator.card.models import Network, Networks
from ascend_emulator.codes import GE_LOAD_MODEL, Failure
from ascend_emulator.settings import Settings
from ascend_emulator.timing import Link, Work, read_timing
from ascend_emulator.wire import Way

if TYPE_CHECKING:
    from ascend_emulator.card.port import Port
    from ascend_emulator.om import OmFile

_STREAMS_BY_ARCH = {1001: 2048, 2002: 1024, 2201: 1984, 3002: 512}
_STREAMS_ELSEWHERE = 1984
_PAGE = 4096


class Machine:
    """One card's parts.

    Args:
        settings: those of the client that started the card.
        on_leave: called when a client has left and everything it held is free.

    Attributes:
        lock: guards every stream, record, block and table of the card.
        facts: what a client is told when it connects.
        memory: device memory.
        timing: the time model, None in functional timing.
        links: time of copies by way; empty in functional timing.
        copiers: the copy engines by way.
        compute: the compute engine.
        streams: streams in use by all clients.
        max_streams: the SoC's limit of them (facts/pyacl.md §6.1).
    """

    def __init__(self, settings: Settings, on_leave: Callable[[Port], None]) -> None:
        self.lock = threading.RLock()
        self.timing = read_timing(settings)
        self.links: dict[Way, Link] = {}
        if self.timing is not None:
            self.links = {way: self.timing.links[way.name.lower()] for way in Way}
        self.memory = DeviceMemory(settings.soc.memory_bytes // _PAGE * _PAGE)
        self.copiers = {way: Engine(f"copy-{way.name.lower()}", self.lock) for way in Way}
        self.compute = Engine("compute", self.lock)
        self.streams = 0
        self.max_streams = _STREAMS_BY_ARCH.get(settings.soc.arch, _STREAMS_ELSEWHERE)
        self.leave = on_leave
        self.facts: dict[str, Any] = {
            "soc": settings.soc.name,
            "run_mode": settings.run_mode,
            "memory_bytes": self.memory.arena.size,
            "links": {way.name: [link.fixed_ns, link.ns_per_byte] for way, link in self.links.items()},
        }
        self._cheap = settings.values == "cheap"
        self._networks = Networks()

    def prepare(self, om: OmFile) -> tuple[Network | None, Work | None]:
        """Make what an execution of the model needs.

        Returns:
            The network (None when values are cheap) and the model's work (None when nobody asks for it).

        Raises:
            Failure: 545001, the network is broken.
        """
        network = None if self._cheap else self._networks.get(om.network)
        work = None
        if self.timing is not None and not self.timing.has_table(om.name):
            from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no types
            from onnx.shape_inference import InferenceError

            from ascend_emulator.card.work import count_work

            try:
                work = count_work(om)
            except (
                DecodeError,
                InferenceError,
                LookupError,
                TypeError,
                ValueError,
            ) as error:  # a broken graph
                raise Failure(
                    GE_LOAD_MODEL, f"E19999: the work of the network cannot be counted: {error}"
                ) from error
        return network, work

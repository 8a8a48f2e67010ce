"""What all clients of a card share: memory, engines, networks, the time model and the limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ascend_emulator.card.engines import Engine
from ascend_emulator.card.events import EventIds
from ascend_emulator.card.faults import Faults
from ascend_emulator.card.memory import DeviceMemory
from ascend_emulator.card.models import LoadedModel, Networks
from ascend_emulator.clock.links import Link
from ascend_emulator.clock.timing import read_timing
from ascend_emulator.codes import RT_DEVICE_SETUP, RT_LOST_DEVICE, Failure
from ascend_emulator.settings import Settings
from ascend_emulator.wire import Way

if TYPE_CHECKING:
    from ascend_emulator.card.port import Port
    from ascend_emulator.om import OmFile

_STREAMS_BY_ARCH = {1001: 2048, 2002: 1024, 2201: 1984, 3002: 512}
_STREAMS_ELSEWHERE = 1984
_PAGE = 4096

_LEAVING_S = 0.5
"""How long a client with other settings waits for the last one to be gone, which may be on its way."""


class Machine:
    """One card's parts.

    Args:
        number: the card's physical number.
        settings: those of the client that started the card.
        on_leave: called when a connection has gone and everything it held is free.
        on_misfit: called when a client asks for other settings and no other is left; ends the card if it can.

    Attributes:
        lock: guards every stream, record, block and table of the card.
        settings: those of the client that started the card.
        faults: what is wrong with the card.
        clients: the connections of its clients, until what they held is free.
        facts: what a client is told when it connects.
        memory: device memory.
        timing: the time model, None in functional timing.
        links: time of copies by way; empty in functional timing.
        copiers: the copy engines by way.
        compute: the compute engine.
        engines: all of them by name.
        streams: streams in use by all clients.
        max_streams: the SoC's limit of them (facts/pyacl.md §6.1).
        event_ids: the SoC's hardware events.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        on_leave: Callable[[Port], None],
        on_misfit: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self.settings = settings
        self.clients: set[Port] = set()
        self._gone = threading.Condition(self.lock)
        self.timing = read_timing(settings)
        self.links: dict[Way, Link] = {}
        if self.timing is not None:
            self.links = {way: self.timing.link(way.name.lower()) for way in Way}
        self.memory = DeviceMemory(settings.soc.memory_bytes // _PAGE * _PAGE)
        self.copiers = {way: Engine(f"copy-{way.name.lower()}", self.lock) for way in Way}
        self.compute = Engine("compute", self.lock)
        self.engines = {"compute": self.compute, **{way.name.lower(): self.copiers[way] for way in Way}}
        self.streams = 0
        self.max_streams = _STREAMS_BY_ARCH.get(settings.soc.arch, _STREAMS_ELSEWHERE)
        self.event_ids = EventIds(settings.soc.arch)
        self._on_leave = on_leave
        self._on_misfit = on_misfit
        self.facts: dict[str, Any] = {
            "soc": settings.soc.name,
            "run_mode": settings.run_mode,
            "memory_bytes": self.memory.arena.size,
            "links": {way.name: [link.fixed_ns, link.ns_per_byte] for way, link in self.links.items()},
        }
        self._cheap = settings.values == "cheap"
        self._networks = Networks()
        self.faults = Faults(number, self._faults_changed)
        self.faults.add(settings.faults)

    def admit(self, port: Port, asked: dict[str, Any]) -> Failure | None:
        """Take a connection in as a client; what to refuse it with if that cannot be.

        A card whose last client has just gone makes way for one with other settings: then this does not return.

        Args:
            port: the connection.
            asked: what the client's settings say of cards, as `Settings.of_cards`.
        """
        settings = self.settings.of_cards()
        differ = [name for name in settings if asked[name] != settings[name]]
        with self.lock:
            if self.faults.lost:
                text = (
                    "EE9999: the card is lost (an injected fault), until it is restored or its process ends."
                )
                return Failure(RT_LOST_DEVICE, text)
            if not differ:
                self.clients.add(port)
                return None
            alone = self._gone.wait_for(lambda: not self.clients, _LEAVING_S)
        if alone:
            self._on_misfit()
        name = differ[0]
        wanted = f"the card runs with {name} {settings[name]!r}, this process asks for {asked[name]!r}"
        return Failure(RT_DEVICE_SETUP, f"ascend-emulator: {wanted}; use one of them or another node")

    def dismiss(self, port: Port) -> None:
        """Note that a connection has gone and everything it held is free."""
        with self.lock:
            self.clients.discard(port)
            self._gone.notify_all()
        self._on_leave(port)

    def guarded(self, operation: str, work: Callable[[], None]) -> Callable[[], None]:
        """Work of an engine that first meets the card's faults.

        Args:
            operation: `copy` or `execute`.
            work: the work.
        """

        def meet_and_work() -> None:
            self.faults.meet(operation)
            work()

        return meet_and_work

    def _faults_changed(self) -> None:
        for engine in self.engines.values():
            engine.slowdown = self.faults.slowdown
        if self.faults.lost:
            with self.lock:
                for port in self.clients:
                    port.cut()

    def load(self, om: OmFile) -> LoadedModel:
        """Make what an execution of the model needs.

        Raises:
            Failure: 545001, the network is broken, or the file does not describe it.
        """
        return LoadedModel(om, None if self._cheap else self._networks, self.timing)

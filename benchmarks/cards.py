"""What an emulated card says of its own work: the device-busy share and the padding of any server, by one yardstick.

The card counts for each engine the tasks that have ended, the time they took, and how far that was from the model.
Copies to it take `COPY_FIXED_US` and their bytes over `COPY_GB_PER_S`, as the run's file of times says (`node.py`), so
the time of the copy engine tells how many rows were copied, those of padding included, whoever sent them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ascend_emulator import rendezvous, wire
from ascend_emulator.wire import Op

COPY_GB_PER_S = 12.0
COPY_FIXED_US = 10.0
_ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """What one card has done since it started.

    Attributes:
        batches: executions.
        compute_ns: time they took.
        copies: copies to the card.
        copy_ns: modelled time of them.
    """

    batches: int
    compute_ns: int
    copies: int
    copy_ns: int

    def since(self, before: Work) -> Work:
        """What it did after an earlier reading."""
        return Work(
            self.batches - before.batches,
            self.compute_ns - before.compute_ns,
            self.copies - before.copies,
            self.copy_ns - before.copy_ns,
        )

    def busy(self, seconds: float) -> float:
        """Share of some seconds in which it computed."""
        return self.compute_ns / 1e9 / seconds

    def rows(self, row_bytes: int) -> float:
        """Rows copied to it, padding included."""
        return (self.copy_ns / 1e3 - self.copies * COPY_FIXED_US) * 1e3 * COPY_GB_PER_S / row_bytes

    def padding(self, answers: int, row_bytes: int) -> float:
        """Share of the rows that it ran which nobody had sent; 0 when it ran none."""
        rows = self.rows(row_bytes)
        return max(0.0, 1 - answers / rows) if rows else 0.0


def work_of(node: str, client: int) -> Work:
    """What the card has done that a process has open.

    Args:
        node: name of the emulated node.
        client: number of the process.

    Raises:
        LookupError: no card of the node has such a client.
    """
    for state in _states(node):
        if any(each["pid"] == client for each in state["clients"]):
            compute, copy = state["engines"]["compute"], state["engines"]["h2d"]
            # A copy that took the host longer than the model says is no more rows.
            copy_ns = copy["busy_ns"] - copy["slipped_ns"]
            return Work(compute["tasks"], compute["busy_ns"], copy["tasks"], copy_ns)
    raise LookupError(f"no card of node '{node}' is open in process {client}")


def clients_of(node: str) -> list[int]:
    """The processes that have a card of the node open."""
    return [client["pid"] for state in _states(node) for client in state["clients"]]


def _states(node: str) -> list[dict[str, Any]]:
    # `ascend_emulator.control` leaves out the engines' total time, so this asks as it does.
    found = []
    for path in sorted(rendezvous.place_of(node, 0).folder.glob("card*.sock")):
        number = int(path.stem.removeprefix("card"))
        link = rendezvous.meet(rendezvous.place_of(node, number))
        if link is None:
            continue  # it has just ended
        with link:
            link.settimeout(_ANSWER_WITHIN_S)
            link.send(wire.HEADER.pack(Op.CONTROL, 0, 0) + json.dumps({"verb": "state"}).encode())
            found.append(json.loads(link.recv(wire.MAX_MESSAGE)))
    return found

"""Look at the cards of a node while they run, and let things go wrong on them.

    from ascend_emulator.control import Card, cards

    for state in cards():
        print(state.number, state.memory_used, [client.pid for client in state.clients])
    with Card(0) as card:
        card.inject("execute:nth=1,code=507015")  # the next execution fails; fault_rules.py has the whole grammar
        card.lose()                               # 507010 for every client, until ...
        card.restore()

The same from a shell: `python -m ascend_emulator.control 0 inject execute:nth=1,code=507015`. A controller starts no
card and is no client: a card without clients ends, at the latest when the controller lets go of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ascend_emulator import rendezvous, wire
from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings
from ascend_emulator.wire import Op

_USAGE = """usage: python -m ascend_emulator.control [--node NAME] [CARD [VERB]]
VERB is state (when left out), inject RULES, clear, lose, restore, slow FACTOR or kill.
Without a card: the states of all cards that run, one JSON object per line."""
_WITH_VALUE = ("inject", "slow")
_WITHOUT_VALUE = ("state", "clear", "lose", "restore", "kill")
_ANSWER_WITHIN_S = 10.0


class ControlError(Exception):
    """The card is not there, or refuses."""


@dataclass(frozen=True)
class Client:
    """One process that has the card open.

    Attributes:
        pid: the process.
        bytes: device memory it holds, models included.
        models: models it has loaded.
        streams: streams it has, default streams included.
    """

    pid: int
    bytes: int
    models: int
    streams: int


@dataclass(frozen=True)
class EngineState:
    """One engine: `compute`, or a copy engine `h2d`, `d2h` or `local`.

    Attributes:
        busy: share of the last second in which it worked, 0 to 1.
        tasks: tasks it has ended.
        late: how many of them ended later than the time model says; what `Counters` of `clock.schedule` calls late
            or slipped.
        behind_ns: by how much computing took longer than the model says, summed up.
    """

    busy: float
    tasks: int
    late: int
    behind_ns: int


@dataclass(frozen=True)
class CardState:
    """What a card is doing.

    Attributes:
        number: physical number.
        soc: full name of its SoC.
        pid: the card's process.
        memory_used: bytes taken by blocks and models.
        memory_total: bytes it has.
        clients: the processes that have it open.
        engines: name -> its state.
        lost: whether it is lost to its clients.
        ecc: whether its memory has an uncorrectable error.
        slowdown: factor on what its engines do, 1 unless a fault sets it.
        faults: the rules for operations that are armed, as text.
    """

    number: int
    soc: str
    pid: int
    memory_used: int
    memory_total: int
    clients: tuple[Client, ...]
    engines: Mapping[str, EngineState]
    lost: bool
    ecc: bool
    slowdown: float
    faults: tuple[str, ...]

    @property
    def models(self) -> int:
        """Models loaded by all clients."""
        return sum(client.models for client in self.clients)

    @property
    def streams(self) -> int:
        """Streams of all clients."""
        return sum(client.streams for client in self.clients)


class Card:
    """A connection to a card that runs; a context manager that closes it.

    Args:
        number: physical number.
        node: the emulated node; the one that the environment names when None.

    Raises:
        ControlError: no such card runs.
        Failure: 507033, the environment or the runtime folder is wrong.
    """

    def __init__(self, number: int, node: str | None = None) -> None:
        node = read_settings().node if node is None else node
        link = rendezvous.meet(rendezvous.place_of(node, number))
        if link is None:
            raise ControlError(
                f"card {number} of node {node!r} does not run: a card starts when a process sets its device"
            )
        self._name = f"card {number} of node {node!r}"
        self._link = link
        link.settimeout(_ANSWER_WITHIN_S)

    def __enter__(self) -> Card:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the card; may be called twice."""
        self._link.close()

    def state(self) -> CardState:
        """What the card is doing now."""
        return self._ask("state")

    def inject(self, faults: str) -> CardState:
        """Arm rules on top of those that are there; they count from now.

        Args:
            faults: rules as `ASCEND_EMULATOR_FAULTS` takes them.

        Raises:
            ControlError: the text is no list of rules.
        """
        return self._ask("inject", faults=faults)

    def clear(self) -> CardState:
        """Take back every rule and the slow-down; a lost or damaged card stays so until `restore`."""
        return self._ask("clear")

    def lose(self) -> CardState:
        """Lose the card: 507010 for every client, those that come later too, until `restore`."""
        return self.inject("lost")

    def restore(self) -> CardState:
        """Give a lost or damaged card back. Processes that had it open must reset it and set it again."""
        return self._ask("restore")

    def slow(self, factor: float) -> CardState:
        """Let everything on its engines take `factor` times as long; 1 undoes it."""
        return self.inject(f"slow:factor={factor!r}")

    def kill(self) -> None:
        """End the card's process as a power cut would; the next client starts a new one."""
        os.kill(self.state().pid, signal.SIGKILL)
        with suppress(OSError):
            self._link.recv(1)  # until the kernel has closed its end, it could still be met
        self.close()

    def _ask(self, verb: str, **details: str) -> CardState:
        try:
            order = json.dumps({"verb": verb, **details}).encode()
            self._link.send(wire.HEADER.pack(Op.CONTROL, 0, 0) + order)
            answer = self._link.recv(wire.MAX_MESSAGE)
        except OSError as error:
            raise ControlError(f"{self._name} does not answer: {error}") from error
        if not answer:
            raise ControlError(f"{self._name} has gone")
        document = json.loads(answer)
        if "refused" in document:
            raise ControlError(document["refused"])
        return _state(document)


def cards(node: str | None = None) -> list[CardState]:
    """The states of the cards of a node that run, by number.

    Args:
        node: the emulated node; the one that the environment names when None.

    Raises:
        Failure: 507033, the environment or the runtime folder is wrong.
    """
    node = read_settings().node if node is None else node
    found = []
    for path in rendezvous.place_of(node, 0).folder.glob("card*.sock"):
        numbered = re.fullmatch(r"card(\d+)\.sock", path.name)
        if numbered:
            with suppress(ControlError), Card(int(numbered[1]), node) as card:  # it has just ended
                found.append(card.state())
    return sorted(found, key=lambda state: state.number)


def _state(document: dict[str, Any]) -> CardState:
    engines = {
        name: EngineState(told["busy"], told["tasks"], told["late"] + told["slipped"], told["slipped_ns"])
        for name, told in document.pop("engines").items()
    }
    clients = tuple(Client(**told) for told in document.pop("clients"))
    faults = tuple(document.pop("faults"))
    return CardState(**document, clients=clients, engines=engines, faults=faults)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    node = None
    if words[:1] == ["--node"] and len(words) > 1:
        node, words = words[1], words[2:]
    try:
        if not words:
            for state in cards(node):
                print(json.dumps(asdict(state)))
            return 0
        number, verb, *values = words if len(words) > 1 else (*words, "state")
        known = not values if verb in _WITHOUT_VALUE else verb in _WITH_VALUE and len(values) == 1
        if not (known and number.isdecimal()):
            print(_USAGE, file=sys.stderr)
            return 2
        with Card(int(number), node) as card:
            given = [float(values[0])] if verb == "slow" else values
            answer: CardState | None = getattr(card, verb)(*given)
            if answer is not None:
                print(json.dumps(asdict(answer)))
    except (ControlError, Failure, ValueError) as error:
        print(error.text if isinstance(error, Failure) else error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Join a card, starting it when it is not there."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from socket import socket

import ascend_emulator
from ascend_emulator.clock.timing import read_timing
from ascend_emulator.codes import RT_DEVICE_SETUP, Failure
from ascend_emulator.rendezvous import Place, connect, listen, locked, meet, place_of
from ascend_emulator.settings import Settings

_LAST_BREATH_MS = 100
"""How long a killed card may take to go; a living one is kept waiting as long by who took it for dead."""


def join_card(settings: Settings, number: int) -> socket:
    """A connection to card `number` of the settings' node.

    Args:
        settings: this process's; a card that has to be started takes them over.
        number: physical number.

    Raises:
        Failure: 507033, the card cannot be started.
    """
    place = place_of(settings.node, number)
    with locked(place):
        link = connect(place)
        if link is not None:
            return link
        with ExitStack() as undo:
            undo.callback(place.remove)
            read_timing(settings)  # its errors are told here, where somebody reads them
            with listen(place) as listener:
                _start(place, settings, listener)
                link = connect(place)
            if link is None:
                raise Failure(
                    RT_DEVICE_SETUP, f"ascend-emulator: card {number} does not listen at {place.socket}"
                )
            undo.pop_all()
            return link


def is_lost(settings: Settings, number: int) -> bool:
    """Whether card `number` runs and is lost; starts none.

    Raises:
        Failure: 507033, the runtime folder is wrong.
    """
    from ascend_emulator.control import Card, ControlError  # few processes ask

    try:
        with Card(number, settings.node) as card:
            return card.state().lost
    except ControlError:
        return False


def clear_away(settings: Settings, number: int) -> None:
    """Remove what card `number` left if it was killed; the last client to notice does it for the dead.

    Raises:
        Failure: 507033, the runtime folder is wrong.
    """
    place = place_of(settings.node, number)
    link = meet(place)
    while link is not None and _hangs_up(link):
        link = meet(place)


def _hangs_up(link: socket) -> bool:
    """Whether the other end closes a connection that nobody speaks on; closes this one.

    A process that is killed closes its clients' connections before the socket it listens on, and what connects to
    that meanwhile is a card's last breath. A card that lives says nothing.
    """
    with link:
        waiting = select.poll()
        waiting.register(link, select.POLLIN)
        return bool(waiting.poll(_LAST_BREATH_MS))


def _start(place: Place, settings: Settings, listener: socket) -> None:
    described = {
        "folder": str(place.folder),
        "number": place.number,
        "settings": {**asdict(settings), "soc": settings.soc.name},
    }
    # The package is found where this process found it, whatever the card's own sys.path would say.
    home = str(Path(ascend_emulator.__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    with place.log.open("wb") as log:
        starter = subprocess.run(
            [sys.executable, "-m", "ascend_emulator.card", str(listener.fileno()), json.dumps(described)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            cwd=place.folder,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
    if starter.returncode:
        raise Failure(
            RT_DEVICE_SETUP, f"ascend-emulator: card {place.number} did not start:\n{place.log.read_text()}"
        )

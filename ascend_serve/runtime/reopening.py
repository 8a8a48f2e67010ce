"""Opening a device's sessions again, after a failed task has ended the context that they had.

A card that has no room just then is tried a few times: what shares it, or the card itself, may free some meanwhile, and
to give the card up means that a replica ends and another starts in its place. Whatever else fails says of the card that
it is ill, and ends the attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Sized
from typing import Protocol, TypeVar

from ascend_serve.errors import AclResourceError, TooLittleMemory
from ascend_serve.spec.timing import GearTimes

_log = logging.getLogger(__name__)

NO_ROOM_PAUSES_S = (0.1, 0.5, 2.0)
"""Before each further try on a card without room; all of them together are shorter than another replica's start."""


class Reopenable(Protocol):
    """What is needed of a session here."""

    @property
    def slots(self) -> Sized:
        """Its slots, once it is warmed up."""

    def warm_up(self) -> GearTimes:
        """Run every gear."""

    def abandon(self) -> None:
        """Give everything back of a context that is of no use any more."""


S = TypeVar("S", bound=Reopenable)


def abandon(sessions: Sequence[Reopenable], name: str) -> None:
    """Close sessions of a context that is of no use any more, newest first; what that raises is only logged."""
    for session in reversed(sessions):
        try:
            session.abandon()
        except BaseException as error:  # noqa: BLE001 - of a context that is of no use any more
            _log.info("%s: closing after a failed task: %s", name, error)


def opened_again(
    open_sessions: Callable[[], Sequence[S]], slots: Sequence[int], name: str, closes: Callable[[float], bool]
) -> Sequence[S]:
    """Sessions that are open and warm, on the thread that calls.

    Args:
        open_sessions: opens them.
        slots: how many each had, and is to have again: those who launch know of so many.
        name: of the lane, for the log.
        closes: waits for so many seconds; whether the lane closes, and no further try is wanted.

    Raises:
        BaseException: what opening or warming up raised; nothing is left open.
    """
    pauses_s = iter(NO_ROOM_PAUSES_S)
    while True:
        sessions: Sequence[S] = ()
        try:
            sessions = open_sessions()
            for session in sessions:
                session.warm_up()
            if any(len(session.slots) < count for session, count in zip(sessions, slots, strict=True)):
                raise TooLittleMemory(f"there is room for fewer slots than the {slots} there were")
            return sessions
        except (AclResourceError, TooLittleMemory) as error:
            abandon(sessions, name)
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise
            _log.warning("%s: no room to open the device again; next try in %g s: %s", name, pause_s, error)
            if closes(pause_s):
                raise
        except BaseException:
            abandon(sessions, name)
            raise

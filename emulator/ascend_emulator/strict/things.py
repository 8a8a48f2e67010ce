"""The handles and ids that a program got from `acl`, and the ones it ended."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ascend_emulator.strict.stacks import Stack

NUMBERED = frozenset(("model", "bundle", "registered host memory"))
"""Kinds whose numbers are ids or addresses; those of all others are handles, which no two kinds share."""

_MOST_ENDED = 4096


@dataclass(eq=False, slots=True)
class Thing:
    """What a handle or an id stands for.

    Attributes:
        what: its kind, such as `stream` or `model`.
        number: the handle or id.
        stack: where it was made.
        ended: where it was ended.
    """

    what: str
    number: int
    stack: Stack
    ended: Stack | None = None


class Things:
    """The books on handles and ids: the live ones, and the last 4096 that were ended."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, int], Thing] = {}
        self._ended: OrderedDict[tuple[str, int], Thing] = OrderedDict()
        self._kinds: dict[int, str] = {}

    def add(self, what: str, number: int, stack: Stack) -> None:
        """Enter a new one."""
        self._ended.pop((what, number), None)
        self._live[what, number] = Thing(what, number, stack)
        if what not in NUMBERED:
            self._kinds[number] = what

    def end(self, what: str, number: int, stack: Stack) -> None:
        """Note that one was ended."""
        thing = self._live.pop((what, number), None)
        if thing is not None:
            thing.ended = stack
            self._ended[what, number] = thing
            if len(self._ended) > _MOST_ENDED:
                (_, oldest), _ = self._ended.popitem(last=False)
                self._kinds.pop(oldest, None)

    def is_live(self, what: str, number: int) -> bool:
        """Whether one was made and not ended."""
        return (what, number) in self._live

    def ended(self, what: str, number: int) -> Thing | None:
        """One that was ended."""
        return self._ended.get((what, number))

    def ended_handle(self, number: int) -> Thing | None:
        """Whatever a handle stood for, when it was ended."""
        what = self._kinds.get(number)
        return None if what is None else self._ended.get((what, number))

    def live_handle(self, number: int) -> Thing | None:
        """Whatever a handle stands for."""
        what = self._kinds.get(number)
        return None if what is None else self._live.get((what, number))

    def live(self) -> list[Thing]:
        """Those that were not ended."""
        return list(self._live.values())

"""What a call of `acl` means to strict mode: the base of every meaning, and what most of them ask.

`check` judges a call before it is made, `apply` notes what it has done. A call that failed has done nothing, except
a wait, which can end with the failure of the work it waited for.
"""

from __future__ import annotations

from typing import Any

from ascend_emulator.strict.state import Call, State

_FIRST_HANDLE = 0x5500_0000_0000
"""Where the client's handles begin; they are never reused."""


class Meaning:
    """A call that means nothing in particular.

    Attributes:
        releases: whether quarantined memory must be free for real before the call.
    """

    releases = False

    def check(self, state: State, call: Call) -> None:
        """Judge the call before it is made."""
        check_handles(state, call, call.arguments)

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Note what the call has done.

        Args:
            state: the books.
            call: the call.
            result: what it gave.
            code: its `ret`, 0 when it has none.
        """


class Releases(Meaning):
    """A call that sees how much memory is free, or takes memory of its own."""

    releases = True


def check_handles(state: State, call: Call, arguments: tuple[Any, ...]) -> None:
    """Judge that a call is given handles that are not ended; numbers that are none pass."""
    for argument in arguments:
        if type(argument) is int and argument >= _FIRST_HANDLE:
            thing = state.things.ended_handle(argument)
            if thing is not None:
                text = f"{call.path} uses {thing.what} {argument:#x}, which was destroyed"
                origins = (("destroyed", thing.ended), ("made", thing.stack))
                state.find("use-after-free", text, call, origins, argument)


def check_end(state: State, call: Call, what: str, number: int) -> None:
    """Judge that a call ends a handle or an id of one kind."""
    thing = state.things.ended(what, number)
    if thing is not None:
        text = f"{call.path} ends {what} {number:#x} a second time"
        origins = (("ended", thing.ended), ("made", thing.stack))
        state.find("double-free", text, call, origins, number)
    elif not state.things.is_live(what, number):
        other = state.things.live_handle(number) if number >= _FIRST_HANDLE else None
        if other is not None:
            text = f"{call.path} is given {number:#x}, which is a {other.what}, not a {what}"
            state.find("wrong-free", text, call, (("made", other.stack),), number)

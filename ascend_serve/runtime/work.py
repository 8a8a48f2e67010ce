"""Something to be done with a lane's sessions between two of its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Work(Generic[S, T]):
    """One errand on the lane.

    Args:
        what: is called with the lane's sessions, on the launcher; batches wait meanwhile.

    Attributes:
        future: gets what it returns or raises.
    """

    def __init__(self, what: Callable[[Sequence[S]], T]) -> None:
        self._what = what
        self.future: Future[T] = Future()

    def run(self, sessions: Sequence[S]) -> None:
        """Do it, unless nobody wants it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._what(sessions))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asked for it
            self.future.set_exception(error)

    def refuse(self, error: BaseException) -> None:
        """Say that it will not be done: the lane has ended."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

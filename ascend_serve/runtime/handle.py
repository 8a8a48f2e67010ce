"""What every object that a device hands out has in common: one address, one owner, one end.

Objects are handed out by `Device`, not constructed. Each holds its parent, so that a parent is never
collected before its children, and stands in the device's ledger until it is closed, so that a test can ask
what still lives.
"""

from __future__ import annotations

import logging
from collections import Counter
from types import TracebackType
from typing import ClassVar, TypeVar

_log = logging.getLogger(__name__)

H = TypeVar("H", bound="Handle")


class Ledger:
    """The open handles of one device, oldest first."""

    def __init__(self) -> None:
        self._open: dict[int, Handle] = {}

    def add(self, handle: Handle) -> None:
        """Enter a handle that was just made."""
        self._open[id(handle)] = handle

    def remove(self, handle: Handle) -> None:
        """Strike out a handle that is being closed."""
        del self._open[id(handle)]

    def counts(self) -> dict[str, int]:
        """Open handles per kind; kinds without any are absent."""
        return dict(Counter(handle.kind for handle in self._open.values()))

    def close_all(self) -> None:
        """Close what is open, newest first; all are tried, and the first failure is raised at the end."""
        first: Exception | None = None
        for handle in reversed(list(self._open.values())):
            try:
                handle.close()
            except Exception as error:  # noqa: BLE001 - the others must still be closed; the first is raised below
                if first is None:
                    first = error
                else:
                    _log.warning("closing a %s after an earlier failure: %s", handle.kind, error)
        if first is not None:
            raise first


class Handle:
    """One object of the device.

    Attributes:
        address: ACL's handle, pointer or id; 0 once closed, which every ACL call refuses (100000).
    """

    kind: ClassVar[str]
    door: ClassVar[str]

    address: int
    _ledger: Ledger
    _parent: object

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is not constructed but handed out: call {self.door}")

    @classmethod
    def _hand_out(cls: type[H], address: int, *, ledger: Ledger, parent: object) -> H:
        handle = cls.__new__(cls)
        handle.address = address
        handle._ledger = ledger
        handle._parent = parent
        ledger.add(handle)
        return handle

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self.address

    def close(self) -> None:
        """Give the object back; a second call does nothing.

        Raises:
            AclError: the runtime refused; the handle counts as closed all the same.
        """
        address, self.address = self.address, 0
        if address:
            self._ledger.remove(self)
            self._release(address)

    def _release(self, address: int) -> None:
        raise NotImplementedError

    def __enter__(self: H) -> H:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else hex(self.address)}>"

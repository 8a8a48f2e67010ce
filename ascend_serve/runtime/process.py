"""ACL belongs to the process: begun and ended once, of no use after a fork (facts: pyACL §4, §17, §18)."""

from __future__ import annotations

import os
import threading

from ascend_serve.errors import DeviceError
from ascend_serve.runtime import _acl


class _AclProcess:
    """Counts open devices and remembers whether it was us who initialised ACL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._ours = False
        self._finalized = False
        self._devices = 0

    def enter(self) -> None:
        with self._lock:
            if self._finalized:
                raise DeviceError(
                    "ACL was finalised in this process, and not every CANN version can initialise it again: "
                    "open devices before `finalize`, or in another process"
                )
            if self._pid == 0:
                self._ours = _acl.init()
                self._pid = os.getpid()
            elif self._pid != os.getpid():
                raise DeviceError(
                    f"ACL was initialised in process {self._pid} and does not survive a fork "
                    f"(into {os.getpid()}): start child processes by spawning them"
                )
            self._devices += 1

    def leave(self) -> None:
        with self._lock:
            self._devices -= 1

    def finalize(self) -> None:
        with self._lock:
            if self._devices:
                raise DeviceError(f"{self._devices} device(s) are open: close them before ACL is finalised")
            if self._ours and not self._finalized and self._pid == os.getpid():
                _acl.finalize()
                self._finalized = True


_process = _AclProcess()
enter = _process.enter
leave = _process.leave


def finalize() -> None:
    """Give ACL back, once, as the last thing before the process ends; a second call does nothing.

    Closing devices does not do this, since older CANN cannot be initialised a second time in one process; and
    it is left to whoever initialised ACL first, when that was not this package.

    Raises:
        DeviceError: a device is still open.
    """
    _process.finalize()

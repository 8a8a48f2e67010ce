"""The ACL context: what a thread must hold before it may speak to the device.

A context is current per OS thread; a thread without one gets 107002 from every call (facts: pyACL §5.2). One
explicit context may be shared by several threads, which is what a lane's two threads do.
"""

from __future__ import annotations

from ascend_serve.runtime import _acl
from ascend_serve.runtime.handle import Handle


class Context(Handle):
    """An explicit context of one device."""

    kind = "context"
    door = "Device.open()"

    def bind(self) -> None:
        """Make this context current for the calling thread."""
        _acl.set_context(self.address)

    def _release(self, address: int) -> None:
        _acl.destroy_context(address)

"""What `acl.rt` shows, a file per subject."""

from acl._rt import context, device, event, memory, stream
from acl._rt.context import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.device import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.event import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.memory import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.stream import *  # noqa: F403 - exactly the functions that its `__all__` lists

__all__ = [
    *context.__all__,
    *device.__all__,
    *event.__all__,
    *memory.__all__,
    *stream.__all__,
]

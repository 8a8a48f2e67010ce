"""`acl.rt`: the functions of the files in `acl._rt`, and nothing else."""

from acl._rt.context import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.device import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.event import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.memory import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.stream import *  # noqa: F403 - exactly the functions that its `__all__` lists

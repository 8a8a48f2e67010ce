"""`acl.util`: the functions of `acl._util` and `acl._util_threads`, and nothing else."""

from acl._util import *  # noqa: F403 - exactly the functions that `_util.__all__` lists
from acl._util_threads import *  # noqa: F403 - exactly the functions that its `__all__` lists

"""The top-level functions of `acl`, a file per subject."""

from acl._base import buffers, lifetime, numbers, tensors
from acl._base.buffers import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.lifetime import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.numbers import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.tensors import *  # noqa: F403 - exactly the functions that its `__all__` lists

__all__ = [
    *buffers.__all__,
    *lifetime.__all__,
    *numbers.__all__,
    *tensors.__all__,
]

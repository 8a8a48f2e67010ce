"""What `acl.mdl` shows, a file per subject."""

from acl._mdl import dataset, description, execution, gears, loading
from acl._mdl.dataset import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.description import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.execution import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.gears import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.loading import *  # noqa: F403 - exactly the functions that its `__all__` lists

__all__ = [
    *dataset.__all__,
    *description.__all__,
    *execution.__all__,
    *gears.__all__,
    *loading.__all__,
]

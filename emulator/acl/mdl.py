"""`acl.mdl`: the functions of the files in `acl._mdl`, and nothing else."""

from acl._mdl.aipp import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.config import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.dataset import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.description import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.dump import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.execution import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.gears import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._mdl.loading import *  # noqa: F403 - exactly the functions that its `__all__` lists

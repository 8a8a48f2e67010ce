"""`acl.rt`: the functions of the files in `acl._rt`, and nothing else."""

from acl._rt.callback import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.context import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.copies import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.device import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.event import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.exception import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.kernel import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.memory import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.sharing import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.stream import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.timeout import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.unsupported import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._rt.virtual import *  # noqa: F403 - exactly the functions that its `__all__` lists

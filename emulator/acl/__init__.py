"""pyACL's shape over an emulated Ascend device: same names, same tuples, same codes (facts/pyacl.md §1-§3).

No constant, class or error name is exported, as in the original; unknown names raise AttributeError. Importing
this starts no process and opens no socket: the first `set_device` or `create_context` does.
"""

from acl import blas as blas
from acl import fv as fv
from acl import himpi as himpi
from acl import mdl as mdl
from acl import media as media
from acl import op as op
from acl import prof as prof
from acl import rt as rt
from acl import util as util
from acl._base.buffers import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.lifetime import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.numbers import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.tensors import *  # noqa: F403 - exactly the functions that its `__all__` lists
from acl._base.versions import *  # noqa: F403 - exactly the functions that its `__all__` lists

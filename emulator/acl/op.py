"""`acl.op`: see `acl._op`, whose functions are all that is visible here."""

from acl._op import *  # noqa: F403 - exactly the functions that `_op.__all__` lists

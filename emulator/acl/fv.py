"""`acl.fv`: see `acl._fv`, whose functions are all that is visible here."""

from acl._fv import *  # noqa: F403 - exactly the functions that `_fv.__all__` lists

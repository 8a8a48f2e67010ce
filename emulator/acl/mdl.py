"""`acl.mdl`: see `acl._mdl`, whose functions are all that is visible here."""

from acl._mdl import *  # noqa: F403 - exactly the functions that `_mdl.__all__` lists

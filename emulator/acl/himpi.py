"""`acl.himpi`: see `acl._himpi`, whose functions are all that is visible here."""

from acl._himpi import *  # noqa: F403 - exactly the functions that `_himpi.__all__` lists

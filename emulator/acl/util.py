"""`acl.util`: see `acl._util`, whose functions are all that is visible here."""

from acl._util import *  # noqa: F403 - exactly the functions that `_util.__all__` lists

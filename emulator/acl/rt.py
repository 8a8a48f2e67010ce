"""`acl.rt`: see `acl._rt`, whose functions are all that is visible here."""

from acl._rt import *  # noqa: F403 - exactly the functions that `_rt.__all__` lists

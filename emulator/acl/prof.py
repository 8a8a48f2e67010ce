"""`acl.prof`: see `acl._prof`, whose functions are all that is visible here."""

from acl._prof import *  # noqa: F403 - exactly the functions that `_prof.__all__` lists

"""`acl.blas`: see `acl._blas`, whose functions are all that is visible here."""

from acl._blas import *  # noqa: F403 - exactly the functions that `_blas.__all__` lists

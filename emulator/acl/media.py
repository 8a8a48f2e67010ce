"""`acl.media`: see `acl._media`, whose functions are all that is visible here."""

from acl._media import *  # noqa: F403 - exactly the functions that `_media.__all__` lists

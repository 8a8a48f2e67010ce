"""The top-level functions of `acl`, a file per subject. A new file is listed in `acl/__init__.py`."""

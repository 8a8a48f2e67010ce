"""What `acl.rt` shows, a file per subject. A new file is listed in `acl/rt.py`."""

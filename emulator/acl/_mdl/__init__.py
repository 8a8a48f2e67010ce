"""What `acl.mdl` shows, a file per subject. A new file is listed in `acl/mdl.py`."""

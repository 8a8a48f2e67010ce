"""The accelerator as objects: `Device` hands out the others, `Session` runs a model, `Lane` owns the threads.

Start with `session.py`. `DESIGN.md` tells who owns what, `QUIRKS.md` what is worked around or not yet
settled. Importing this package loads no `acl`.
"""

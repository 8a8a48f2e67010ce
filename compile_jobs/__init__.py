"""Compiling for several SoCs at once, as Ray tasks. `python -m compile_jobs` is its command line."""

"""From a network to a compiled model: arguments, toolchain, build, diagnosis. Needs `atc`, never a card.

`build.compile_target` is the entry. `atc.py` and `diagnose.py` are pure; `process.py` is the one place that
starts a process.
"""

"""The emulated card: the process that owns device memory, models, streams, engines and the clock.

One process per (emulated node, physical device), started by its first client and gone after its last. `python
-m ascend_emulator.card` is how a client starts it; nothing else is meant to.
"""

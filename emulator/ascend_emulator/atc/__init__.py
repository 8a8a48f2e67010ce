"""The command `atc`, emulated: real flags in, ATC's protocol out, an `.om` that the emulated card runs.

Specification: facts/atc_om_soc.md §1, §2 and §6. The rooms: `options` (the command line), `request` and
`shapes` (ATC's checks in ATC's order), `errors` (codes and reports), `network` (the ONNX model), `trial` (it
is run once at every gear), `build` (the `.om`), `command` (the console).
"""

from __future__ import annotations

from ascend_emulator.atc.command import main

__all__ = ["main"]

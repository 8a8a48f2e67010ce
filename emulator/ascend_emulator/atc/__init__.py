"""The command `atc`, emulated: real flags in, ATC's protocol out, an `.om` that the emulated card runs.

Specification: facts/atc_om_soc.md §1, §2 and §6. The rooms: `options` (the command line); `request`, `paths`,
`option_files`, `shapes`, `shape_ranges` and `gear_options` (ATC's checks in ATC's order); `errors` (codes and
reports); `modes` (what is asked for); `graph_def` and `tensorflow` (a TensorFlow model becomes ONNX); `network`,
`outputs` and `precheck` (the ONNX model); `aipp_config`, `aipp_formats` and `aipp_network` (image preprocessing);
`trial` (it is run at every gear), `memory_plan` and `describe` (what came out); `build` (the `.om`); `inspect` and
`onnx_json` (models as text); `compile_time`; `command` and `console` (what is said).
"""

from __future__ import annotations

from ascend_emulator.atc.command import main

__all__ = ["main"]

"""The command `npu-smi`: what the driver's tool of that name says, of the emulated cards of this node.

Layouts, field names and exit codes are those of the open driver (hicann/driver, `src/custom/dev_prod/user/npucli`,
July 2026). Memory, processes and the use of the AI cores come from the cards that run; a card that nobody has open
is idle. What the emulator has no value for is `NA`, as the tool prints what a device does not tell.
"""

from __future__ import annotations

from ascend_emulator.smi.command import main

__all__ = ["main"]

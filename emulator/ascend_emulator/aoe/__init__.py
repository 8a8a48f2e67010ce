"""The command `aoe`, emulated: it compiles for the card of its node as `atc` does, and leaves a knowledge bank.

Nothing is tuned: the model is the one `atc` would make, and the bank names what could have been. The rooms: `options`
(the command line), `job` (what is asked for, on which device), `operators` (what of a network can be tuned), `bank`
(where that is kept), `command` (the console). Facts: atc_om_soc.md §5.2; AOE's pages auxiliarydevtool/aoe_16_041 and
maintenref/envvar/envref_07_0104; ops-nn's runtime_bank_manager.cc for the folders of a bank.
"""

from __future__ import annotations

from ascend_emulator.aoe.command import main

__all__ = ["main"]

"""`python -m ascend_emulator.aoe` is `aoe`."""

from __future__ import annotations

import sys

from ascend_emulator.aoe.command import main

sys.exit(main())

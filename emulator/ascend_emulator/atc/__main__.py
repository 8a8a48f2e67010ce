"""`python -m ascend_emulator.atc` is `atc`."""

from __future__ import annotations

import sys

from ascend_emulator.atc.command import main

sys.exit(main())

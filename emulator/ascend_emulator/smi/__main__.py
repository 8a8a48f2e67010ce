"""`python -m ascend_emulator.smi` is `npu-smi`."""

from __future__ import annotations

import sys

from ascend_emulator.smi import main

sys.exit(main())

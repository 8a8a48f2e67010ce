"""What ours sets in its own process, for others to have as well."""

from __future__ import annotations

import gc
import sys

from ascend_serve.runtime.lane import GC_THRESHOLDS, SWITCH_INTERVAL_S


def set_as_ours() -> None:
    """Give this process the switch interval and the thresholds of garbage collection that a replica of ours has."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)

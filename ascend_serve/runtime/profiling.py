"""CANN's profiler, over what this process and its device do between two calls (facts: pyACL §14.1, §15.9).

On hardware it writes raw data, which `msprof --export=on` turns into tables and a timeline. One profile is taken at a
time in a process. Its calls belong on the lane, whose context is current there. Collecting counters of the AI core
slows each task down, and profiling is documented as not made for `ASCEND_RT_VISIBLE_DEVICES` (facts: pyACL §5.3).
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from ascend_serve.runtime import _acl


class Counters(Enum):
    """Which counters of the AI core are collected, by `aclprofAicoreMetrics`; one group at a time."""

    NONE = 0xFF
    ARITHMETIC = 0
    PIPE = 1
    MEMORY = 2
    L0 = 3
    CONFLICTS = 4
    UNIFIED_BUFFER = 5
    L2 = 6


class Profile:
    """A profile being taken.

    Args:
        ordinal: of the device.
        folder: takes a folder `PROF_…` with the data; made if it is not there.
        counters: of the AI core.

    Raises:
        OSError: the folder cannot be made.
        AclError: the profiler refused, such as 100002 while another profile is being taken; nothing is collected.
    """

    def __init__(self, ordinal: int, folder: Path, counters: Counters) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        bits = _acl.PROF_ACL_API | _acl.PROF_TASK_TIME
        if counters is not Counters.NONE:
            bits |= _acl.PROF_AICORE_METRICS
        _acl.prof_init(str(folder))
        try:
            self._config = _acl.prof_create_config([ordinal], counters.value, bits)
            try:
                _acl.prof_start(self._config)
            except BaseException:
                _acl.prof_destroy_config(self._config)
                raise
        except BaseException:
            _acl.prof_finalize()
            raise

    def stop(self) -> None:
        """End it and write the data, which may take seconds.

        Raises:
            AclError: the data could not be written; profiling has ended all the same.
        """
        try:
            _acl.prof_stop(self._config)
        finally:
            try:
                _acl.prof_destroy_config(self._config)
            finally:
                _acl.prof_finalize()

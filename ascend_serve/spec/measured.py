"""Measured times as a file: kept beside a compiled model, and read by `ascend-serve plan --costs`.

{"schema": 1, "soc": "Ascend310P3", "toolchain": "CANN 8.0.RC3", "times": [
    {"bucket": 0, "gear": 1, "copy_in_ms": 0.02, "compute_ms": 1.3, "copy_out_ms": 0.01, "spread_ms": 0.02,
     "runs": 9}, …]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import orjson

from ascend_serve.errors import ConfigError
from ascend_serve.spec.timing import GearTimes, Stages, Timing

SCHEMA = 1
"""Grows when a file of today could be misread."""

_MS = (*Stages._fields, "spread_ms")
_COUNTS = ("bucket", "gear", "runs")


@dataclass(frozen=True, slots=True)
class MeasuredTimes:
    """What the gears of one model take on one kind of device.

    Attributes:
        soc: full name of the SoC.
        toolchain: vendor and version of what ran it, as `str(Toolchain)` tells.
        times: by (bucket, gear).
    """

    soc: str
    toolchain: str
    times: GearTimes

    def to_json(self) -> bytes:
        """The file's content: indented JSON, gears in their order."""
        told = {
            "schema": SCHEMA,
            "soc": self.soc,
            "toolchain": self.toolchain,
            "times": [
                {
                    "bucket": bucket,
                    "gear": gear,
                    **timing.stages._asdict(),
                    "spread_ms": timing.spread_ms,
                    "runs": timing.runs,
                }
                for (bucket, gear), timing in sorted(self.times.items())
            ],
        }
        return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, data: bytes | str) -> MeasuredTimes:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: it is no such file, or one of another schema, or has a time that cannot be.
        """
        try:
            told = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"not a file of measured times: {error}") from error
        keys = ["schema", *(field.name for field in fields(cls))]
        if not isinstance(told, dict) or sorted(told) != sorted(keys):
            shown = sorted(told) if isinstance(told, dict) else type(told).__name__
            raise ConfigError(
                f"not a file of measured times: an object with {', '.join(keys)} is needed, not {shown}"
            )
        if told["schema"] != SCHEMA:
            raise ConfigError(f"measured times of schema {told['schema']!r}; this version reads {SCHEMA}")
        if not isinstance(told["soc"], str) or not isinstance(told["toolchain"], str):
            raise ConfigError("not a file of measured times: soc and toolchain are text")
        if not isinstance(told["times"], list):
            raise ConfigError("not a file of measured times: times is a list")
        times: dict[tuple[int, int], Timing] = {}
        for entry in told["times"]:
            key, timing = _read_entry(entry)
            if key in times:
                raise ConfigError(f"measured times have bucket {key[0]}, gear {key[1]} twice")
            times[key] = timing
        return cls(told["soc"], told["toolchain"], times)


def _read_entry(told: Any) -> tuple[tuple[int, int], Timing]:
    if not isinstance(told, Mapping) or set(told) != {*_MS, *_COUNTS}:
        raise ConfigError(f"an entry of measured times has {', '.join((*_COUNTS, *_MS))}; not so: {told!r}")
    for name in _COUNTS:
        least = 1 if name == "gear" else 0
        if not isinstance(told[name], int) or isinstance(told[name], bool) or told[name] < least:
            raise ConfigError(
                f"measured times: {name} is {told[name]!r}; it is a whole number of at least {least}"
            )
    for name in _MS:
        ms = told[name]
        if not isinstance(ms, (int, float)) or isinstance(ms, bool) or not isfinite(ms) or ms < 0:
            raise ConfigError(
                f"measured times: {name} is {ms!r}; it is a number of milliseconds of at least 0"
            )
    stages = Stages(*(float(told[name]) for name in Stages._fields))
    return (told["bucket"], told["gear"]), Timing(stages, float(told["spread_ms"]), told["runs"])

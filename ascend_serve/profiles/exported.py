"""The files that `msprof --export=on` makes of a profile, read as rows.

    PROF_000001_<time>_<letters>/mindstudio_profiler_output/
        task_time_<time>.csv       Device_id, kernel_name, kernel_type, stream_id, task_time(us), task_start(us), …
        op_summary_<time>.csv      Op Name, OP Type, Task Type, Task Duration(us), …, counters of the AI core
        api_statistic_<time>.csv   Level, API Name, Time(us), Count, …
        msprof_<time>.json         a timeline; copies have the arguments size(B) and operation

Files and columns are those of CANN's "Profiling" guide (Profile Data File References: task_time, op_summary,
api_statistic; 8.0 to 8.5) and facts: ATC §5.3. Which columns of counters there are depends on the chip and on what was
collected; numbers may be followed by a tab, and `N/A` stands for none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ascend_serve.errors import ConfigError

OUTPUT = "mindstudio_profiler_output"

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported of one profile; a table that is missing is empty.

    Attributes:
        tasks: of the devices' streams (`task_time`).
        operators: of models (`op_summary`).
        calls: of ACL and the runtime (`api_statistic`).
        events: of the timeline (`msprof_*.json`).
    """

    tasks: tuple[Row, ...]
    operators: tuple[Row, ...]
    calls: tuple[Row, ...]
    events: tuple[Mapping[str, Any], ...]


def profiles_in(folder: Path) -> list[Path]:
    """The `PROF_` folders at a path: itself, or those in it, the oldest first."""
    if folder.name.startswith("PROF_"):
        return [folder]
    return sorted(path for path in folder.glob("**/PROF_*") if path.is_dir())


def is_exported(profile: Path) -> bool:
    """Whether msprof has made its files of a profile."""
    return any((profile / OUTPUT).glob("*.csv"))


def read_exported(profile: Path) -> Exported:
    """Read what msprof exported.

    Raises:
        ConfigError: there is nothing, or a file that is not what msprof writes.
        OSError: a file cannot be read.
    """
    output = profile / OUTPUT
    if not is_exported(profile):
        raise ConfigError(
            f"{profile} has no {OUTPUT} with tables: run `msprof --export=on --output={profile}` where CANN's "
            "toolkit is installed"
        )
    return Exported(
        _table(output, "task_time"),
        _table(output, "op_summary"),
        _table(output, "api_statistic"),
        _events(output),
    )


def _table(output: Path, name: str) -> tuple[Row, ...]:
    # Slices of a large export are numbered; a second export adds files of a later time.
    rows: list[Row] = []
    for file in _of_last_export(sorted(output.glob(f"{name}_*.csv"))):
        with file.open(encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text):
                rows.append({key.strip(): (value or "").strip() for key, value in row.items() if key})
    return tuple(rows)


def _events(output: Path) -> tuple[Mapping[str, Any], ...]:
    events: list[Mapping[str, Any]] = []
    for file in _of_last_export(sorted(output.glob("msprof_*.json"))):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{file} is no JSON: {error}") from error
        events += told if isinstance(told, list) else told.get("traceEvents", [])
    return tuple(events)


def _of_last_export(files: Sequence[Path]) -> list[Path]:
    last = max((_time_of(file) for file in files), default="")
    return [file for file in files if _time_of(file) == last]


def _time_of(file: Path) -> str:
    return file.stem.rpartition("_")[2]

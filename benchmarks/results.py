"""Results as files: `benchmarks/results/<date>-<name>.json`, with machine, versions, command and all rounds."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.node import COSTS_MS, ROOT, yardstick_ns

FOLDER = ROOT / "benchmarks/results"
_DISTRIBUTIONS = ("ray", "numpy", "uvloop", "uvicorn", "fastapi", "ascend-serve", "ascend-emulator")
_DIGITS = 5
"""Significant digits that are written: more would say more than was measured."""


def described_machine() -> dict[str, Any]:
    """Where the figures come from."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _DISTRIBUTIONS},
        "yardstick_ns": yardstick_ns(),
        "device": {"emulated": True, "times_ms": {str(gear): ms for gear, ms in COSTS_MS.items()}},
    }


def path_of(name: str, suffix: str) -> Path:
    """Where today's result of that name goes; a later run of the day replaces it."""
    FOLDER.mkdir(exist_ok=True)
    return FOLDER / f"{time.strftime('%Y-%m-%d')}-{name}{suffix}"


def write(name: str, parts: Mapping[str, Any]) -> Path:
    """Write one result.

    Args:
        name: what was measured, as it stands in the file's name.
        parts: of the document beside machine, command and time; data classes, sequences and plain values.
    """
    document = {
        "name": name,
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_average": os.getloadavg(),
        "machine": described_machine(),
        **parts,
    }
    path = path_of(name, ".json")
    path.write_text(_text(plain(document)) + "\n")
    return path


def plain(value: Any) -> Any:
    """The same as JSON has it: data classes as objects, numbers rounded, and None for what is not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _text(document: dict[str, Any]) -> str:
    """JSON with a line for each round, so that a file can be read and compared by lines."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines = ",\n".join("  " + json.dumps(each) for each in value)
            parts.append(f'"{key}": [\n{lines}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}"

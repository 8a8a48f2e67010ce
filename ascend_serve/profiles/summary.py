"""What the tables of a profile come to. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ascend_serve.profiles.exported import Exported, Row

_ON_CORES = ("AICORE", "AIVEC", "MIX_AIC", "MIX_AIV")
CORES = frozenset(
    {"AI_CORE", "AI_VECTOR_CORE", "FFTS_PLUS", *_ON_CORES, *(f"KERNEL_{kind}" for kind in _ON_CORES)}
)
"""Task types that AI cores and vector cores run, as CANN's guide and its newer runtime call them."""

WHOLE_RUNS = frozenset({"MODEL_EXECUTE"})
"""What stands for them where a profile has no task for each operator."""

_MOST_NAMED = 8
_BANDWIDTHS = ("main_mem_read_bw(GB/s)", "main_mem_write_bw(GB/s)")
_SHARES = ("mac_ratio", "vec_ratio", "mte2_ratio", "mte3_ratio", "scalar_ratio", "cube_utilization(%)")


@dataclass(frozen=True, slots=True)
class Gaps:
    """Times in which no core ran although work came before and after: the device waited for the host, or for a copy.

    Attributes:
        count: how many there were.
        total_us: of all.
        median_us: the middle one.
        p99_us: 99 % are at most this long.
        longest_us: the longest.
    """

    count: int
    total_us: float
    median_us: float
    p99_us: float
    longest_us: float


@dataclass(frozen=True, slots=True)
class Device:
    """One device in a profile.

    Attributes:
        device: its number.
        window_us: from the first task of its cores to the end of the last.
        busy_us: in which a core ran.
        whole_runs: whether runs of whole models stand for the tasks of cores.
        gaps: between them.
    """

    device: str
    window_us: float
    busy_us: float
    whole_runs: bool
    gaps: Gaps

    @property
    def load(self) -> float:
        """Share of the window in which a core ran, 0 to 1."""
        return self.busy_us / self.window_us if self.window_us else 0.0


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies one way: how many, their bytes, and their time."""

    way: str
    count: int
    size_bytes: float
    us: float

    @property
    def gb_per_s(self) -> float:
        """While one was going on."""
        return self.size_bytes / self.us / 1e3 if self.us else 0.0


@dataclass(frozen=True, slots=True)
class Named:
    """What one kind of operator, or one call, took in total."""

    name: str
    count: int
    us: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a profile comes to.

    Attributes:
        devices: each device.
        counters: means of the AI core's counters over operators, weighted by their time; empty if none were collected.
        copies: between host and device, by way.
        operators: the kinds that took most.
        calls: of ACL and the runtime that took most on the host.
    """

    devices: tuple[Device, ...]
    counters: Mapping[str, float]
    copies: tuple[Copies, ...]
    operators: tuple[Named, ...]
    calls: tuple[Named, ...]


def summarise(exported: Exported) -> Summary:
    """Make the summary of what msprof exported."""
    by_device: dict[str, list[Row]] = defaultdict(list)
    for row in exported.tasks:
        by_device[row.get("Device_id", "0")].append(row)
    return Summary(
        devices=tuple(_device(name, rows) for name, rows in sorted(by_device.items())),
        counters=_counters(exported.operators),
        copies=_copies(exported.events),
        operators=_named(exported.operators, "OP Type", "Task Duration(us)"),
        calls=_named(exported.calls, "API Name", "Time(us)", "Count"),
    )


# --- devices ---------------------------------------------------------------------------------------


def _device(name: str, rows: Sequence[Row]) -> Device:
    spans = _spans(rows, CORES)
    whole_runs = not spans
    spans = spans or _spans(rows, WHOLE_RUNS)
    merged = _merged(spans)
    if not merged:
        return Device(name, 0.0, 0.0, whole_runs, _gaps([]))
    busy_us = sum(end - begin for begin, end in merged)
    between = [later - end for (_, end), (later, _) in pairwise(merged)]
    return Device(name, merged[-1][1] - merged[0][0], busy_us, whole_runs, _gaps(between))


def _spans(rows: Iterable[Row], kinds: frozenset[str]) -> list[tuple[float, float]]:
    """(begin, end) of each task of these kinds, in us from the first begin, for a float holds no ns since 1970."""
    told = [row for row in rows if row.get("kernel_type", "") in kinds and _is_number(row["task_start(us)"])]
    zero = min((_whole(row["task_start(us)"]) for row in told), default=0)
    return [
        (
            _since(row["task_start(us)"], zero),
            _since(row["task_start(us)"], zero) + _number(row["task_time(us)"]),
        )
        for row in told
    ]


def _whole(us: str) -> int:
    return int(us.partition(".")[0])


def _since(us: str, zero: int) -> float:
    whole, _, rest = us.partition(".")
    return int(whole) - zero + float(f"0.{rest or 0}")


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged


def _gaps(between: Sequence[float]) -> Gaps:
    ordered = sorted(between) or [0.0]
    last = len(ordered) - 1
    return Gaps(len(between), sum(between), ordered[last // 2], ordered[round(0.99 * last)], ordered[last])


# --- tables ----------------------------------------------------------------------------------------


def _counters(rows: Sequence[Row]) -> dict[str, float]:
    columns = [
        column
        for column in (rows[0] if rows else ())
        if column.removeprefix("aic_").removeprefix("aiv_") in (*_BANDWIDTHS, *_SHARES)
    ]
    found: dict[str, float] = {}
    for column in columns:
        weighed = [
            (_number(row[column]), _number(row.get("Task Duration(us)", "")))
            for row in rows
            if _is_number(row.get(column, ""))
        ]
        if weight := sum(us for _, us in weighed):
            found[column] = sum(value * us for value, us in weighed) / weight
    return found


def _copies(events: Iterable[Mapping[str, Any]]) -> tuple[Copies, ...]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        told = event.get("args")
        if event.get("ph") == "X" and isinstance(told, Mapping) and "size(B)" in told and "operation" in told:
            found[str(told["operation"])].append((float(told["size(B)"]), float(event["dur"])))
    return tuple(
        Copies(way, len(each), sum(size for size, _ in each), sum(us for _, us in each))
        for way, each in sorted(found.items())
    )


def _named(rows: Iterable[Row], name: str, us: str, count: str | None = None) -> tuple[Named, ...]:
    counts: dict[str, int] = defaultdict(int)
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        if _is_number(row.get(us, "")):
            counts[row.get(name, "")] += 1 if count is None else int(_number(row.get(count, "0")))
            totals[row.get(name, "")] += _number(row[us])
    most = sorted(totals, key=lambda each: (-totals[each], each))[:_MOST_NAMED]
    return tuple(Named(each, counts[each], totals[each]) for each in most)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    return float(text) if _is_number(text) else 0.0

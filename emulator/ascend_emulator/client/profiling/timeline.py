"""The files that msprof exports from a profile: a timeline for a trace viewer and tables of times.

Layout, file names, columns and the fields of an event are those of msprof's open sources (facts/atc_om_soc.md
§5.3). Two things differ, because an emulated card has no more to tell: an execution of a model is one task where a
card has one per operator, and calls bear their Python names.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ascend_emulator.client.profiling.tasks import Task
from ascend_emulator.wire import Op, Way

_NO_MODEL = _NO_SUBTASK = 0xFFFFFFFF
_HOST = 31
_MARKS, _CALLS, _TASKS = 6, 7, 14
"""Places of the three layers in the viewer, from above."""

_KINDS = {Op.COPY: "MEMCPY_ASYNC", Op.FILL: "MEMSET_ASYNC", Op.EXECUTE: "MODEL_EXECUTE"}
_WAYS = {Way.H2D: "host to device", Way.D2H: "device to host", Way.LOCAL: "device to device"}

_TASK_TIME = "Device_id,kernel_name,kernel_type,stream_id,task_id,task_time(us),task_start(us),task_stop(us)"
_OP_SUMMARY = (
    "Device_id,Model ID,Task ID,Stream ID,Op Name,OP Type,OP State,Task Type,Task Start Time(us),"
    "Task Duration(us),Task Wait Time(us)"
)
_OP_STATISTIC = (
    "Device_id,OP Type,Core Type,Count,Total Time(us),Min Time(us),Avg Time(us),Max Time(us),Ratio(%)"
)
_API_STATISTIC = "Device_id,Level,API Name,Time(us),Count,Avg(us),Min(us),Max(us),Variance"


class Call(NamedTuple):
    """One call of an `acl` function; times are those of `time.monotonic_ns`."""

    name: str
    thread: int
    began_ns: int
    ended_ns: int


class Mark(NamedTuple):
    """What a program marked: a moment (`marker`, `marker_ex`) or a span (`push/pop`, `start/end`)."""

    kind: str
    message: str
    thread: int
    began_ns: int
    ended_ns: int


class Profile(NamedTuple):
    """Everything one profile holds.

    Attributes:
        process: the process profiled.
        epoch_ns: what to add to a moment to have nanoseconds since 1970.
        calls: the `acl` calls.
        tasks: what the cards did.
        marks: what the program marked.
    """

    process: int
    epoch_ns: int
    calls: Sequence[Call]
    tasks: Sequence[Task]
    marks: Sequence[Mark]


def write(folder: Path, profile: Profile, now: datetime) -> None:
    """Write the files of a profile into `folder/mindstudio_profiler_output`.

    Args:
        folder: the `PROF_` folder, which exists.
        profile: what was collected.
        now: goes into the files' names.

    Raises:
        OSError: a file cannot be written.
    """
    output = folder / "mindstudio_profiler_output"
    output.mkdir()
    stamp = f"{now:%Y%m%d%H%M%S}"
    (output / f"msprof_{stamp}.json").write_text(json.dumps(events(profile)))
    if profile.calls:
        _write_table(output / f"api_statistic_{stamp}.csv", _API_STATISTIC, _api_statistic(profile))
    if profile.tasks:
        _write_table(output / f"task_time_{stamp}.csv", _TASK_TIME, _task_time(profile))
        _write_table(output / f"op_summary_{stamp}.csv", _OP_SUMMARY, _op_summary(profile))
        _write_table(output / f"op_statistic_{stamp}.csv", _OP_STATISTIC, _op_statistic(profile))


def events(profile: Profile) -> list[dict[str, Any]]:
    """The timeline in Chrome's trace format: calls per thread, tasks per stream, marks per thread."""
    found: list[dict[str, Any]] = []
    if profile.calls:
        host = _viewer_process(profile, _CALLS, _HOST)
        found += _layer(host, "CANN", "CPU", _CALLS, {call.thread for call in profile.calls}, "Thread")
        for call in profile.calls:
            args = {"Thread Id": call.thread, "Mode": call.name, "level": "acl", "id": call.name}
            found.append(
                _span(profile, host, call.thread, f"AscendCL@{call.name}", call.began_ns, call.ended_ns, args)
            )
    for device in sorted({task.device for task in profile.tasks}):
        card = _viewer_process(profile, _TASKS, device)
        streams = {task.stream for task in profile.tasks if task.device == device}
        found += _layer(card, "Ascend Hardware", f"NPU {device}", _TASKS, streams, "Stream")
        for number, task in _numbered(profile, device):
            args = _task_args(number, task)
            found.append(_span(profile, card, task.stream, _name(task), task.start_ns, task.end_ns, args))
    if profile.marks:
        program = _viewer_process(profile, _MARKS, _HOST)
        found += _layer(program, "python", "CPU", _MARKS, {mark.thread for mark in profile.marks}, "Thread")
        for mark in profile.marks:
            args = {"event_type": mark.kind}
            found.append(
                _span(profile, program, mark.thread, mark.message, mark.began_ns, mark.ended_ns, args)
            )
    return found


def _viewer_process(profile: Profile, layer: int, device: int) -> int:
    return profile.process << 10 | layer << 5 | device


def _layer(
    process: int, name: str, label: str, place: int, rows: Iterable[int], kind: str
) -> list[dict[str, Any]]:
    heads = [
        _head(process, 0, "process_name", "name", name),
        _head(process, 0, "process_labels", "labels", label),
        _head(process, 0, "process_sort_index", "sort_index", place),
    ]
    for row in sorted(rows):
        heads.append(_head(process, row, "thread_name", "name", f"{kind} {row}"))
        heads.append(_head(process, row, "thread_sort_index", "sort_index", row))
    return heads


def _head(process: int, row: int, name: str, key: str, value: object) -> dict[str, Any]:
    return {"name": name, "pid": process, "tid": row, "ph": "M", "args": {key: value}}


def _span(
    profile: Profile, process: int, row: int, name: str, began_ns: int, ended_ns: int, args: dict[str, Any]
) -> dict[str, Any]:
    span = {"name": name, "pid": process, "tid": row, "ts": _moment(profile, began_ns)}
    return {**span, "dur": (ended_ns - began_ns) / 1000, "ph": "X", "args": args}


def _moment(profile: Profile, moment_ns: int) -> str:
    """Microseconds since 1970, as text: a float could not hold the nanoseconds."""
    since_1970 = moment_ns + profile.epoch_ns
    return f"{since_1970 // 1000}.{since_1970 % 1000:03d}"


def _name(task: Task) -> str:
    return f"model_{task.model}" if task.kind == Op.EXECUTE else _KINDS[Op(task.kind)]


def _task_args(number: int, task: Task) -> dict[str, Any]:
    args: dict[str, Any] = {
        "Model Id": task.model or _NO_MODEL,
        "Task Type": _KINDS[Op(task.kind)],
        "Physic Stream Id": task.stream,
        "Task Id": number,
        "Batch Id": 0,
        "Subtask Id": _NO_SUBTASK,
    }
    if task.kind == Op.COPY:
        lasted_ns = task.end_ns - task.start_ns
        args["size(B)"] = task.size
        args["bandwidth(GB/s)"] = task.size / lasted_ns if lasted_ns else 0.0
        args["operation"] = _WAYS[Way(task.way)]
    return args


def _numbered(profile: Profile, device: int) -> Iterable[tuple[int, Task]]:
    return enumerate(
        sorted((task for task in profile.tasks if task.device == device), key=lambda task: task.start_ns)
    )


# --- the tables ------------------------------------------------------------------------------------


def _write_table(path: Path, columns: str, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns.split(","))
        table.writerows(rows)


def _devices(profile: Profile) -> list[int]:
    return sorted({task.device for task in profile.tasks})


def _task_time(profile: Profile) -> Iterable[Sequence[object]]:
    for device in _devices(profile):
        for number, task in _numbered(profile, device):
            lasted_us = (task.end_ns - task.start_ns) / 1000
            times = (lasted_us, _moment(profile, task.start_ns), _moment(profile, task.end_ns))
            yield (device, _name(task), _KINDS[Op(task.kind)], task.stream, number, *times)


def _op_summary(profile: Profile) -> Iterable[Sequence[object]]:
    for device in _devices(profile):
        free_at_ns: dict[int, int] = {}
        for number, task in _numbered(profile, device):
            wait_us = max(0, task.start_ns - free_at_ns.get(task.stream, task.start_ns)) / 1000
            free_at_ns[task.stream] = task.end_ns
            if task.kind == Op.EXECUTE:
                kind = _KINDS[Op.EXECUTE]
                times = (_moment(profile, task.start_ns), (task.end_ns - task.start_ns) / 1000, wait_us)
                yield (device, task.model, number, task.stream, _name(task), kind, "static", kind, *times)


def _op_statistic(profile: Profile) -> Iterable[Sequence[object]]:
    for device in _devices(profile):
        durations: dict[str, list[float]] = defaultdict(list)
        for task in profile.tasks:
            if task.device == device and task.kind == Op.EXECUTE:
                durations[_name(task)].append((task.end_ns - task.start_ns) / 1000)
        whole = sum(map(sum, durations.values()))
        for name, values in sorted(durations.items(), key=lambda item: -sum(item[1])):
            total = sum(values)
            share = 100 * total / whole if whole else 0.0
            sizes = (len(values), total, min(values), total / len(values), max(values), share)
            yield (device, name, _KINDS[Op.EXECUTE], *sizes)


def _api_statistic(profile: Profile) -> Iterable[Sequence[object]]:
    durations: dict[str, list[float]] = defaultdict(list)
    for call in profile.calls:
        durations[call.name].append((call.ended_ns - call.began_ns) / 1000)
    for name, values in sorted(durations.items()):
        total = sum(values)
        average = total / len(values)
        yield (
            "host",
            "acl",
            name,
            total,
            len(values),
            average,
            min(values),
            max(values),
            sum((value - average) ** 2 for value in values) / len(values),
        )

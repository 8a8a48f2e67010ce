"""The files of a profile: a trace and tables, made from calls, tasks and marks."""

import csv
import ctypes
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ascend_emulator.client.profiling import records
from ascend_emulator.client.profiling.tasks import Task
from ascend_emulator.client.profiling.timeline import Call, Mark, Profile, events, write
from ascend_emulator.codes import INVALID_PARAM, Failure
from ascend_emulator.wire import Op, Way
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

EPOCH_NS = 1_700_000_000_000_000_123
NOW = datetime(2026, 1, 2, 3, 4, 5)
STREAM, MODEL = 7, 3


def copy(start_ns: int, end_ns: int, size: int = 4000) -> Task:
    return Task(0, Op.COPY, Way.H2D, 0, STREAM, size, start_ns, start_ns, end_ns)


def execution(start_ns: int, end_ns: int, model: int = MODEL) -> Task:
    return Task(0, Op.EXECUTE, 0, model, STREAM, 0, start_ns - 500, start_ns, end_ns)


def profile(calls: Iterable[Call] = (), tasks: Iterable[Task] = (), marks: Iterable[Mark] = ()) -> Profile:
    return Profile(42, EPOCH_NS, list(calls), list(tasks), list(marks))


def spans(taken: Profile) -> list[dict[str, Any]]:
    return [event for event in events(taken) if event["ph"] == "X"]


def heads(taken: Profile) -> list[str]:
    return [event["args"]["name"] for event in events(taken) if event["name"] == "process_name"]


def written(folder: Path, taken: Profile) -> dict[str, Path]:
    write(folder, taken, NOW)
    return {path.name: path for path in (folder / "mindstudio_profiler_output").iterdir()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_call_is_a_span_of_its_thread_in_microseconds_since_1970() -> None:
    (span,) = spans(profile(calls=[Call("acl.rt.malloc", 99, 1_000, 3_500)]))
    assert span["name"] == "AscendCL@acl.rt.malloc"
    assert span["tid"] == 99
    assert span["ts"] == "1700000000000001.123"
    assert span["dur"] == 2.5


def test_layers_without_events_are_left_out() -> None:
    call, mark = Call("acl.init", 1, 0, 1), Mark("marker", "here", 1, 5, 5)
    assert heads(profile()) == []
    assert heads(profile(calls=[call])) == ["CANN"]
    assert heads(profile(calls=[call], tasks=[copy(0, 1)], marks=[mark])) == [
        "CANN",
        "Ascend Hardware",
        "python",
    ]


def test_a_copy_tells_its_size_way_and_speed() -> None:
    (span,) = spans(profile(tasks=[copy(0, 2_000, size=4_000)]))
    assert span["args"]["size(B)"] == 4_000
    assert span["args"]["bandwidth(GB/s)"] == 2.0  # bytes per nanosecond
    assert span["args"]["operation"] == "host to device"
    assert spans(profile(tasks=[copy(5, 5)]))[0]["args"]["bandwidth(GB/s)"] == 0.0


def test_tasks_are_numbered_by_their_start_and_apart_for_each_card() -> None:
    tasks = [execution(9_000, 9_500), copy(1_000, 2_000), execution(3_000, 4_000)._replace(device=1)]
    found = {
        (span["pid"] & 31, span["name"]): span["args"]["Task Id"] for span in spans(profile(tasks=tasks))
    }
    assert found == {(0, "MEMCPY_ASYNC"): 0, (0, "model_3"): 1, (1, "model_3"): 0}


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**9)), max_size=20))
def test_no_nanosecond_is_lost(moments: list[tuple[int, int]]) -> None:
    calls = [Call("acl.rt.memcpy", 1, began, began + lasted) for began, lasted in moments]
    starts = [Decimal(span["ts"]) * 1000 for span in spans(profile(calls=calls))]
    assert starts == [EPOCH_NS + began for began, _ in moments]


def test_a_trace_viewers_file_and_the_tables(tmp_path: Path) -> None:
    taken = profile(
        calls=[Call("acl.rt.malloc", 1, 0, 2_000), Call("acl.rt.malloc", 1, 5_000, 9_000)],
        tasks=[copy(0, 1_000), execution(1_500, 4_500), execution(6_000, 7_000)],
    )
    files = written(tmp_path, taken)
    stamp = "20260102030405"
    names = ["api_statistic", "op_statistic", "op_summary", "task_time"]
    assert sorted(files) == [*(f"{name}_{stamp}.csv" for name in names[:1]), f"msprof_{stamp}.json"] + [
        f"{name}_{stamp}.csv" for name in names[1:]
    ]
    assert json.loads(files[f"msprof_{stamp}.json"].read_text()) == events(taken)

    (call,) = table(files[f"api_statistic_{stamp}.csv"])
    assert (call["API Name"], call["Count"], call["Time(us)"]) == ("acl.rt.malloc", "2", "6.0")
    assert (call["Min(us)"], call["Avg(us)"], call["Max(us)"], call["Variance"]) == (
        "2.0",
        "3.0",
        "4.0",
        "1.0",
    )

    assert [row["kernel_name"] for row in table(files[f"task_time_{stamp}.csv"])] == [
        "MEMCPY_ASYNC",
        "model_3",
        "model_3",
    ]
    summary = table(files[f"op_summary_{stamp}.csv"])
    assert [row["Task Wait Time(us)"] for row in summary] == ["0.5", "1.5"]
    assert [row["Task Duration(us)"] for row in summary] == ["3.0", "1.0"]


def test_shares_of_the_models_are_of_the_whole(tmp_path: Path) -> None:
    tasks = [execution(0, 1_000, model=1), execution(2_000, 5_000, model=2), copy(0, 9_000)]
    files = written(tmp_path, profile(tasks=tasks))
    rows = table(files["op_statistic_20260102030405.csv"])
    assert [(row["OP Type"], row["Ratio(%)"]) for row in rows] == [("model_2", "75.0"), ("model_1", "25.0")]


def test_nothing_collected_leaves_an_empty_trace(tmp_path: Path) -> None:
    files = written(tmp_path, profile())
    assert [path.read_text() for path in files.values()] == ["[]"]


# --- records of executions -------------------------------------------------------------------------


def in_memory(data: bytes) -> tuple[int, Any]:
    buffer = ctypes.create_string_buffer(data, len(data))
    return ctypes.addressof(buffer), buffer


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 2**40)),
        min_size=1,
        max_size=8,
    )
)
def test_records_are_read_back_as_they_were_written(executions: list[tuple[int, int, int]]) -> None:
    data = b"".join(
        records.record_of(execution(500 + start, 500 + start + lasted, model))
        for model, start, lasted in executions
    )
    address, _buffer = in_memory(data)
    assert records.records_in(address, len(data)) == len(executions)
    for index, (model, start, lasted) in enumerate(executions):
        record = records.record_in(address, len(data), index)
        assert record.model == model
        assert record.start == (start + 500) // 1000
        assert record.end == (start + 500 + lasted) // 1000
        assert record.duration == (lasted + 500) // 1000
        assert records.type_of(record, forget=False) == "MODEL_EXECUTE"
        assert records.name_of(record, forget=True) == f"model_{model}"
        with pytest.raises(Failure, match="read before"):
            records.name_of(record, forget=True)


def test_what_is_no_record_is_refused() -> None:
    data = records.record_of(execution(1_000, 2_000))
    address, _buffer = in_memory(data)
    broken, _other = in_memory(data[:-1] + bytes([data[-1] ^ 1]))
    for where, size in ((0, len(data)), (address, len(data) - 1), (broken, len(data))):
        with pytest.raises(Failure) as caught:
            records.records_in(where, size)
        assert caught.value.code == INVALID_PARAM
    with pytest.raises(Failure, match="there are 1 records"):
        records.record_in(address, len(data), 1)

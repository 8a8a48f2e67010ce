"""Profiles, marks and subscriptions: their states and codes, and the files a profile leaves."""

import csv
import ctypes
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract

ACL_API, TASK_TIME, AICORE_METRICS, MARKS = 0x1, 0x2, 0x4, 0x80
NO_METRICS = 0xFF
SIZE = 1 << 16


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where profiles go; whatever a test leaves running is ended."""
    yield tmp_path
    assert acl.prof.finalize() == 0


@pytest.fixture
def make_config(device: int) -> Iterator[Callable[..., int]]:
    made: list[int] = []

    def make(bits: int = ACL_API, metrics: int = NO_METRICS) -> int:
        config = acl.prof.create_config([device], metrics, 0, bits)
        assert config
        made.append(config)
        return config

    yield make
    assert {acl.prof.destroy_config(config) for config in made} <= {0}


@pytest.fixture
def model(om_files: dict[str, Path], device: int) -> Iterator[int]:
    model, ret = acl.mdl.load_from_file(str(om_files["static"]))
    assert ret == 0, acl.get_recent_err_msg()
    yield model
    assert acl.mdl.unload(model) == 0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


# --- states ----------------------------------------------------------------------------------------


def test_profiling_is_initialised_once(folder: Path) -> None:
    """`ProfAclMgr::ProfInitPrecheck` of hicann/runtime: 100002 the second time; finalizing is always 0."""
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.init(str(folder)) == 100002
    assert acl.prof.finalize() == 0
    assert acl.prof.finalize() == 0
    assert acl.prof.init(str(folder)) == 0


@pytest.mark.parametrize("path", ["", "x" * 4096])
def test_a_path_has_bytes_and_an_end(path: str) -> None:
    """`aclprofInit` checks the length of the path: 100000."""
    assert acl.prof.init(path) == 100000


def test_a_profile_starts_once_and_stops_with_what_it_was_started(
    folder: Path, make_config: Callable[..., int]
) -> None:
    """`aclprofStart` with the same bits again is 0, with others 100010; so is `aclprofStop`."""
    assert acl.prof.init(str(folder)) == 0
    calls, tasks = make_config(ACL_API), make_config(TASK_TIME)
    assert acl.prof.start(calls) == 0
    assert acl.prof.start(make_config(ACL_API)) == 0
    assert acl.prof.start(tasks) == 100010
    assert acl.prof.stop(tasks) == 100010
    assert acl.prof.stop(calls) == 0
    assert acl.prof.stop(calls) == 0


def test_starting_initialises(folder: Path, make_config: Callable[..., int], emulator: None) -> None:
    """`aclprofStart` before `aclprofInit` takes the path that was set."""
    assert acl.prof.set_config(16, str(folder)) == 0
    config = make_config()
    assert acl.prof.start(config) == 0
    assert acl.prof.init(str(folder)) == 100002
    assert acl.prof.stop(config) == 0
    assert len(list(folder.iterdir())) == 1


def test_kinds_of_data_and_metrics_there_are_not(folder: Path, make_config: Callable[..., int]) -> None:
    """`aclprofStart`: unknown bits are 200007, unknown AI core metrics 100000."""
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.start(make_config(1 << 60)) == 200007
    assert acl.prof.start(make_config(AICORE_METRICS, metrics=77)) == 100000


@pytest.mark.parametrize(
    ("devices", "events", "bits"),
    [([999], 0, ACL_API), ([0, 0], 0, ACL_API), ([], 0, ACL_API), ([0], 1, ACL_API)],
)
def test_configurations_that_cannot_be(devices: list[int], events: int, bits: int) -> None:
    """`aclprofCreateConfig` gives a null handle for devices that are not there, or events."""
    assert acl.prof.create_config(devices, NO_METRICS, events, bits) == 0


def test_a_configuration_of_marks_needs_no_device() -> None:
    """`aclprofCreateConfig`: an empty list of devices is allowed with the bit for marks."""
    config = acl.prof.create_config([], NO_METRICS, 0, MARKS)
    assert config
    assert acl.prof.destroy_config(config) == 0
    assert acl.prof.destroy_config(0) == 100000


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [(0, "x", 100000), (17, "x", 100000), (16, "x" * 257, 100000), (16, "", 100010)],
)
def test_options_that_cannot_be(kind: int, value: str, code: int) -> None:
    """`aclprofSetConfig` checks the option, the length of its value, and the value."""
    assert acl.prof.set_config(kind, value) == code


def test_a_folder_that_cannot_be_made(folder: Path, make_config: Callable[..., int], emulator: None) -> None:
    """100003: the emulator makes the folder when the profile starts."""
    (folder / "file").write_text("")
    assert acl.prof.init(str(folder / "file")) == 0
    assert acl.prof.start(make_config()) == 100003
    assert "cannot be made" in str(acl.get_recent_err_msg())


# --- files -----------------------------------------------------------------------------------------


def test_the_calls_of_a_program_are_in_the_timeline(
    folder: Path, make_config: Callable[..., int], emulator: None
) -> None:
    """facts/atc_om_soc.md §5.3: layout of what msprof exports; `trace_view` is Chrome's trace format."""
    config = make_config(ACL_API)
    assert acl.prof.init(str(folder)) == 0
    address, ret = acl.rt.malloc(64, 0)
    assert ret == 0
    assert acl.prof.start(config) == 0
    assert acl.rt.memset(address, 64, 0, 64) == 0
    other = threading.Thread(target=acl.rt.get_device_count)
    other.start()
    other.join()
    with pytest.raises(TypeError):
        acl.rt.memset("address", 64, 0, 64)
    assert acl.prof.stop(config) == 0
    assert acl.rt.free(address) == 0

    spans = [event for event in trace(folder) if event["ph"] == "X"]
    assert [span["name"] for span in spans] == ["AscendCL@acl.rt.memset", "AscendCL@acl.rt.get_device_count"]
    assert spans[0]["tid"] == threading.get_native_id() != spans[1]["tid"]
    rows = table(folder, "api_statistic")
    assert {row["API Name"]: row["Count"] for row in rows} == {
        "acl.rt.get_device_count": "1",
        "acl.rt.memset": "1",
    }


def test_each_profile_has_a_folder_of_its_own(
    folder: Path, make_config: Callable[..., int], emulator: None
) -> None:
    """facts/atc_om_soc.md §5.3: `PROF_<number>_<moment>_<letters>`; finalizing ends the one being taken."""
    config = make_config()
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.start(config) == 0
    assert acl.prof.stop(config) == 0
    assert acl.prof.start(config) == 0
    assert acl.prof.finalize() == 0
    assert [path.name[:5] for path in folder.iterdir()] == ["PROF_"] * 2
    assert len(list(folder.glob("PROF_*/mindstudio_profiler_output/msprof_*.json"))) == 2


def test_what_the_card_did_is_in_the_timeline(
    folder: Path, make_config: Callable[..., int], stream: int, model: int, emulator: None
) -> None:
    """facts/atc_om_soc.md §5.3: copies and executions of the streams with the card's times."""
    device_memory, ret = acl.rt.malloc(SIZE, 0)
    assert ret == 0
    host_memory, ret = acl.rt.malloc_host(SIZE)
    assert ret == 0
    config = make_config(TASK_TIME)
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.start(config) == 0
    assert acl.rt.memcpy_async(device_memory, SIZE, host_memory, SIZE, 1, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    run(model)
    assert acl.prof.stop(config) == 0
    assert acl.rt.free(device_memory) == 0
    assert acl.rt.free_host(host_memory) == 0

    spans = [event for event in trace(folder) if event["ph"] == "X"]
    assert [span["name"] for span in spans] == ["MEMCPY_ASYNC", f"model_{model}"]
    assert spans[0]["args"]["size(B)"] == SIZE
    assert spans[0]["args"]["operation"] == "host to device"
    (row,) = table(folder, "op_summary")
    assert row["Op Name"] == f"model_{model}"
    assert float(row["Task Duration(us)"]) > 0


# --- marks -----------------------------------------------------------------------------------------


def test_marks_are_in_the_timeline(folder: Path, make_config: Callable[..., int], emulator: None) -> None:
    """`msprof_tx_manager.cpp`: marker, push/pop and start/end; collected with the bit for marks."""
    config = make_config(MARKS)
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.start(config) == 0
    stamp = acl.prof.create_stamp()
    assert stamp
    assert acl.prof.set_stamp_trace_message(stamp, "decode and more", len("decode")) == 0
    assert acl.prof.mark(stamp) == 0
    assert acl.prof.push(stamp) == 0
    assert acl.prof.pop() == 0
    number, ret = acl.prof.range_start(stamp)
    assert ret == 0
    assert acl.prof.range_stop(number) == 0
    assert acl.prof.destroy_stamp(stamp) is None
    assert acl.prof.stop(config) == 0
    marks = [event for event in trace(folder) if event["ph"] == "X"]
    assert [mark["args"]["event_type"] for mark in marks] == ["marker", "push/pop", "start/end"]
    assert {mark["name"] for mark in marks} == {"decode"}
    assert marks[0]["dur"] == 0 < marks[1]["dur"]


def test_marks_out_of_place(folder: Path, make_config: Callable[..., int]) -> None:
    """`msprof_tx_manager.cpp`: -1, and no stamp at all before a profile that collects marks."""
    assert acl.prof.create_stamp() == 0
    assert acl.prof.pop() == -1
    config = make_config(MARKS)
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.start(config) == 0
    assert acl.prof.pop() == -1
    assert acl.prof.range_stop(123_456_789) == -1
    stamp = acl.prof.create_stamp()
    assert acl.prof.set_stamp_trace_message(stamp, "x" * 128, 128) == -1
    assert acl.prof.destroy_stamp(stamp) is None
    assert acl.prof.stop(config) == 0


def test_a_step_begins_and_ends_once(stream: int) -> None:
    """`aclprofGetStepTimestamp`: 0 begins, 1 ends; once each, else 100000."""
    step = acl.prof.create_step_info()
    assert step
    assert acl.prof.get_step_timestamp(step, 0, stream) == 0
    assert acl.prof.get_step_timestamp(step, 0, stream) == 100000
    assert acl.prof.get_step_timestamp(step, 1, stream) == 0
    assert acl.prof.get_step_timestamp(step, 1, stream) == 100000
    assert acl.prof.destroy_step_info(step) is None


# --- subscriptions ---------------------------------------------------------------------------------


def test_profiles_and_subscriptions_exclude_each_other(
    folder: Path, model: int, pipe: tuple[int, int], make_config: Callable[..., int]
) -> None:
    """`aclprofModelSubscribe` and `aclprofInit`: 148047; a second subscription 148046; no such model 100011."""
    subscription = acl.prof.create_subscribe_config(1, NO_METRICS, pipe[1])
    assert subscription
    assert acl.prof.model_subscribe(999_999, subscription) == 100011
    assert acl.prof.model_subscribe(model, subscription) == 0
    assert acl.prof.model_subscribe(model, subscription) == 148046
    assert acl.prof.init(str(folder)) == 148047
    assert acl.prof.start(make_config()) == 148047
    assert acl.prof.finalize() == 148047
    assert acl.prof.model_unsubscribe(model) == 0
    assert acl.prof.model_un_subscribe(model) == 100011
    assert acl.prof.init(str(folder)) == 0
    assert acl.prof.model_subscribe(model, subscription) == 148047
    assert acl.prof.destroy_subscribe_config(subscription) == 0


def test_records_of_executions_come_through_the_pipe(
    model: int, pipe: tuple[int, int], emulator: None
) -> None:
    """facts/pyacl.md §14.1: records are read from the pipe and asked for by their number."""
    reader, writer = pipe
    subscription = acl.prof.create_subscribe_config(1, NO_METRICS, writer)
    assert acl.prof.model_subscribe(model, subscription) == 0
    for _ in range(2):
        run(model)
    assert acl.prof.model_unsubscribe(model) == 0
    assert acl.prof.destroy_subscribe_config(subscription) == 0
    size, ret = acl.prof.get_op_desc_size()
    assert ret == 0
    data = os.read(reader, 16 * size)
    buffer = ctypes.create_string_buffer(data, len(data))
    place = ctypes.addressof(buffer), len(data)
    assert acl.prof.get_op_num(*place) == (2, 0)
    for index in range(2):
        assert acl.prof.get_model_id(*place, index) == model
        room, ret = acl.prof.get_op_name_len(*place, index)
        assert ret == 0
        assert acl.prof.get_op_name(*place, index, room) == (f"model_{model}", 0)
        assert acl.prof.get_op_start(*place, index) <= acl.prof.get_op_end(*place, index)
    assert acl.prof.get_op_start(*place, 0) <= acl.prof.get_op_start(*place, 1)


def test_what_is_no_record_is_refused() -> None:
    """`op_desc_parser.cpp`: sizes are whole records, and each record is signed; else 100000."""
    size, ret = acl.prof.get_op_desc_size()
    assert ret == 0
    buffer = ctypes.create_string_buffer(size)
    assert acl.prof.get_op_num(ctypes.addressof(buffer), size) == (0, 100000)
    assert acl.prof.get_op_num(ctypes.addressof(buffer), size - 1) == (0, 100000)
    assert acl.prof.get_op_num(0, size) == (0, 100000)


def trace(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("PROF_*/mindstudio_profiler_output/msprof_*.json")
    events: list[dict[str, Any]] = json.loads(path.read_text())
    return events


def table(folder: Path, name: str) -> list[dict[str, str]]:
    (path,) = folder.glob(f"PROF_*/mindstudio_profiler_output/{name}_*.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(model: int) -> None:
    """Execute a model once, with whatever is in its memory."""
    desc = acl.mdl.create_desc()
    assert acl.mdl.get_desc(desc, model) == 0
    datasets = []
    for count, size_of in (
        (acl.mdl.get_num_inputs, acl.mdl.get_input_size_by_index),
        (acl.mdl.get_num_outputs, acl.mdl.get_output_size_by_index),
    ):
        dataset = acl.mdl.create_dataset()
        for index in range(count(desc)):
            address, ret = acl.rt.malloc(size_of(desc, index), 0)
            assert ret == 0
            assert acl.rt.memset(address, size_of(desc, index), 0, size_of(desc, index)) == 0
            acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(address, size_of(desc, index)))
        datasets.append(dataset)
    assert acl.mdl.execute(model, *datasets) == 0
    for dataset in datasets:
        for index in range(acl.mdl.get_dataset_num_buffers(dataset)):
            buffer = acl.mdl.get_dataset_buffer(dataset, index)
            assert acl.rt.free(acl.get_data_buffer_addr(buffer)) == 0
            assert acl.destroy_data_buffer(buffer) == 0
        assert acl.mdl.destroy_dataset(dataset) == 0
    assert acl.mdl.destroy_desc(desc) == 0

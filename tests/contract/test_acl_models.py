"""Loading, describing and running models, with and without gears."""

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import acl
import numpy as np
import pytest

pytestmark = pytest.mark.contract

HIDDEN = "ascend_mbatch_shape_data"


@dataclass
class Loaded:
    """A loaded model with one set of buffers."""

    model: int
    desc: int
    inputs: int
    outputs: int
    addresses: list[tuple[int, int]] = field(default_factory=list)

    def close(self) -> None:
        assert acl.mdl.unload(self.model) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        for dataset in (self.inputs, self.outputs):
            for index in range(acl.mdl.get_dataset_num_buffers(dataset)):
                assert acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, index)) == 0
            assert acl.mdl.destroy_dataset(dataset) == 0
        assert {acl.rt.free(address) for address, _ in self.addresses} == {0}

    def put(self, rows: np.ndarray) -> None:
        address, size = self.addresses[0]
        assert acl.rt.memcpy(address, size, rows.ctypes.data, rows.nbytes, 1) == 0

    def take(self, rows: int) -> np.ndarray:
        out = np.empty((rows, 4), np.float32)
        assert acl.rt.memcpy(out.ctypes.data, out.nbytes, self.addresses[-1][0], out.nbytes, 2) == 0
        return out


def load(path: Path) -> Loaded:
    model, ret = acl.mdl.load_from_file(str(path))
    assert ret == 0, acl.get_recent_err_msg()
    desc = acl.mdl.create_desc()
    assert acl.mdl.get_desc(desc, model) == 0
    loaded = Loaded(model, desc, acl.mdl.create_dataset(), acl.mdl.create_dataset())
    sizes = [
        (loaded.inputs, acl.mdl.get_input_size_by_index(desc, i)) for i in range(acl.mdl.get_num_inputs(desc))
    ] + [
        (loaded.outputs, acl.mdl.get_output_size_by_index(desc, i))
        for i in range(acl.mdl.get_num_outputs(desc))
    ]
    for dataset, size in sizes:
        address, ret = acl.rt.malloc(size, 0)
        assert ret == 0
        loaded.addresses.append((address, size))
        assert acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(address, size)) == (dataset, 0)
    return loaded


def expected(om_files: dict[str, Path], rows: np.ndarray) -> np.ndarray:
    with np.load(om_files["weights"]) as weights:
        return np.maximum(rows @ weights["w"], 0) + weights["b"]


@pytest.fixture
def gears(device: int, om_files: dict[str, Path]) -> Iterator[Loaded]:
    loaded = load(om_files["gears"])
    yield loaded
    loaded.close()


@pytest.fixture
def static(device: int, om_files: dict[str, Path]) -> Iterator[Loaded]:
    loaded = load(om_files["static"])
    yield loaded
    loaded.close()


def random_rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def test_a_static_model_describes_itself(static: Loaded) -> None:
    desc = static.desc
    assert (acl.mdl.get_num_inputs(desc), acl.mdl.get_num_outputs(desc)) == (1, 1)
    assert acl.mdl.get_input_dims(desc, 0) == ({"name": "x", "dimCount": 2, "dims": [4, 8]}, 0)
    assert acl.mdl.get_input_dims_v2(desc, 0) == acl.mdl.get_input_dims(desc, 0)
    assert acl.mdl.get_input_size_by_index(desc, 0) == 128
    assert acl.mdl.get_output_size_by_index(desc, 0) >= 64
    name = acl.mdl.get_output_name_by_index(desc, 0)
    assert name.split(":") == ["shift", "0", "z"]
    assert acl.mdl.get_output_dims(desc, 0) == ({"name": name, "dimCount": 2, "dims": [4, 4]}, 0)
    assert acl.mdl.get_cur_output_dims(desc, 0) == acl.mdl.get_output_dims(desc, 0)
    assert acl.mdl.get_output_index_by_name(desc, name) == (0, 0)
    assert acl.mdl.get_input_index_by_name(desc, "x") == (0, 0)
    assert acl.mdl.get_input_index_by_name(desc, HIDDEN) == (0, 100000)
    assert acl.mdl.get_input_data_type(desc, 0) == acl.mdl.get_output_data_type(desc, 0) == 0
    assert acl.mdl.get_input_format(desc, 0) in (0, 2)
    assert acl.mdl.get_dynamic_batch(desc) == ({"batchCount": 0, "batch": []}, 0)
    assert acl.mdl.get_dynamic_hw(desc, -1) == ({"hwCount": 0, "hw": []}, 0)
    assert acl.mdl.get_input_dynamic_gear_count(desc, -1) == (0, 0)
    assert acl.mdl.get_input_dynamic_gear_count(desc, 0) == (0, 100000)
    assert acl.mdl.get_input_dynamic_dims(desc, -1, 0) == ([], 0)
    assert acl.mdl.get_input_dynamic_dims(desc, -1, 5000) == (None, 100000)
    assert acl.mdl.get_tensor_real_name(desc, "x") == "x"
    assert acl.mdl.get_tensor_real_name(desc, "nothing") is None


def test_a_bad_index_gives_the_empty_answer_of_each_function(static: Loaded) -> None:
    desc = static.desc
    assert acl.mdl.get_input_size_by_index(desc, 1) == acl.mdl.get_output_size_by_index(desc, 1) == 0
    assert acl.mdl.get_input_dims(desc, 1) == ({}, 100000)
    assert acl.mdl.get_cur_output_dims(desc, 1) == ({}, 100000)
    assert acl.mdl.get_input_name_by_index(desc, 1) == ""
    assert acl.mdl.get_input_data_type(desc, 1) == acl.mdl.get_output_format(desc, 1) == -1


def test_a_model_with_gears_has_the_hidden_input_last(gears: Loaded) -> None:
    desc = gears.desc
    assert acl.mdl.get_num_inputs(desc) == 2
    assert acl.mdl.get_input_index_by_name(desc, HIDDEN) == (1, 0)
    assert acl.mdl.get_input_dims(desc, 1) == ({"name": HIDDEN, "dimCount": 1, "dims": [1]}, 0)
    assert acl.mdl.get_input_dims(desc, 0)[0]["dims"] == [-1, 8]
    assert acl.mdl.get_input_size_by_index(desc, 0) == 8 * 8 * 4
    assert acl.mdl.get_dynamic_batch(desc) == ({"batchCount": 4, "batch": [1, 2, 4, 8]}, 0)
    assert acl.mdl.get_dynamic_hw(desc, -1) == ({"hwCount": 0, "hw": []}, 0)
    assert acl.mdl.get_output_dims(desc, 0)[0]["dims"] == [8, 4]


@pytest.mark.ascend_findings("double-free")
def test_model_ids_are_positive_and_new(static: Loaded, om_files: dict[str, Path]) -> None:
    second = load(om_files["static"])
    assert 0 < static.model < second.model
    second.close()
    assert acl.mdl.unload(second.model) == 145003
    assert acl.mdl.get_desc(static.desc, second.model) == 145003


def test_execute_computes(static: Loaded, om_files: dict[str, Path]) -> None:
    for seed in range(3):
        rows = random_rows(4, seed)
        static.put(rows)
        assert acl.mdl.execute(static.model, static.inputs, static.outputs) == 0
        np.testing.assert_allclose(static.take(4), expected(om_files, rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gear", [1, 2, 4, 8])
def test_each_gear_runs_its_rows_and_leaves_the_others(
    gears: Loaded, om_files: dict[str, Path], gear: int
) -> None:
    rows = random_rows(8)
    gears.put(rows)
    address, size = gears.addresses[-1]
    assert acl.rt.memset(address, size, 0, size) == 0
    assert acl.mdl.set_dynamic_batch_size(gears.model, gears.inputs, 1, gear) == 0
    assert acl.mdl.get_cur_output_dims(gears.desc, 0)[0]["dims"] == [gear, 4]
    assert acl.mdl.execute(gears.model, gears.inputs, gears.outputs) == 0
    result = gears.take(8)
    np.testing.assert_allclose(result[:gear], expected(om_files, rows[:gear]), rtol=1e-5, atol=1e-5)
    assert not result[gear:].any()


def test_a_gear_never_set_is_the_largest(gears: Loaded, om_files: dict[str, Path]) -> None:
    rows = random_rows(8)
    gears.put(rows)
    assert acl.mdl.get_cur_output_dims(gears.desc, 0)[0]["dims"] == [8, 4]
    assert acl.mdl.execute(gears.model, gears.inputs, gears.outputs) == 0
    np.testing.assert_allclose(gears.take(8), expected(om_files, rows), rtol=1e-5, atol=1e-5)


def test_wrong_gears_are_refused(gears: Loaded, static: Loaded) -> None:
    model, inputs = gears.model, gears.inputs
    assert acl.mdl.set_dynamic_batch_size(model, inputs, 1, 3) == 145013
    assert acl.mdl.set_dynamic_batch_size(model, inputs, 1, 0) == 100000
    assert acl.mdl.set_dynamic_batch_size(model, inputs, 7, 4) == 100000
    assert acl.mdl.set_dynamic_batch_size(static.model, static.inputs, 0, 4) == 145013
    assert acl.mdl.set_dynamic_hw_size(model, inputs, 1, 224, 224) == 145012  # 4 bytes hold one number
    assert acl.mdl.set_input_dynamic_dims(model, inputs, 1, {"dimCount": 1, "dims": [4]}) == 145012
    assert acl.mdl.set_input_dynamic_dims(model, inputs, 1, {"dimCount": 0, "dims": []}) == 100000
    hidden = acl.mdl.get_dataset_buffer(inputs, 1)
    address = acl.get_data_buffer_addr(hidden)
    assert acl.update_data_buffer(hidden, 0, 4) == 0
    assert acl.mdl.set_dynamic_batch_size(model, inputs, 1, 4) == 100000
    assert acl.update_data_buffer(hidden, address, 2) == 0
    assert acl.mdl.set_dynamic_batch_size(model, inputs, 1, 4) == 145012


def test_datasets_are_checked(static: Loaded) -> None:
    model, inputs, outputs = static.model, static.inputs, static.outputs
    empty = acl.mdl.create_dataset()
    assert acl.mdl.execute(model, empty, outputs) == 145000
    assert acl.mdl.execute(model, inputs, empty) == 145000
    assert acl.mdl.execute(0, inputs, outputs) == 145003
    assert acl.mdl.destroy_dataset(empty) == 0
    buffer = acl.mdl.get_dataset_buffer(inputs, 0)
    address = acl.get_data_buffer_addr(buffer)
    for change, code in (((0, 128), 100000), ((address, 128 - 65), 145000), ((address, 128), 0)):
        assert acl.update_data_buffer(buffer, *change) == 0
        assert acl.mdl.execute(model, inputs, outputs) == code


def test_buffers_larger_than_the_tensor_are_fine(static: Loaded, om_files: dict[str, Path]) -> None:
    address, ret = acl.rt.malloc(4096, 0)
    assert ret == 0
    buffer = acl.mdl.get_dataset_buffer(static.inputs, 0)
    small = acl.get_data_buffer_addr(buffer)
    rows = random_rows(4)
    assert acl.rt.memcpy(address + 64, 4032, rows.ctypes.data, rows.nbytes, 1) == 0
    assert acl.update_data_buffer(buffer, address + 64, 4032) == 0
    assert acl.mdl.execute(static.model, static.inputs, static.outputs) == 0
    np.testing.assert_allclose(static.take(4), expected(om_files, rows), rtol=1e-5, atol=1e-5)
    assert acl.update_data_buffer(buffer, small, 128) == 0
    assert acl.rt.free(address) == 0


@pytest.mark.usefixtures("emulator")
def test_a_short_output_gets_what_it_holds(static: Loaded, om_files: dict[str, Path]) -> None:
    rows = random_rows(4)
    static.put(rows)
    address, size = static.addresses[-1]
    assert acl.rt.memset(address, size, 0, size) == 0
    buffer = acl.mdl.get_dataset_buffer(static.outputs, 0)
    assert acl.update_data_buffer(buffer, address, 32) == 0
    assert acl.mdl.execute(static.model, static.inputs, static.outputs) == 0
    result = static.take(4)
    np.testing.assert_allclose(result[:2], expected(om_files, rows)[:2], rtol=1e-5, atol=1e-5)
    assert not result[2:].any()


def test_the_system_allocates_an_empty_output(static: Loaded, om_files: dict[str, Path]) -> None:
    rows = random_rows(4)
    static.put(rows)
    buffer = acl.mdl.get_dataset_buffer(static.outputs, 0)
    own = acl.get_data_buffer_addr(buffer)
    assert acl.update_data_buffer(buffer, 0, 0) == 0
    assert acl.mdl.execute(static.model, static.inputs, static.outputs) == 0
    made = acl.get_data_buffer_addr(buffer)
    out = np.empty((4, 4), np.float32)
    assert acl.rt.memcpy(out.ctypes.data, 64, made, 64, 2) == 0
    np.testing.assert_allclose(out, expected(om_files, rows), rtol=1e-5, atol=1e-5)
    assert acl.rt.free(made) == 0
    assert acl.update_data_buffer(buffer, own, 64) == 0


def test_a_pipeline_of_batches_mixes_no_rows(gears: Loaded, om_files: dict[str, Path], device: int) -> None:
    streams = [acl.rt.create_stream()[0] for _ in range(3)]
    events = [acl.rt.create_event()[0] for _ in range(3)]
    host, ret = acl.rt.malloc_host(256)
    assert ret == 0
    back, ret = acl.rt.malloc_host(128)
    assert ret == 0
    address, size = gears.addresses[0]
    out, out_size = gears.addresses[-1]
    for round_ in range(60):
        gear = (1, 2, 4, 8)[round_ % 4]
        rows = random_rows(gear, round_)
        ctypes.memmove(host, rows.ctypes.data, rows.nbytes)
        assert acl.mdl.set_dynamic_batch_size(gears.model, gears.inputs, 1, gear) == 0
        assert acl.rt.memcpy_async(address, size, host, rows.nbytes, 1, streams[0]) == 0
        assert acl.rt.record_event(events[0], streams[0]) == 0
        assert acl.rt.stream_wait_event(streams[1], events[0]) == 0
        assert acl.mdl.execute_async(gears.model, gears.inputs, gears.outputs, streams[1]) == 0
        assert acl.rt.record_event(events[1], streams[1]) == 0
        assert acl.rt.stream_wait_event(streams[2], events[1]) == 0
        assert acl.rt.memcpy_async(back, 128, out, min(out_size, gear * 16), 2, streams[2]) == 0
        assert acl.rt.record_event(events[2], streams[2]) == 0
        assert acl.rt.synchronize_event(events[2]) == 0
        result = np.frombuffer(acl.util.ptr_to_bytes(back, gear * 16), np.float32).reshape(gear, 4)
        np.testing.assert_allclose(result, expected(om_files, rows), rtol=1e-5, atol=1e-5)
    assert {acl.rt.destroy_event(event) for event in events} == {0}
    assert {acl.rt.destroy_stream(stream) for stream in streams} == {0}
    assert [acl.rt.free_host(host), acl.rt.free_host(back)] == [0, 0]


def test_execute_runs_beside_busy_streams(static: Loaded, om_files: dict[str, Path]) -> None:
    stream, _ = acl.rt.create_stream()
    busy = [load(om_files["gears"]) for _ in range(5)]
    rows = random_rows(4)
    static.put(rows)
    for each in busy:
        each.put(random_rows(8))
    for _ in range(50):
        for each in busy:
            assert acl.mdl.execute_async(each.model, each.inputs, each.outputs, stream) == 0
        assert acl.mdl.execute(static.model, static.inputs, static.outputs) == 0
        assert acl.rt.synchronize_stream(stream) == 0
    np.testing.assert_allclose(static.take(4), expected(om_files, rows), rtol=1e-5, atol=1e-5)
    assert acl.rt.destroy_stream(stream) == 0
    for each in busy:
        each.close()


def test_a_model_loads_from_memory_that_goes_away(device: int, om_files: dict[str, Path]) -> None:
    content = om_files["static"].read_bytes()
    memory = ctypes.create_string_buffer(content, len(content))
    model, ret = acl.mdl.load_from_mem(ctypes.addressof(memory), len(content))
    assert ret == 0
    ctypes.memset(memory, 0, len(content))
    desc = acl.mdl.create_desc()
    assert acl.mdl.get_desc(desc, model) == 0
    assert acl.mdl.get_num_inputs(desc) == 1
    assert acl.mdl.destroy_desc(desc) == 0
    assert acl.mdl.unload(model) == 0


@pytest.mark.usefixtures("emulator")
def test_what_cannot_be_loaded_says_why(device: int, om_files: dict[str, Path], tmp_path: Path) -> None:
    assert acl.mdl.load_from_file(str(tmp_path / "none.om")) == (0, 145002)
    assert acl.mdl.load_from_mem(0, 0) == (0, 100000)
    whole = om_files["static"].read_bytes()
    for name, content, code in (
        ("short", whole[: len(whole) // 2], 145006),
        ("empty", b"", 145002),
        ("text", b"no model" * 100, 145006),
    ):
        path = tmp_path / f"{name}.om"
        path.write_bytes(content)
        assert acl.mdl.load_from_file(str(path)) == (0, code)
    assert acl.mdl.load_from_file(str(om_files["foreign"])) == (0, 145000)
    message = acl.get_recent_err_msg()
    assert message is not None
    assert "E10001" in message
    assert "Ascend910B3" in message


@pytest.mark.usefixtures("emulator")
def test_a_damaged_model_is_refused_and_the_card_goes_on(device: int, om_files: dict[str, Path]) -> None:
    whole = om_files["static"].read_bytes()
    for old, new, code in (
        (b"MatMul", b"MatNul", 545001),
        (b"\x0a\x01w", b"\x0a\x01v", 545001),
        (struct.pack("<2q", 4, 8), struct.pack("<2q", 4, 9), 545001),
        (b"Ascend310P3", b"Ascend310X3", 145000),
    ):
        assert old in whole
        damaged = whole.replace(old, new)
        assert acl.mdl.load_from_mem(acl.util.bytes_to_ptr(damaged), len(damaged)) == (0, code)
    block, ret = acl.rt.malloc(64, 0)
    assert (ret, acl.rt.free(block)) == (0, 0)


@pytest.mark.usefixtures("emulator")
def test_values_a_network_cannot_take_fail_that_execution_alone(device: int, tmp_path: Path) -> None:
    import onnx
    from ascend_emulator.atc import main

    text = "net (int64[2] i) => (float[2] y) <float[3] t = {5,6,7}> { y = Gather(t, i) }"
    onnx.save(
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}'), tmp_path / "net.onnx"
    )
    options = ["--framework=5", f"--soc_version={acl.get_soc_name()}", f"--model={tmp_path}/net.onnx"]
    assert main([*options, f"--output={tmp_path}/net"]) == 0
    loaded = load(tmp_path / "net.om")
    stream, _ = acl.rt.create_stream()
    for indices, code in (([0, 9], 507011), ([2, 1], 0)):
        loaded.put(np.array(indices))
        assert acl.mdl.execute(loaded.model, loaded.inputs, loaded.outputs) == code
        assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 0
        assert acl.rt.synchronize_stream(stream) == code
    out = np.empty(2, np.float32)
    assert acl.rt.memcpy(out.ctypes.data, 8, loaded.addresses[-1][0], 8, 2) == 0
    assert out.tolist() == [7, 6]
    assert acl.rt.destroy_stream(stream) == 0
    loaded.close()


@pytest.mark.usefixtures("emulator")
def test_a_model_that_cann_compiled_is_refused_by_name(
    device: int, om_files: dict[str, Path], tmp_path: Path
) -> None:
    content = bytearray(om_files["static"].read_bytes())
    content[120:152] = bytes(32)  # userdefineinfo: zero in every file of CANN
    path = tmp_path / "cann.om"
    path.write_bytes(content)
    assert acl.mdl.load_from_file(str(path)) == (0, 545001)
    message = acl.get_recent_err_msg()
    assert message is not None
    assert "CANN compiled" in message


@pytest.mark.usefixtures("emulator")
def test_a_model_takes_memory_of_the_card(device: int, om_files: dict[str, Path]) -> None:
    def free() -> int:
        return max(acl.rt.get_mem_info(kind)[0] for kind in (0, 1))

    before = free()
    work, weight, ret = acl.mdl.query_size(str(om_files["static"]))
    assert ret == 0
    model, ret = acl.mdl.load_from_file(str(om_files["static"]))
    assert ret == 0
    assert before - free() == work + weight > 0
    assert acl.mdl.unload(model) == 0
    assert free() == before
    block, ret = acl.rt.malloc(before - (work + weight) // 2 - 128, 0)
    assert ret == 0
    assert acl.mdl.load_from_file(str(om_files["static"])) == (0, 245000)
    assert acl.rt.free(block) == 0


@pytest.mark.ascend_findings("double-free")
def test_models_of_a_reset_device_can_still_be_unloaded_once(device: int, om_files: dict[str, Path]) -> None:
    model, ret = acl.mdl.load_from_file(str(om_files["static"]))
    assert ret == 0
    assert acl.rt.reset_device(0) == 0
    assert acl.mdl.unload(model) == 0
    assert acl.mdl.unload(model) == 145003
    assert acl.rt.set_device(0) == 0

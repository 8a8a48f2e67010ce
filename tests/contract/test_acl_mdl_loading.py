"""Every way to load a model: with memory of the program's own, by a configuration, as a bundle; and without loading."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.models import Loaded, compiled

pytestmark = pytest.mark.contract

LONG = "t" * 128


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("loading")
    text = "net (float[2,4] x) => (float[2,4] z) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) z = Add(y, x) }"
    return {
        "plain": compiled(folder, "plain", text, "--input_shape=x:2,4"),
        "long": compiled(folder, "long", text.replace("x", LONG), f"--input_shape={LONG}:2,4"),
    }


@pytest.fixture
def own(device: int, om: dict[str, Path]) -> Iterator[tuple[int, int, int, int]]:
    """Memory for a model: (working memory, bytes, weights' memory, bytes)."""
    work, weights, ret = acl.mdl.query_size(str(om["plain"]))
    assert ret == 0
    memory = [acl.rt.malloc(size, 0)[0] for size in (work, weights)]
    yield memory[0], work, memory[1], weights
    assert [acl.rt.free(address) for address in memory] == [0, 0]


def free_bytes() -> int:
    return max(acl.rt.get_mem_info(kind)[0] for kind in (0, 1))


def check(model: int) -> None:
    """Run a loaded `plain` and unload it."""
    loaded = Loaded(model)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    loaded.put(0, x)
    assert loaded.run() == 0
    assert (loaded.take((2, 4)) == x * [2, 3, 4, 5]).all()
    loaded.close()


def test_sizes_are_told_by_file_and_by_memory(device: int, om: dict[str, Path], tmp_path: Path) -> None:
    """facts/pyacl.md §9.1; GE `model_manager.cc` GetModelMemAndWeightSize: data that is no model is 145000."""
    content = om["plain"].read_bytes()
    told = acl.mdl.query_size(str(om["plain"]))
    assert told[2] == 0
    assert min(told[:2]) > 0
    assert acl.mdl.query_size_from_mem(acl.util.bytes_to_ptr(content), len(content)) == told
    assert acl.mdl.query_size_from_mem(0, 100) == (0, 0, 100000)
    assert acl.mdl.query_size_from_mem(acl.util.bytes_to_ptr(content), 100) == (0, 0, 100000)
    assert acl.mdl.query_size(str(tmp_path / "none.om")) == (0, 0, 145002)
    (tmp_path / "text.om").write_bytes(b"no model" * 100)
    assert acl.mdl.query_size(str(tmp_path / "text.om")) == (0, 0, 145000)


@pytest.mark.usefixtures("emulator")
def test_memory_of_the_program_is_not_taken_from_the_card(
    own: tuple[int, int, int, int], om: dict[str, Path]
) -> None:
    """facts/pyacl.md §9.1: sizes from `query_size`; address 0 leaves it to the system."""
    before = free_bytes()
    model, ret = acl.mdl.load_from_file_with_mem(str(om["plain"]), *own)
    assert ret == 0, acl.get_recent_err_msg()
    assert free_bytes() == before
    check(model)
    model, ret = acl.mdl.load_from_file_with_mem(str(om["plain"]), 0, 0, own[2], own[3])
    assert ret == 0
    assert before - free_bytes() == own[1]
    check(model)
    assert free_bytes() == before


def test_a_model_in_memory_with_memory(own: tuple[int, int, int, int], om: dict[str, Path]) -> None:
    """facts/pyacl.md §9.1, `load_from_mem_with_mem`."""
    content = om["plain"].read_bytes()
    model, ret = acl.mdl.load_from_mem_with_mem(acl.util.bytes_to_ptr(content), len(content), *own)
    assert ret == 0, acl.get_recent_err_msg()
    check(model)


def test_memory_that_is_too_small_is_refused(own: tuple[int, int, int, int], om: dict[str, Path]) -> None:
    """GE `davinci_model.cc` InitWeightMem and InitFeatureMapAndP2PMem: 145000."""
    work, work_bytes, weights, weight_bytes = own
    path = str(om["plain"])
    assert acl.mdl.load_from_file_with_mem(path, work, work_bytes - 1, weights, weight_bytes) == (0, 145000)
    assert acl.mdl.load_from_file_with_mem(path, work, work_bytes, weights, weight_bytes - 1) == (0, 145000)


@pytest.mark.usefixtures("emulator")
def test_memory_that_is_none_of_the_device_is_refused(
    own: tuple[int, int, int, int], om: dict[str, Path]
) -> None:
    """The emulator looks at load (145000) at what a card would trip over later."""
    work, work_bytes, weights, weight_bytes = own
    host = ctypes.create_string_buffer(weight_bytes)
    path = str(om["plain"])
    for bad in (ctypes.addressof(host), weights + (1 << 30), 1):
        assert acl.mdl.load_from_file_with_mem(path, work, work_bytes, bad, weight_bytes) == (0, 145000)


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("free-in-flight")
def test_memory_freed_under_a_model_fails_its_executions(
    own: tuple[int, int, int, int], om: dict[str, Path]
) -> None:
    """facts/pyacl.md §9.1: the memory is to be freed after `unload`; a core that reads it otherwise gets 507015."""
    work, work_bytes, _, weight_bytes = own
    weights, ret = acl.rt.malloc(weight_bytes, 0)
    assert ret == 0
    model, ret = acl.mdl.load_from_file_with_mem(str(om["plain"]), work, work_bytes, weights, weight_bytes)
    assert ret == 0
    loaded = Loaded(model)
    assert acl.rt.free(weights) == 0
    assert loaded.run() == 507015
    loaded.close()


def test_models_fed_through_queues_are_not_there(device: int, om: dict[str, Path]) -> None:
    """GE `model.cpp` aclmdlCheckQueueParam: no queues 100000; `model_om2.cpp`: not supported, 200001."""
    content = om["plain"].read_bytes()
    address = acl.util.bytes_to_ptr(content)
    for ids, count, code in ((0, 1, 100000), (address, 0, 100000), (address, 1, 200001)):
        assert acl.mdl.load_from_file_with_q(str(om["plain"]), ids, count, ids, count) == (0, code)
        assert acl.mdl.load_from_mem_with_q(address, len(content), ids, count, ids, count) == (0, code)


@pytest.mark.usefixtures("emulator")
def test_no_address_crashes_a_load(device: int) -> None:
    """Nothing reads memory that is not there: 100000."""
    for address in (1, 1 << 20, (1 << 47) - 4096, (1 << 64) - 1):
        assert acl.mdl.load_from_mem(address, 4096) == (0, 100000)
        assert acl.mdl.bundle_load_from_mem(address, 4096) == (0, 100000)
        assert acl.mdl.query_size_from_mem(address, 4096) == (0, 0, 100000)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_configuration_loads(own: tuple[int, int, int, int], om: dict[str, Path], kind: int) -> None:
    """facts/pyacl.md §15.8: the load type and what belongs to it."""
    content = om["plain"].read_bytes()
    config = acl.mdl.create_config_handle()
    options: list[tuple[int, object]] = [(0, 0), (1, kind), (13, 1)]
    if kind in (1, 2):
        options.append((2, str(om["plain"])))
    else:
        options += [(3, acl.util.bytes_to_ptr(content)), (4, len(content))]
    if kind in (2, 4):
        options += [(7, own[0]), (8, own[1]), (5, own[2]), (6, own[3])]
    assert acl.mdl.load_with_config(config) == (0, 100000)
    for attr, value in options:
        assert acl.mdl.set_config_opt(config, attr, value) == 0
    model, ret = acl.mdl.load_with_config(config)
    assert ret == 0, acl.get_recent_err_msg()
    assert acl.mdl.destroy_config_handle(config) == 0
    check(model)


def test_a_configuration_checks_values(device: int) -> None:
    """GE `model_config_om2.cpp`: ranges and nulls are 100000; the binding: a value of another type is TypeError."""
    config = acl.mdl.create_config_handle()
    for attr, value in ((0, 8), (0, -1), (1, 0), (1, 7), (3, 0), (10, 0), (13, 2), (15, 1), (99, 0), (-1, 0)):
        assert acl.mdl.set_config_opt(config, attr, value) == 100000
    assert acl.mdl.set_config_opt(config, 5, 0) == 0
    assert acl.mdl.set_config_opt(0, 0, 0) == 100000
    for attr, value in ((0, "0"), (0, 1 << 31), (2, 5), (2, b"x.om"), (2, None), (3, "x"), (4, 1.0)):
        with pytest.raises(TypeError):
            acl.mdl.set_config_opt(config, attr, value)
    assert acl.mdl.destroy_config_handle(config) == 0
    assert acl.mdl.destroy_config_handle(0) == 100000


def test_a_configuration_that_says_too_little_loads_nothing(device: int, om: dict[str, Path]) -> None:
    """GE `model_common.cpp` CheckMdlConfigHandle: 100000."""
    for options in (
        [(1, 1)],
        [(1, 3)],
        [(1, 3), (4, 100)],
        [(1, 1), (2, str(om["plain"])), (14, 1)],
        [(1, 5), (2, str(om["plain"]))],
    ):
        config = acl.mdl.create_config_handle()
        for attr, value in options:
            assert acl.mdl.set_config_opt(config, attr, value) == 0
        assert acl.mdl.load_with_config(config) == (0, 100000)
        assert acl.mdl.destroy_config_handle(config) == 0


@pytest.fixture
def bundle(om: dict[str, Path], tmp_path: Path, emulator: None) -> Path:
    from ascend_emulator.om_bundle import write_bundle

    path = tmp_path / "bundle.om"
    path.write_bytes(write_bundle([om["plain"].read_bytes()] * 2))
    return path


@pytest.mark.parametrize("from_memory", [False, True])
@pytest.mark.ascend_findings("double-free")
def test_a_bundle_holds_models(device: int, bundle: Path, from_memory: bool) -> None:
    """facts/pyacl.md §9.1; GE `model.cpp` aclmdlBundle*: its models are run by their ids and unloaded with it."""
    if from_memory:
        content = bundle.read_bytes()
        ident, ret = acl.mdl.bundle_load_from_mem(acl.util.bytes_to_ptr(content), len(content))
    else:
        ident, ret = acl.mdl.bundle_load_from_file(str(bundle))
    assert ret == 0, acl.get_recent_err_msg()
    assert acl.mdl.bundle_get_model_num(ident) == (2, 0)
    models = [acl.mdl.bundle_get_model_id(ident, index) for index in range(2)]
    assert {ret for _, ret in models} == {0}
    assert acl.mdl.bundle_get_model_id(ident, 2) == (0, 100000)
    for model, _ in models:
        loaded = Loaded(model)
        loaded.put(0, np.ones((2, 4), np.float32))
        assert loaded.run() == 0
        assert loaded.take((2, 4)).tolist() == [[2, 3, 4, 5]] * 2
        assert acl.mdl.unload(model) == 100000
        loaded.close(unload=False)
    assert acl.mdl.unload(ident) == 145003
    assert acl.mdl.bundle_unload(ident) == 0
    assert acl.mdl.bundle_unload(ident) == 148053
    assert acl.mdl.bundle_get_model_num(ident) == (0, 148053)
    assert acl.mdl.bundle_get_model_id(ident, 0) == (0, 148053)
    assert acl.mdl.unload(models[0][0]) == 145003


def test_what_is_no_bundle(device: int, om: dict[str, Path], bundle: Path, tmp_path: Path) -> None:
    """GE `model.cpp` GetBundleNumAndOffset: 100000; no such file 145002; and a bundle is no model."""
    assert acl.mdl.bundle_load_from_file(str(om["plain"])) == (0, 100000)
    assert acl.mdl.bundle_load_from_file(str(tmp_path / "none")) == (0, 145002)
    assert acl.mdl.bundle_load_from_mem(0, 0) == (0, 100000)
    assert acl.mdl.load_from_file(str(bundle)) == (0, 145006)


@pytest.mark.usefixtures("emulator")
def test_a_bundle_is_loaded_whole_or_not_at_all(device: int, om: dict[str, Path], tmp_path: Path) -> None:
    """GE `model.cpp` BundleLoadFromMem unloads what it has loaded when a model fails."""
    from ascend_emulator.om_bundle import write_bundle

    content = om["plain"].read_bytes()
    before = free_bytes()
    path = tmp_path / "broken.om"
    path.write_bytes(write_bundle([content, content.replace(b"Mul", b"Nul")]))
    assert acl.mdl.bundle_load_from_file(str(path))[1] == 545001
    assert free_bytes() == before


def test_a_description_needs_no_loaded_model(device: int, om: dict[str, Path], tmp_path: Path) -> None:
    """facts/pyacl.md §9.2 `get_desc_from_file`; what asks the executor does not find the model: 145003."""
    content = om["plain"].read_bytes()
    desc = acl.mdl.create_desc()
    for ret in (
        acl.mdl.get_desc_from_file(desc, str(om["plain"])),
        acl.mdl.get_desc_from_mem(desc, acl.util.bytes_to_ptr(content), len(content)),
    ):
        assert ret == 0
        assert acl.mdl.get_input_dims(desc, 0) == ({"name": "x", "dimCount": 2, "dims": [2, 4]}, 0)
        assert acl.mdl.get_output_size_by_index(desc, 0) == 32
        assert acl.mdl.get_cur_output_dims(desc, 0) == ({}, 145003)
    assert acl.mdl.get_desc_from_file(desc, str(tmp_path / "none.om")) == 145002
    assert acl.mdl.get_desc_from_file(0, str(om["plain"])) == 100000
    assert acl.mdl.get_desc_from_mem(desc, 0, 0) == 100000
    assert acl.mdl.destroy_desc(desc) == 0


def test_an_empty_description_describes_nothing(device: int) -> None:
    """GE `model_om2.cpp`: a description that was never filled has no tensors and no gears."""
    desc = acl.mdl.create_desc()
    assert acl.mdl.get_desc(desc, 999_999) == 145003
    assert (acl.mdl.get_num_inputs(desc), acl.mdl.get_num_outputs(desc)) == (0, 0)
    assert acl.mdl.get_dynamic_batch(desc) == ({"batchCount": 0, "batch": []}, 0)
    assert acl.mdl.get_input_dims(desc, 0) == ({}, 100000)
    assert acl.mdl.get_input_dims_range(desc, 0) == ({"rangeCount": 0, "range": []}, 100000)
    assert acl.mdl.destroy_desc(desc) == 0


def test_long_names_are_shortened_in_dims_only(device: int, om: dict[str, Path]) -> None:
    """GE `model_common.cpp` GetTensorDescNameToDims: past 127 bytes a dims dict has a generated name, and it alone."""
    loaded = Loaded(om["long"])
    desc = loaded.desc
    shown = acl.mdl.get_input_dims(desc, 0)[0]["name"]
    assert shown.startswith(f"acl_modelId_{loaded.model}_input_0")
    assert len(shown) < 128
    assert acl.mdl.get_input_name_by_index(desc, 0) == LONG
    assert acl.mdl.get_input_index_by_name(desc, LONG) == (0, 0)
    assert acl.mdl.get_input_index_by_name(desc, shown) == (0, 100000)
    assert acl.mdl.get_tensor_real_name(desc, shown) == LONG
    assert acl.mdl.get_tensor_real_name(desc, LONG) == LONG
    assert acl.mdl.get_tensor_real_name(desc, LONG[1:]) is None
    loaded.close()


def test_operators_tell_little(device: int, om: dict[str, Path]) -> None:
    """GE `model.cpp` aclmdlGetOpAttr knows one attribute, `model_manager.cc` GetOpDescInfo tasks that failed."""
    loaded = Loaded(om["plain"])
    assert acl.mdl.get_op_attr(loaded.desc, "Add_1", "_datadump_original_op_names") == ""
    assert acl.mdl.get_op_attr(loaded.desc, "Add_1", "strides") is None
    assert acl.mdl.get_op_attr(0, "Add_1", "_datadump_original_op_names") is None
    assert acl.mdl.create_and_get_op_desc(0, 0, 0, 256) == ("", 0, 0, 0, 0, 500002)
    assert acl.mdl.create_and_get_op_desc(0, 0, 0, 4097) == ("", 0, 0, 0, 0, 100000)
    loaded.close()


def test_execute_v2_waits_for_its_stream(device: int, stream: int, om: dict[str, Path]) -> None:
    """facts/pyacl.md §11; GE `model.cpp` aclmdlExecuteV2: no configuration 100000, then as `execute`."""
    loaded = Loaded(om["plain"])
    loaded.put(0, np.ones((2, 4), np.float32))
    config = acl.mdl.create_exec_config_handle()
    assert acl.mdl.execute_v2(loaded.model, loaded.inputs, loaded.outputs, stream, 0) == 100000
    for attr, value in ((0, 10_000), (1, 5), (0, -1), (0, 0xFFFFFFFF)):
        assert acl.mdl.set_exec_config_opt(config, attr, value) == 0
    for attr, value in ((0, -2), (2, 5)):
        assert acl.mdl.set_exec_config_opt(config, attr, value) == 100000
    for chosen in (stream, 0):
        for time_ms in (-1, 30_000):
            assert acl.mdl.set_exec_config_opt(config, 0, time_ms) == 0
            assert acl.mdl.execute_v2(loaded.model, loaded.inputs, loaded.outputs, chosen, config) == 0
            assert loaded.take((2, 4)).tolist() == [[2, 3, 4, 5]] * 2
    assert acl.mdl.execute_v2(999_999, loaded.inputs, loaded.outputs, stream, config) == 145003
    assert acl.mdl.destroy_exec_config_handle(config) == 0
    loaded.close()


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("named", [True, False])
def test_execute_v2_gives_up_in_time(
    run_python: Callable[..., str], om: dict[str, Path], named: bool
) -> None:
    """GE `model.cpp` aclmdlExecuteV2: an execution that does not end in time is 507046; without a stream too."""
    program = """
import sys
from pathlib import Path
import acl
from tests.contract.models import Loaded
assert acl.init() == 0 and acl.rt.set_device(0) == 0
loaded = Loaded(Path(sys.argv[1]))
stream = acl.rt.create_stream()[0] if sys.argv[2] == "True" else 0
config = acl.mdl.create_exec_config_handle()
assert acl.mdl.set_exec_config_opt(config, 0, 20) == 0
print(acl.mdl.execute_v2(loaded.model, loaded.inputs, loaded.outputs, stream, config))
assert acl.rt.reset_device_force(0) == 0
"""
    hanging = {"ASCEND_EMULATOR_NODE": "loading-hang", "ASCEND_EMULATOR_FAULTS": "execute:hang"}
    told = run_python(program, om["plain"], named, **hanging)
    assert told == "507046"


@pytest.mark.ascend_findings("use-after-free")
def test_what_is_prepared_follows_every_change(device: int, stream: int, om: dict[str, Path]) -> None:
    """An execution uses datasets and buffers as they are when it is called (facts/pyacl.md §10)."""
    loaded = Loaded(om["plain"])
    buffer = acl.mdl.get_dataset_buffer(loaded.outputs, 0)
    first = acl.get_data_buffer_addr(buffer)
    second, ret = acl.rt.malloc(32, 0)
    assert ret == 0
    for round_ in range(4):
        loaded.put(0, np.full((2, 4), round_, np.float32))
        assert acl.update_data_buffer(buffer, (first, second)[round_ % 2], 32) == 0
        assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 0
        assert acl.rt.synchronize_stream(stream) == 0
        assert loaded.take((2, 4))[0].tolist() == [2 * round_, 3 * round_, 4 * round_, 5 * round_]
    assert acl.update_data_buffer(buffer, 0, 0) == 0
    assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 100000
    assert acl.update_data_buffer(buffer, first, 32) == 0
    assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 0
    extra = acl.create_data_buffer(second, 32)
    assert acl.mdl.add_dataset_buffer(loaded.outputs, extra) == (loaded.outputs, 0)
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 145000
    loaded.close()
    assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 145003
    assert acl.rt.synchronize_stream(stream) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("out-of-bounds", "*")  # or whatever lies at the address that is drawn
def test_no_address_in_a_buffer_crashes_anything(device: int, om: dict[str, Path]) -> None:
    """The card looks at every address before it uses it: an execution on what is no live block ends with 507015."""
    loaded = Loaded(om["plain"])
    for dataset in (loaded.inputs, loaded.outputs):
        buffer = acl.mdl.get_dataset_buffer(dataset, 0)
        address = acl.get_data_buffer_addr(buffer)
        for bad in (1, 1 << 47, (1 << 62) + 5, (1 << 64) - 1, address + (1 << 32)):
            assert acl.update_data_buffer(buffer, bad, 32) == 0
            assert loaded.run() == 507015
        assert acl.update_data_buffer(buffer, address, 1 << 62) == 0
        assert loaded.run() == 507015
        assert acl.update_data_buffer(buffer, address, 32) == 0
    assert loaded.run() == 0
    loaded.close()

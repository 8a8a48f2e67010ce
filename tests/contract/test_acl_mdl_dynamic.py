"""Models of truly dynamic shape: shapes given by tensor descriptions, outputs told by them, ranges, allocation."""

from collections.abc import Callable, Iterator
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.models import Loaded, compiled

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dynamic")
    return {
        "sum": compiled(
            folder,
            "sum",
            "net (float[1,a] data, float[b,1] mask) => (float[b,a] z) { z = Add(data, mask) }",
            "--input_shape=data:1,-1;mask:1~4,1",
        ),
        # How many places are not zero depends on the values.
        "places": compiled(
            folder, "places", "net (float[a] x) => (int64[1,n] z) { z = NonZero(x) }", "--input_shape=x:-1"
        ),
    }


@pytest.fixture
def total(device: int, om: dict[str, Path]) -> Iterator[Loaded]:
    loaded = Loaded(om["sum"])
    yield loaded
    loaded.close()


def operands(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(10 * rows + columns)
    data = rng.standard_normal((1, columns)).astype(np.float32)
    return data, rng.standard_normal((rows, 1)).astype(np.float32)


def test_a_dynamic_model_tells_what_is_open(total: Loaded) -> None:
    """facts/pyacl.md §12.5; GE `model_om2.cpp` GetDimsRange and aclmdlGetTensorSize."""
    desc = total.desc
    assert (acl.mdl.get_num_inputs(desc), acl.mdl.get_num_outputs(desc)) == (2, 1)
    assert acl.mdl.get_input_dims(desc, 0)[0]["dims"] == [1, -1]
    assert acl.mdl.get_input_dims(desc, 1)[0]["dims"] == [-1, 1]
    assert acl.mdl.get_input_size_by_index(desc, 0) == 0
    assert acl.mdl.get_input_size_by_index(desc, 1) == 16
    assert acl.mdl.get_input_dims_range(desc, 1) == ({"rangeCount": 2, "range": [[1, 4], [1, 1]]}, 0)
    assert acl.mdl.get_input_dims_range(desc, 2) == ({"rangeCount": 0, "range": []}, 100000)
    assert acl.mdl.get_dynamic_batch(desc)[0]["batchCount"] == 0
    assert acl.mdl.get_input_dynamic_gear_count(desc, -1) == (0, 0)
    assert acl.mdl.get_cur_output_dims(desc, 0) == ({}, 200001)
    assert acl.mdl.get_cur_output_dims(desc, 9) == ({}, 200001)
    assert acl.mdl.set_dynamic_batch_size(total.model, total.inputs, 0, 4) == 145003


def test_each_shape_runs_and_is_told(total: Loaded) -> None:
    """facts/pyacl.md §12.5: the descriptions of the input dataset give the shapes, the output dataset's tell them."""
    assert total.output_dims() is None
    for rows, columns in ((2, 3), (4, 7), (1, 1), (3, 200)):
        data, mask = operands(rows, columns)
        total.put(0, data, describe=True)
        total.put(1, mask, describe=True)
        assert total.run() == 0, acl.get_recent_err_msg()
        assert total.output_dims() == [rows, columns]
        told = acl.mdl.get_dataset_tensor_desc(total.outputs, 0)
        assert acl.get_tensor_desc_size(told) == rows * columns * 4
        assert acl.get_tensor_desc_type(told) == 0
        assert (total.take((rows, columns)) == data + mask).all()


def test_in_a_stream_the_shape_is_told_by_the_call(total: Loaded, stream: int) -> None:
    """GE `model.cpp` RuntimeV2ModelExecute sets the outputs' descriptions when the executor has queued its work."""
    data, mask = operands(3, 5)
    total.put(0, data, describe=True)
    total.put(1, mask, describe=True)
    event, _ = acl.rt.create_event()
    assert acl.mdl.execute_async(total.model, total.inputs, total.outputs, stream) == 0
    assert total.output_dims() == [3, 5]
    assert acl.rt.synchronize_stream(stream) == 0
    assert (total.take((3, 5)) == data + mask).all()
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_shape_that_depends_on_values_is_told_too(
    device: int, stream: int, om: dict[str, Path], asynchronous: bool
) -> None:
    """GE's executor waits in the call for a shape that only the device knows (facts/pyacl.md §12.5)."""
    loaded = Loaded(om["places"])
    for values in ([0, 1, 0, 2, 3], [0, 0], [4]):
        x = np.array(values, np.float32)
        loaded.put(0, x, describe=True)
        if asynchronous:
            assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 0
        else:
            assert loaded.run() == 0
        (places,) = np.nonzero(x)
        assert loaded.output_dims() == [1, len(places)]
        assert acl.rt.synchronize_stream(stream) == 0
        assert loaded.take((1, len(places))).tolist() == [places.tolist()]
    loaded.close()


def test_the_system_allocates_outputs(device: int, om: dict[str, Path]) -> None:
    """facts/pyacl.md §11, §12.5: an output buffer (0, 0) gets memory of the tensor's size, which the program frees."""
    loaded = Loaded(om["sum"], room=0)
    buffer = acl.mdl.get_dataset_buffer(loaded.outputs, 0)
    for rows, columns in ((2, 3), (4, 100)):
        data, mask = operands(rows, columns)
        loaded.put(0, data, describe=True)
        loaded.put(1, mask, describe=True)
        assert loaded.run() == 0, acl.get_recent_err_msg()
        assert acl.get_data_buffer_size_v2(buffer) == rows * columns * 4
        assert (loaded.take((rows, columns)) == data + mask).all()
        assert acl.rt.free(acl.get_data_buffer_addr(buffer)) == 0
        assert acl.update_data_buffer(buffer, 0, 0) == 0
    loaded.close()


@pytest.mark.usefixtures("emulator")
def test_a_stream_allocates_no_outputs(device: int, stream: int, om: dict[str, Path]) -> None:
    """facts/pyacl.md §11: not for `execute_async`; the emulator refuses what would compute into nothing."""
    loaded = Loaded(om["sum"], room=0)
    for index, values in enumerate(operands(2, 3)):
        loaded.put(index, values, describe=True)
    assert acl.mdl.execute_async(loaded.model, loaded.inputs, loaded.outputs, stream) == 100000
    loaded.close()


def test_dims_out_of_range_are_refused(total: Loaded) -> None:
    """GE `model.cpp` RuntimeV2ModelExecute, IsOriginShapeInRange: 100000."""
    data, mask = operands(4, 2)
    total.put(0, data, describe=True)
    total.put(1, mask, describe=True)
    for dims in ([5, 1], [4, 2], [0, 1], [4]):
        desc = acl.create_tensor_desc(0, dims, 2)
        assert acl.mdl.set_dataset_tensor_desc(total.inputs, desc, 1) == (total.inputs, 0)
        acl.destroy_tensor_desc(desc)
        assert total.run() == 100000
    total.put(1, mask, describe=True)
    assert total.run() == 0


@pytest.mark.usefixtures("emulator")
def test_a_shape_never_given_fails_the_call(total: Loaded) -> None:
    """GE lets -1 past its range check and fails further down, with an internal code: 500002."""
    data, mask = operands(2, 3)
    total.put(0, data, describe=True)
    total.put(1, mask)
    assert total.run() == 500002
    total.put(1, mask, describe=True)
    assert total.run() == 0
    assert acl.mdl.set_dataset_tensor_desc(total.inputs, 0, 1) == (total.inputs, 0)
    assert total.run() == 500002


def test_datasets_of_another_size(total: Loaded) -> None:
    """GE `model.cpp` RuntimeV2ModelExecute: too few inputs 100000, more are left alone; outputs must be as many."""
    data, mask = operands(2, 3)
    total.put(0, data, describe=True)
    total.put(1, mask, describe=True)
    empty = acl.mdl.create_dataset()
    assert acl.mdl.execute(total.model, empty, total.outputs) == 100000
    assert acl.mdl.execute(total.model, total.inputs, empty) != 0
    first = acl.mdl.get_dataset_buffer(total.inputs, 0)
    assert acl.mdl.add_dataset_buffer(total.inputs, first) == (total.inputs, 0)
    assert total.run() == 0
    assert acl.mdl.destroy_dataset(empty) == 0
    spare = acl.create_data_buffer(0, 0)  # in place of the one listed twice
    shorter = acl.mdl.create_dataset()
    for index in range(2):
        acl.mdl.add_dataset_buffer(shorter, acl.mdl.get_dataset_buffer(total.inputs, index))
    assert acl.mdl.destroy_dataset(total.inputs) == 0
    total.inputs = shorter
    assert acl.destroy_data_buffer(spare) == 0


@pytest.mark.usefixtures("emulator")
def test_an_output_that_is_too_small_fails_the_execution(total: Loaded, stream: int) -> None:
    """GE `model_outputs.cc` does not compare sizes: on hardware the kernel writes past the end; here it is 507015."""
    data, mask = operands(4, 300)
    total.put(0, data, describe=True)
    total.put(1, mask, describe=True)
    assert total.run() == 507015
    assert acl.mdl.execute_async(total.model, total.inputs, total.outputs, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507015
    data, mask = operands(4, 30)
    total.put(0, data, describe=True)
    assert total.run() == 0


def test_empty_tensors_run(device: int, om: dict[str, Path]) -> None:
    """A shape without elements is a shape (facts/pyacl.md §12.5)."""
    loaded = Loaded(om["places"])
    loaded.put(0, np.zeros(0, np.float32), describe=True)
    assert loaded.run() == 0, acl.get_recent_err_msg()
    assert loaded.output_dims() == [1, 0]
    loaded.close()


def test_a_dynamic_model_asks_for_no_working_memory(device: int, om: dict[str, Path]) -> None:
    """GE `model_manager.cc` GetModelMemAndWeightSize: 0 for a dynamic model."""
    work, _, ret = acl.mdl.query_size(str(om["sum"]))
    assert (work, ret) == (0, 0)


@pytest.mark.usefixtures("emulator")
def test_modelled_cards_run_dynamic_shapes(run_python: Callable[..., str], om: dict[str, Path]) -> None:
    """The time model and cheap values know each shape anew; a shape that depends on values needs exact ones."""
    program = """
import sys
import acl, numpy as np
from tests.contract.models import Loaded
assert acl.init() == 0 and acl.rt.set_device(0) == 0
first, second = Loaded(__import__("pathlib").Path(sys.argv[1])), Loaded(__import__("pathlib").Path(sys.argv[2]))
for rows in (1, 3):
    first.put(0, np.ones((1, 2), np.float32), describe=True)
    first.put(1, np.ones((rows, 1), np.float32), describe=True)
    assert first.run() == 0, acl.get_recent_err_msg()
    print(first.output_dims())
second.put(0, np.ones(2, np.float32), describe=True)
print(second.run(), "exact" in acl.get_recent_err_msg())
first.close()
second.close()
acl.rt.reset_device(0)
"""
    told = run_python(
        program,
        om["sum"],
        om["places"],
        ASCEND_EMULATOR_NODE="dynamic-modelled",
        ASCEND_EMULATOR_TIMING="modelled",
        ASCEND_EMULATOR_VALUES="cheap",
    )
    assert told.splitlines() == ["[1, 2]", "[3, 2]", "507011 True"]

"""Gears of image sizes and of arbitrary dims: what is told of them, how they are set, and what runs."""

import struct
from collections.abc import Iterator
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.models import HIDDEN, Loaded, compiled

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gears")
    return {
        "image": compiled(
            folder,
            "image",
            "net (float[1,1,h,w] x) => (float[1,1,a,b] z) { z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) }",
            "--input_shape=x:1,1,-1,-1",
            "--dynamic_image_size=4,4;8,6;2,2",
        ),
        # The user's order of inputs is not the model's.
        "dims": compiled(
            folder,
            "dims",
            "net (float[1,a] data, float[b,1] mask) => (float[b,a] z, float[2] c) <float[2] k = {1, 2}>"
            "{ z = Add(data, mask) c = Identity(k) }",
            "--input_shape=mask:-1,1;data:1,-1",
            "--dynamic_dims=2,3;4,5;1,5",
            "--input_format=ND",
        ),
        "batch": compiled(
            folder,
            "batch",
            "net (float[n,2] x) => (float[n,2] z) { z = Add(x, x) }",
            "--input_shape=x:-1,2",
            "--dynamic_batch_size=1,4",
        ),
    }


@pytest.fixture
def image(device: int, om: dict[str, Path]) -> Iterator[Loaded]:
    loaded = Loaded(om["image"])
    yield loaded
    loaded.close()


@pytest.fixture
def dims(device: int, om: dict[str, Path]) -> Iterator[Loaded]:
    loaded = Loaded(om["dims"])
    yield loaded
    loaded.close()


def hidden_memory(loaded: Loaded) -> tuple[int, int]:
    buffer = acl.mdl.get_dataset_buffer(loaded.inputs, loaded.hidden)
    return acl.get_data_buffer_addr(buffer), acl.get_data_buffer_size_v2(buffer)


def pooled(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def test_image_gears_describe_themselves(image: Loaded) -> None:
    """facts/pyacl.md §12.1, §12.2, §12.4: a hidden input of two values, one list of gears, the largest gear's sizes."""
    desc = image.desc
    assert acl.mdl.get_input_dims(desc, 0)[0]["dims"] == [1, 1, -1, -1]
    assert acl.mdl.get_input_dims(desc, image.hidden) == ({"name": HIDDEN, "dimCount": 1, "dims": [2]}, 0)
    assert acl.mdl.get_input_size_by_index(desc, image.hidden) == 8
    assert acl.mdl.get_input_size_by_index(desc, 0) == 8 * 6 * 4
    assert acl.mdl.get_output_dims(desc, 0)[0]["dims"] == [1, 1, 4, 3]
    assert acl.mdl.get_dynamic_hw(desc, -1) == ({"hwCount": 3, "hw": [[4, 4], [8, 6], [2, 2]]}, 0)
    assert acl.mdl.get_dynamic_hw(desc, image.hidden) == acl.mdl.get_dynamic_hw(desc, -1)
    assert acl.mdl.get_dynamic_batch(desc) == ({"batchCount": 0, "batch": []}, 0)
    assert acl.mdl.get_input_dynamic_gear_count(desc, -1) == (0, 0)
    assert acl.mdl.get_input_dims_range(desc, 0) == ({"rangeCount": 0, "range": []}, 0)


def test_each_image_size_runs(image: Loaded) -> None:
    """facts/pyacl.md §12.3: the setter chooses what the next executions run; the rest of a buffer is ignored."""
    for h, w in ((8, 6), (4, 4), (2, 2), (8, 6)):
        x = np.random.default_rng(h).standard_normal((1, 1, h, w)).astype(np.float32)
        image.put(0, x)
        assert acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, h, w) == 0
        assert acl.mdl.get_cur_output_dims(image.desc, 0)[0]["dims"] == [1, 1, h // 2, w // 2]
        assert image.run() == 0
        assert (image.take((1, 1, h // 2, w // 2)) == pooled(x)).all()


def test_no_image_size_set_is_the_largest(image: Loaded) -> None:
    """facts/pyacl.md §12.4: the largest gear is told until one is set; memory with no gear in it runs it."""
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 6)).astype(np.float32)
    image.put(0, x)
    assert acl.mdl.get_cur_output_dims(image.desc, 0)[0]["dims"] == [1, 1, 4, 3]
    address, size = hidden_memory(image)
    assert acl.rt.memset(address, size, 0, size) == 0
    assert image.run() == 0
    assert (image.take((1, 1, 4, 3)) == pooled(x)).all()


def test_the_hidden_memory_decides_when_the_execution_starts(image: Loaded) -> None:
    """GE `ge_executor.cc` SetDynamicImageSize writes the memory at once; the graph reads it when it runs."""
    x = np.random.default_rng(1).standard_normal((1, 1, 4, 4)).astype(np.float32)
    image.put(0, x)
    assert acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, 8, 6) == 0
    address, _ = hidden_memory(image)
    chosen = struct.pack("<2i", 4, 4)
    assert acl.rt.memcpy(address, 8, acl.util.bytes_to_ptr(chosen), 8, 1) == 0
    assert image.run() == 0
    assert (image.take((1, 1, 2, 2)) == pooled(x)).all()


def test_a_hidden_buffer_of_eight_bytes_a_value_gets_int64(image: Loaded) -> None:
    """GE `ge_executor.cc` SetDynamicImageSize: 8-byte elements where they fit, 4-byte ones else."""
    buffer = acl.mdl.get_dataset_buffer(image.inputs, image.hidden)
    small = acl.get_data_buffer_addr(buffer)
    address, ret = acl.rt.malloc(16, 0)
    assert ret == 0
    assert acl.update_data_buffer(buffer, address, 16) == 0
    assert acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, 4, 4) == 0
    back = bytes(16)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 16, address, 16, 2) == 0
    assert struct.unpack("<2q", back) == (4, 4)
    x = np.random.default_rng(1).standard_normal((1, 1, 4, 4)).astype(np.float32)
    image.put(0, x)
    assert image.run() == 0
    assert (image.take((1, 1, 2, 2)) == pooled(x)).all()
    assert acl.update_data_buffer(buffer, small, 8) == 0
    assert acl.rt.free(address) == 0


@pytest.mark.ascend_findings("use-after-free")
def test_a_gear_set_again_is_written_again_and_checked_again(image: Loaded) -> None:
    """What is remembered of an earlier call holds as long as nothing changed: the bytes, the buffer, the memory."""

    def held(address: int) -> tuple[int, ...]:
        back = bytes(8)
        assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 8, address, 8, 2) == 0
        return struct.unpack("<2i", back)

    def set_size(height: int, width: int) -> int:
        code: int = acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, height, width)
        return code

    buffer = acl.mdl.get_dataset_buffer(image.inputs, image.hidden)
    first, _ = hidden_memory(image)
    for size in ((4, 4), (8, 6), (4, 4), (4, 4)):
        assert set_size(*size) == 0
        assert held(first) == size
        assert acl.mdl.get_cur_output_dims(image.desc, 0)[0]["dims"] == [1, 1, size[0] // 2, size[1] // 2]
    assert acl.rt.memset(first, 8, 0, 8) == 0
    assert set_size(4, 4) == 0
    assert held(first) == (4, 4)

    second, ret = acl.rt.malloc(8, 0)
    assert ret == 0
    assert acl.rt.memset(first, 8, 0, 8) == 0
    assert acl.update_data_buffer(buffer, second, 8) == 0
    assert set_size(4, 4) == 0
    assert (held(first), held(second)) == ((0, 0), (4, 4))
    assert acl.update_data_buffer(buffer, second, 7) == 0
    assert set_size(4, 4) == 145012
    assert acl.update_data_buffer(buffer, second, 8) == 0
    assert set_size(4, 4) == 0

    assert acl.rt.free(second) == 0
    assert set_size(4, 4) == 107000
    assert acl.update_data_buffer(buffer, first, 8) == 0
    assert set_size(4, 4) == 0


def test_wrong_image_sizes_are_refused_in_this_order(image: Loaded) -> None:
    """facts/pyacl.md §12.3; the order is GE's: zeros, buffer, its length, the model, the gear."""
    model, inputs, hidden = image.model, image.inputs, image.hidden
    set_size = acl.mdl.set_dynamic_hw_size
    assert set_size(model, inputs, hidden, 4, 5) == 145013
    assert set_size(999_999, inputs, hidden, 0, 4) == 100000
    assert set_size(999_999, inputs, 9, 4, 4) == 100000
    assert set_size(model, 0, hidden, 4, 4) == 100000
    buffer = acl.mdl.get_dataset_buffer(inputs, hidden)
    address = acl.get_data_buffer_addr(buffer)
    for change, code in (((0, 8), 100000), ((address, 7), 145012), ((address, 8), 145003)):
        assert acl.update_data_buffer(buffer, *change) == 0
        assert set_size(999_999, inputs, hidden, 4, 4) == code
    assert acl.mdl.get_cur_output_dims(image.desc, 0)[0]["dims"] == [1, 1, 4, 3]


def test_dims_gears_tell_all_shapes_in_the_users_order(dims: Loaded) -> None:
    """facts/pyacl.md §12.2: a dict for each gear, all inputs' shapes one after another, which sets that gear again."""
    desc = dims.desc
    assert (
        acl.mdl.get_dynamic_batch(desc)[0]["batchCount"]
        == acl.mdl.get_dynamic_hw(desc, -1)[0]["hwCount"]
        == 0
    )
    assert acl.mdl.get_input_dynamic_gear_count(desc, -1) == (3, 0)
    assert acl.mdl.get_input_dynamic_gear_count(desc, 0) == (0, 100000)
    found, ret = acl.mdl.get_input_dynamic_dims(desc, -1, 3)
    assert ret == 0
    assert [entry["dims"] for entry in found] == [[2, 1, 1, 3], [4, 1, 1, 5], [1, 1, 1, 5]]
    assert {entry["dimCount"] for entry in found} == {4}
    more, ret = acl.mdl.get_input_dynamic_dims(desc, -1, 4)
    assert (ret, more[:3], more[3]["dimCount"]) == (0, found, 0)
    assert acl.mdl.get_input_dynamic_dims(desc, -1, 2)[1] == 100000
    assert acl.mdl.get_input_dynamic_dims(desc, 0, 3)[1] == 100000
    assert acl.mdl.get_input_dynamic_dims(desc, -1, 4097) == (None, 100000)


def test_each_of_the_dims_runs(dims: Loaded) -> None:
    """facts/pyacl.md §12.3, §12.4: an element of `get_input_dynamic_dims` chooses its gear."""
    found, _ = acl.mdl.get_input_dynamic_dims(dims.desc, -1, 3)
    for entry in found:
        rows, _, _, columns = entry["dims"]
        data = np.random.default_rng(rows).standard_normal((1, columns)).astype(np.float32)
        mask = np.random.default_rng(columns).standard_normal((rows, 1)).astype(np.float32)
        dims.put(0, data)
        dims.put(1, mask)
        assert acl.mdl.set_input_dynamic_dims(dims.model, dims.inputs, dims.hidden, entry) == 0
        assert acl.mdl.get_cur_output_dims(dims.desc, 0)[0]["dims"] == [rows, columns]
        assert acl.mdl.get_cur_output_dims(dims.desc, 1)[0]["dims"] == [2]
        assert dims.run() == 0
        assert (dims.take((rows, columns)) == data + mask).all()
        assert dims.take((2,), 1).tolist() == [1, 2]


def test_wrong_dims_are_refused(dims: Loaded) -> None:
    """facts/pyacl.md §12.3; GE `ge_executor.cc` SetDynamicDims and GetCurDynamicDims."""
    model, inputs, hidden = dims.model, dims.inputs, dims.hidden

    def chosen(*numbers: int) -> int:
        entry = {"dimCount": len(numbers), "dims": list(numbers)}
        return acl.mdl.set_input_dynamic_dims(model, inputs, hidden, entry)

    assert chosen() == 100000
    assert chosen(2, 1, 1) == 145012  # another number of dims than the inputs have
    assert chosen(2, 2, 1, 3) == 145012  # a dim that is not dynamic
    assert chosen(2, 1, 1, 5) == 145013
    assert acl.mdl.set_input_dynamic_dims(999_999, inputs, hidden, {"dimCount": 1, "dims": [1]}) == 145003
    buffer = acl.mdl.get_dataset_buffer(inputs, hidden)
    address = acl.get_data_buffer_addr(buffer)
    assert acl.update_data_buffer(buffer, address, 7) == 0
    assert chosen(2, 1, 1, 3) == 145012
    # GE has remembered the gear before it looks at the buffer's length.
    assert acl.mdl.get_cur_output_dims(dims.desc, 0)[0]["dims"] == [2, 3]
    assert acl.update_data_buffer(buffer, 0, 8) == 0
    assert chosen(2, 1, 1, 3) == 100000
    assert acl.update_data_buffer(buffer, address, 8) == 0


@pytest.mark.parametrize(
    "entry",
    [{}, {"dimCount": 2, "dims": [1]}, {"dimCount": 1, "dims": (1,)}, {"dimCount": 1, "dims": [1.0]}, [1]],
)
def test_dims_of_another_form_are_a_type_error(dims: Loaded, entry: object) -> None:
    """The binding, WrapAclMdlSetInputDynamicDims: a dict with as many ints in its list as it counts."""
    with pytest.raises(TypeError):
        acl.mdl.set_input_dynamic_dims(dims.model, dims.inputs, dims.hidden, entry)


def test_a_setter_of_another_kind_takes_a_gear_of_as_many_numbers(device: int, om: dict[str, Path]) -> None:
    """GE `ge_executor.cc`: gears are matched by their numbers alone; `get_cur_output_dims` then finds none (500001)."""
    loaded = Loaded(om["batch"])
    entry = {"dimCount": 2, "dims": [4, 2]}
    assert acl.mdl.set_input_dynamic_dims(loaded.model, loaded.inputs, loaded.hidden, entry) == 0
    assert acl.mdl.get_cur_output_dims(loaded.desc, 0) == ({}, 500001)
    loaded.put(0, np.ones((4, 2), np.float32))
    assert loaded.run() == 0
    assert (loaded.take((4, 2)) == 2).all()
    assert acl.mdl.set_dynamic_batch_size(loaded.model, loaded.inputs, loaded.hidden, 1) == 0
    assert acl.mdl.get_cur_output_dims(loaded.desc, 0)[0]["dims"] == [1, 2]
    loaded.close()


def test_an_input_short_of_the_gear_fails_the_execution(image: Loaded) -> None:
    """GE `davinci_model.cc` CheckUserAndModelSize leaves the sizes of models with gears alone; the device does not."""
    buffer = acl.mdl.get_dataset_buffer(image.inputs, 0)
    address = acl.get_data_buffer_addr(buffer)
    assert acl.update_data_buffer(buffer, address, 64) == 0
    assert acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, 4, 4) == 0
    assert image.run() == 0
    assert acl.mdl.set_dynamic_hw_size(image.model, image.inputs, image.hidden, 8, 6) == 0
    assert image.run() != 0

"""Address space and device memory apart from each other."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import acl
import numpy as np
import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("device", "emulator")]

PIECE = 2 << 20
DEVICE, HBM_HUGE = 1, 4


def properties(**changes: object) -> dict[str, Any]:
    plain = {"handleType": 0, "allocationType": 0, "memAttr": HBM_HUGE, "reserve": 0}
    return {**plain, "location": {"id": 0, "type": DEVICE}, **changes}


def physical(size: int = PIECE) -> int:
    handle, ret = acl.rt.malloc_physical(size, properties(), 0)
    assert ret == 0, acl.get_recent_err_msg()
    return int(handle)


def used() -> int:
    free, total, ret = acl.rt.get_mem_info(1)
    assert ret == 0
    return int(total - free)


@pytest.fixture
def space() -> Iterator[int]:
    address, ret = acl.rt.reserve_mem_address(4 * PIECE, 0, 0, 0)
    assert ret == 0
    yield address
    assert acl.rt.release_mem_address(address) == 0


def test_memory_is_contiguous_where_it_is_mapped(space: int, stream: int) -> None:
    """hicann/runtime docs 11-04 `aclrtReserveMemAddress`: the seven steps."""
    before = used()
    handles = [physical() for _ in range(2)]
    assert used() - before == 2 * PIECE
    assert [acl.rt.map_mem(space + i * PIECE, PIECE, 0, handles[i], 0) for i in range(2)] == [0, 0]
    data = os.urandom(2 * PIECE)
    assert acl.rt.memcpy(space, 2 * PIECE, acl.util.bytes_to_ptr(data), len(data), 1) == 0
    block, _ = acl.rt.malloc(len(data), 0)
    host, _ = acl.rt.malloc_host(len(data))
    assert acl.rt.memcpy_async(block, len(data), space, len(data), 3, stream) == 0
    assert acl.rt.memcpy_async(host, len(data), block, len(data), 2, stream) == 0
    assert acl.rt.memset_async(space + PIECE - 8, 16, 7, 16, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.util.ptr_to_bytes(host, len(data)) == data
    back = bytes(16)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 16, space + PIECE - 8, 16, 2) == 0
    assert back == b"\x07" * 16
    assert acl.rt.pointer_get_attributes(space + PIECE)[0]["location"] == {"id": 0, "type": DEVICE}
    with pytest.raises(ValueError, match="device memory"):
        acl.util.ptr_to_bytes(space, 16)
    assert [acl.rt.unmap_mem(space + i * PIECE) for i in range(2)] == [0, 0]
    assert [acl.rt.free_physical(handle) for handle in handles] == [0, 0]
    assert [acl.rt.free(block), acl.rt.free_host(host)] == [0, 0]
    assert used() == before


def test_a_model_works_in_memory_that_is_mapped(space: int, om_files: dict[str, Path]) -> None:
    """hicann/runtime docs 11-04, step 4: tasks use the address. The input reaches over the seam of two pieces."""
    handles = [physical() for _ in range(2)]
    assert [acl.rt.map_mem(space + i * PIECE, PIECE, 0, handles[i], 0) for i in range(2)] == [0, 0]
    model, ret = acl.mdl.load_from_file(str(om_files["static"]))
    assert ret == 0, acl.get_recent_err_msg()
    x = np.arange(32, dtype=np.float32).reshape(4, 8) / 8
    made = np.empty((4, 4), np.float32)
    for address in (space + PIECE - 64, space + PIECE - 32):
        sets = []
        for place, size in ((address, x.nbytes), (address + 256, made.nbytes)):
            buffer, group = acl.create_data_buffer(place, size), acl.mdl.create_dataset()
            assert acl.mdl.add_dataset_buffer(group, buffer)[1] == 0
            sets.append((group, buffer))
        assert acl.rt.memcpy(address, x.nbytes, x.ctypes.data, x.nbytes, 1) == 0
        assert acl.mdl.execute(model, sets[0][0], sets[1][0]) == 0, acl.get_recent_err_msg()
        assert acl.rt.memcpy(made.ctypes.data, made.nbytes, address + 256, made.nbytes, 2) == 0
        weights = np.load(om_files["weights"])
        assert np.allclose(made, np.maximum(x @ weights["w"], 0) + weights["b"], atol=1e-5)
        assert [acl.mdl.destroy_dataset(group) for group, _ in sets] == [0, 0]
        assert [acl.destroy_data_buffer(buffer) for _, buffer in sets] == [0, 0]
    assert acl.mdl.unload(model) == 0
    assert [acl.rt.unmap_mem(space + i * PIECE) for i in range(2)] == [0, 0]
    assert [acl.rt.free_physical(handle) for handle in handles] == [0, 0]


def test_memory_moves_from_one_address_to_another(space: int) -> None:
    """hicann/runtime docs 11-04: the memory is the handle's, not the address's."""
    handle = physical()
    assert acl.rt.map_mem(space, PIECE, 0, handle, 0) == 0
    data = os.urandom(64)
    assert acl.rt.memcpy(space, 64, acl.util.bytes_to_ptr(data), 64, 1) == 0
    assert acl.rt.unmap_mem(space) == 0
    assert acl.rt.map_mem(space + 3 * PIECE, PIECE, 0, handle, 0) == 0
    back = bytes(64)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 64, space + 3 * PIECE, 64, 2) == 0
    assert back == data
    assert [acl.rt.unmap_mem(space + 3 * PIECE), acl.rt.free_physical(handle)] == [0, 0]


@pytest.mark.ascend_findings("double-free")
def test_memory_that_is_mapped_lives_on_when_its_handle_is_freed(space: int) -> None:
    """hicann/driver `devmm_vmm_map_handle_ref_inc`, `svm_mem_release`."""
    before = used()
    handle = physical()
    assert acl.rt.map_mem(space, PIECE, 0, handle, 0) == 0
    assert acl.rt.free_physical(handle) == 0
    assert acl.rt.free_physical(handle) == 107000
    assert acl.rt.memset(space, 64, 1, 64) == 0
    assert used() - before == PIECE
    assert acl.rt.unmap_mem(space) == 0
    assert used() == before


def test_what_is_not_mapped_is_not_there(space: int, stream: int) -> None:
    handle, host = physical(), acl.rt.malloc_host(PIECE + 64)[0]
    assert acl.rt.map_mem(space, PIECE, 0, handle, 0) == 0
    data = acl.util.bytes_to_ptr(bytes(64))
    for place in (space + PIECE, space + PIECE - 8):
        assert acl.rt.memcpy(place, 64, data, 64, 1) == 507899
    assert acl.rt.memcpy_async(host, PIECE + 64, space, PIECE + 64, 2, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert acl.rt.unmap_mem(space) == 0
    assert acl.rt.memcpy(space, 64, data, 64, 1) == 507899
    assert acl.rt.memcpy_async(host, 64, space, 64, 2, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert [acl.rt.free_physical(handle), acl.rt.free_host(host)] == [0, 0]


@pytest.mark.ascend_findings("double-free")
def test_arguments_of_reservations() -> None:
    """hicann/runtime `aclrtReserveMemAddressImpl`; hicann/driver `devmm_mem_address_reserve_para_check`."""
    assert acl.rt.reserve_mem_address(0, 0, 0, 0) == (0, 100000)
    assert acl.rt.reserve_mem_address(PIECE, 0, 0, 2) == (0, 100000)
    assert acl.rt.reserve_mem_address(PIECE, 64, 0, 0) == (0, 107000)
    assert acl.rt.reserve_mem_address(PIECE, 0, 4096, 0) == (0, 107000)
    assert acl.rt.reserve_mem_address(1 << 63, 0, 0, 0) == (0, 207001)
    address, ret = acl.rt.reserve_mem_address(1, 0, 0, 1)
    assert ret == 0
    assert address % PIECE == 0
    assert acl.rt.reserve_mem_address(PIECE, 0, address, 0) == (0, 107000)
    assert acl.rt.release_mem_address(0) == 100000
    assert acl.rt.release_mem_address(address + PIECE) == 107000
    assert acl.rt.release_mem_address(address) == 0
    assert acl.rt.release_mem_address(address) == 107000
    assert acl.rt.reserve_mem_address(PIECE, 0, address, 0) == (address, 0)
    assert acl.rt.release_mem_address(address) == 0


def test_a_reservation_with_memory_is_not_released(space: int) -> None:
    """hicann/runtime docs 11-04 `aclrtReleaseMemAddress`: unmap first."""
    handle = physical()
    assert acl.rt.map_mem(space, PIECE, 0, handle, 0) == 0
    assert acl.rt.release_mem_address(space) == 107000
    assert [acl.rt.unmap_mem(space), acl.rt.free_physical(handle)] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"handleType": 2}, 100000),
        ({"allocationType": 1}, 100000),
        ({"memAttr": 0}, 100000),
        ({"memAttr": 2}, 100000),
        ({"memAttr": 10}, 207000),
        ({"location": {"id": 0, "type": 2}}, 100000),
        ({"location": {"id": 0, "type": 3}}, 100000),
        ({"location": {"id": 0, "type": 0}}, 207000),
        ({"location": {"id": 99, "type": 1}}, 107001),
        ({"location": {"id": 1, "type": 1}}, 107017),
    ],
)
def test_properties_of_physical_memory(changes: dict[str, object], code: int) -> None:
    """hicann/runtime `aclrtMallocPhysicalImpl`, `ApiErrorDecorator::MallocPhysical`."""
    assert acl.rt.malloc_physical(PIECE, properties(**changes), 0) == (0, code)


def test_arguments_of_physical_memory() -> None:
    """hicann/runtime `aclrtMallocPhysicalImpl`; binding `GetPhysicalMemPropFromPydict`."""
    assert acl.rt.malloc_physical(0, properties(), 0) == (0, 100000)
    assert acl.rt.malloc_physical(PIECE, properties(), 1) == (0, 100000)
    assert acl.rt.malloc_physical(1 << 63, properties(), 0) == (0, 207001)
    assert acl.rt.malloc_physical(1 << 40, properties(), 0) == (0, 207001)
    assert [acl.rt.free_physical(handle) for handle in (0, 4096)] == [100000, 107000]
    with pytest.raises(TypeError, match="the aclrtPhysicalMemProp argument is not dict"):
        acl.rt.malloc_physical(PIECE, [], 0)
    with pytest.raises(TypeError, match="the aclrtMemLocation argument is not dict"):
        acl.rt.malloc_physical(PIECE, properties(location=7), 0)
    with pytest.raises(ValueError, match="PyLong_AsLong failed"):
        acl.rt.malloc_physical(PIECE, properties(memAttr=1 << 64), 0)


def test_arguments_of_mappings(space: int) -> None:
    """hicann/runtime `aclrtMapMemImpl`; hicann/driver `devmm_mem_map_para_check`, `halMemUnmap`."""
    handle, large = physical(), physical(2 * PIECE)
    other, ret = acl.rt.malloc(64, 0)
    assert ret == 0
    for arguments, code in (
        ((0, PIECE, 0, handle, 0), 100000),
        ((space, 0, 0, handle, 0), 100000),
        ((space, PIECE, 0, 0, 0), 100000),
        ((space, PIECE, 0, handle, 1), 100000),
        ((space, PIECE, 64, handle, 0), 107000),
        ((space, 2 * PIECE, 0, handle, 0), 107000),
        ((space, PIECE, 0, large, 0), 107000),
        ((space + 64, PIECE, 0, handle, 0), 107000),
        ((space + 3 * PIECE, 2 * PIECE, 0, large, 0), 107000),
        ((other, PIECE, 0, handle, 0), 107000),
        ((space, PIECE, 0, other, 0), 107000),
        ((space + PIECE, PIECE, 0, handle, 0), 0),
        ((space + PIECE, PIECE, 0, handle, 0), 107000),
        ((space, 2 * PIECE, 0, large, 0), 107000),
    ):
        assert (arguments, acl.rt.map_mem(*arguments)) == (arguments, code)
    assert [acl.rt.unmap_mem(place) for place in (0, space, space + PIECE, other)] == [
        100000,
        507899,
        0,
        507899,
    ]
    assert [acl.rt.free_physical(handle), acl.rt.free_physical(large), acl.rt.free(other)] == [0, 0, 0]


def test_the_granularity_is_two_mebibytes() -> None:
    """hicann/driver `halMemGetAllocationGranularity`."""
    assert acl.rt.mem_get_allocation_granularity(properties(), 0) == (PIECE, 0)
    assert acl.rt.mem_get_allocation_granularity(properties(), 1) == (PIECE, 0)
    assert acl.rt.mem_get_allocation_granularity(properties(), 2) == (0, 207000)
    assert acl.rt.mem_get_allocation_granularity(properties(memAttr=2), 0) == (0, 100000)


def test_a_reservation_outlives_the_device(device: int) -> None:
    address, _ = acl.rt.reserve_mem_address(PIECE, 0, 0, 0)
    handle = physical()
    assert acl.rt.map_mem(address, PIECE, 0, handle, 0) == 0
    assert acl.rt.reset_device(device) == 0
    assert acl.rt.set_device(device) == 0
    assert acl.rt.memset(address, 64, 1, 64) in (0, 507899)
    assert [acl.rt.unmap_mem(address), acl.rt.free_physical(handle)] == [0, 0]
    again = physical()
    assert acl.rt.map_mem(address, PIECE, 0, again, 0) == 0
    assert acl.rt.memset(address, 64, 1, 64) == 0
    assert [acl.rt.unmap_mem(address), acl.rt.free_physical(again), acl.rt.release_mem_address(address)] == [
        0
    ] * 3

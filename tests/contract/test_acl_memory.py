"""Blocks of device and pinned memory."""

import ast
import ctypes
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import acl
import pytest

from tests.contract.blocks import malloc, take

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("device")]

H2D, D2H = 1, 2


def free_bytes() -> int:
    return max(acl.rt.get_mem_info(kind)[0] for kind in (0, 1))


@pytest.mark.parametrize("size", [1, 31, 64, 100, 4096, 1 << 20, (1 << 20) + 1])
def test_blocks_are_aligned_and_distinct(size: int) -> None:
    blocks = [malloc(size) for _ in range(4)] + [acl.rt.malloc_align32(size, 0)[0]]
    assert [block % 64 for block in blocks] == [0] * 5
    ends = sorted((block, block + size) for block in blocks)
    assert all(ends[i][1] <= ends[i + 1][0] for i in range(4))
    assert [acl.rt.free(block) for block in blocks] == [0] * 5


def test_threads_that_pin_at_once_get_blocks_of_their_own() -> None:
    context, _ = acl.rt.get_context()
    held: set[int] = set()

    def pin(turns: int) -> list[str]:
        faults = []
        acl.rt.set_context(context)
        for turn in range(turns):
            blocks = [acl.rt.malloc_host(64 * (turn % 5 + 1))[0] for _ in range(4)]
            for block in blocks:
                faults += [f"{block:#x} was given out twice"] if block in held else []
                held.add(block)
            held.difference_update(blocks)
            faults += [f"{block:#x} cannot be freed" for block in blocks if acl.rt.free_host(block)]
        return faults

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            faults = [fault for found in pool.map(pin, [300] * 4) for fault in found]
    finally:
        sys.setswitchinterval(interval)
    assert not faults


def test_size_zero_and_null_are_refused() -> None:
    assert acl.rt.malloc(0, 0) == (0, 100000)
    assert acl.rt.malloc_host(0) == (0, 100000)
    assert acl.rt.free(0) == acl.rt.free_host(0) == 100000


def test_a_size_whose_padding_wraps_is_refused() -> None:
    """hicann/runtime `GetAlignedAndPaddingSize`: ACL_ERROR_INVALID_PARAM."""
    assert acl.rt.malloc((1 << 64) - 1, 0) == (0, 100000)
    assert acl.rt.malloc_align32((1 << 64) - 8, 0) == (0, 100000)


@pytest.mark.ascend_findings("no-context")
def test_the_size_is_checked_before_the_context() -> None:
    """hicann/runtime `aclMallocMemInner`: the size first, then `rtMalloc`."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend((acl.rt.malloc(0, 0), acl.rt.malloc(64, 0))))
    thread.start()
    thread.join()
    assert found == [(0, 100000), (0, 107002)]


@pytest.mark.parametrize("size", [1, 32, 33, 64, 1000])
@pytest.mark.ascend_findings("out-of-bounds")
def test_a_block_ends_with_its_padding(size: int) -> None:
    """facts/pyacl.md §8.2 (32 bytes of slack); docs: 64-byte lines. Past it, the driver finds no memory."""
    padded, tight = malloc(size), acl.rt.malloc_align32(size, 0)[0]
    room = bytes(size + 256)
    for address, real in ((padded, (size + 63) // 32 * 32), (tight, (size + 31) // 32 * 32)):
        whole = -(-real // 64) * 64
        assert acl.rt.memcpy(address, whole, acl.util.bytes_to_ptr(room), real, H2D) == 0
        assert acl.rt.memcpy(address, 4096, acl.util.bytes_to_ptr(room), whole + 1, H2D) == 507899
    assert [acl.rt.free(padded), acl.rt.free(tight)] == [0, 0]


def test_cached_memory_is_normal_pages_only() -> None:
    """hicann/runtime `NpuDriver::DevMemAllocCached`; docs 11-01 `aclrtMemFlush`."""
    assert [acl.rt.malloc_cached(64, policy) for policy in (0, 1, 3, 99)] == [(0, 207000)] * 4
    assert acl.rt.malloc_cached(0, 2) == (0, 100000)
    address, ret = acl.rt.malloc_cached(64, 2)
    assert ret == 0
    assert acl.rt.mem_flush(address, 64) == acl.rt.mem_invalidate(address, 64) == 0
    assert acl.rt.mem_flush(0, 64) == acl.rt.mem_invalidate(0, 64) == 100000
    assert acl.rt.mem_flush(address, 0) == acl.rt.mem_invalidate(address, 0) == 100000
    assert acl.rt.free(address) == 0


def attributes(*pairs: tuple[int, dict[str, object]]) -> dict[str, object]:
    return {"attrs": [{"attr": kind, "value": value} for kind, value in pairs], "numAttrs": len(pairs)}


def test_attributes_of_device_memory(device: int) -> None:
    """Binding `WrapAclRtMallocWithCfg`; hicann/runtime `ApiImpl::ParseMallocCfg`."""
    for cfg in ({}, attributes((1, {"moduleId": 7}), (2, {"deviceId": device}), (0, {"rsv": [0]}))):
        for allocate in (acl.rt.malloc_with_cfg, acl.rt.malloc_for_task_scheduler):
            address, ret = allocate(100, 0, cfg)
            assert ret == 0
            assert acl.rt.free(address) == 0
    assert acl.rt.malloc_with_cfg(100, 0, attributes((3, {"rsv": []}))) == (0, 107000)
    assert acl.rt.malloc_with_cfg(100, 0, attributes((2, {"deviceId": device + 1}))) == (0, 107000)
    assert acl.rt.malloc_with_cfg(0, 0, {}) == (0, 100000)


def test_attributes_of_host_memory() -> None:
    """Binding `WrapAclRtMallocHostWithCfg`; hicann/runtime `ApiImpl::GetMallocHostConfigAttr`."""
    for cfg in ({}, attributes((1, {"moduleId": 7}))):
        address, ret = acl.rt.malloc_host_with_cfg(100, cfg)
        assert ret == 0
        assert acl.rt.free_host(address) == 0
    assert acl.rt.malloc_host_with_cfg(100, attributes((2, {"deviceId": 0}))) == (0, 107000)
    assert acl.rt.malloc_host_with_cfg(0, {}) == (0, 100000)


@pytest.mark.parametrize(
    ("cfg", "error", "text"),
    [
        ([], TypeError, "pyCfg is not dict!"),
        ({"numAttrs": 0}, TypeError, "the aclrtMallocAttrValue argument is not dict"),
        ({"attrs": [], "numAttrs": 1}, KeyError, "does not match the expected numAttrs"),
        ({"attrs": [7], "numAttrs": 1}, TypeError, "the aclrtMallocWithCfg argument is not dict"),
        (attributes((1, {})), KeyError, "No valid key found in aclrtMallocAttrValue"),
        (attributes((1, {"moduleId": -1})), ValueError, "PyLong_AsUnsignedLong failed"),
    ],
)
def test_attributes_of_another_form_are_errors(cfg: object, error: type[Exception], text: str) -> None:
    """Binding `GetMallocConfigFromPydict` and what it calls."""
    with pytest.raises(error, match=text):
        acl.rt.malloc_with_cfg(100, 0, cfg)
    with pytest.raises(error, match=text):
        acl.rt.malloc_host_with_cfg(100, cfg)


def test_an_address_tells_where_it_lies(device: int) -> None:
    """Binding `GetPyDictFromPtrAttributes`; hicann/runtime `NpuDriver::PtrGetAttributes`."""

    def described(kind: int, place: int, page: int) -> tuple[dict[str, object], int]:
        return {"location": {"id": place, "type": kind}, "page_size": page, "rsv": [0, 0, 0, 0]}, 0

    small, huge = malloc(64), malloc(2 << 20)
    host, ret = acl.rt.malloc_host(64)
    assert ret == 0
    assert acl.rt.pointer_get_attributes(small + 63) == described(1, device, 4096)
    assert acl.rt.pointer_get_attributes(huge) == described(1, device, 2 << 20)
    assert acl.rt.pointer_get_attributes(host) == described(0, 0, 4096)
    assert acl.rt.pointer_get_attributes(acl.util.bytes_to_ptr(b"pageable")) == described(2, 0, 4096)
    nothing = described(0, 0, 0)[0]
    assert acl.rt.pointer_get_attributes(0) == (nothing, 100000)
    assert [acl.rt.free(small), acl.rt.free(huge), acl.rt.free_host(host)] == [0, 0, 0]
    assert acl.rt.pointer_get_attributes(small) == (nothing, 507899)


def test_fresh_memory_is_not_zero() -> None:
    address = malloc(4096)
    assert take(address, 4096).count(0) < 4096
    host, ret = acl.rt.malloc_host(4096)
    assert ret == 0
    assert ctypes.string_at(host, 4096).count(0) < 4096
    assert [acl.rt.free(address), acl.rt.free_host(host)] == [0, 0]


@pytest.mark.ascend_findings("double-free", "wrong-free")
def test_a_block_is_freed_once() -> None:
    """hicann/driver `devmm_free_managed_nomal`: DRV_ERROR_INVALID_VALUE, which the runtime maps to 107000."""
    address = malloc(64)
    assert acl.rt.free(address + 32) == 107000
    assert acl.rt.free_host(address) == 107000
    assert acl.rt.free(address) == 0
    assert acl.rt.free(address) == 107000
    host, _ = acl.rt.malloc_host(64)
    assert acl.rt.free(host) == 107000
    assert acl.rt.free_host(host + 64) == 107000
    assert acl.rt.free_host(host) == 0
    assert acl.rt.free_host(host) == 107000


def test_memory_is_accounted_and_comes_back() -> None:
    before = free_bytes()
    blocks = [malloc(1 << 20) for _ in range(8)]
    assert before - free_bytes() >= 8 << 20
    random.Random(1).shuffle(blocks)
    assert [acl.rt.free(block) for block in blocks] == [0] * 8
    assert free_bytes() == before


def test_running_out_is_said_and_harms_nothing() -> None:
    before = free_bytes()
    assert acl.rt.malloc(before + (1 << 30), 0) == (0, 207001)
    message = acl.get_recent_err_msg()
    assert message is not None
    assert str(before) in message
    assert acl.rt.malloc(1 << 63, 0) == (0, 207001)
    assert acl.rt.malloc_host(1 << 63) == (0, 207001)
    half = malloc(before // 2)
    assert acl.rt.malloc(before // 2 + (1 << 20), 0) == (0, 207001)
    assert acl.rt.free(half) == 0
    assert free_bytes() == before


def test_memory_kinds_are_checked() -> None:
    """hicann/runtime `ApiErrorDecorator::MemGetInfoEx`: RT_ERROR_INVALID_MEMORY_TYPE."""
    assert acl.rt.get_mem_info(18) == (0, 0, 107016)
    assert acl.rt.get_mem_info(-1) == (0, 0, 107016)
    assert acl.rt.get_mem_info(1)[1] > 0


INFO = """
import acl
acl.init()
assert acl.rt.set_device(0) == 0
print([acl.rt.get_mem_info(kind)[1:] for kind in range(18)])
"""


@pytest.mark.usefixtures("emulator")
def test_a_soc_without_hbm_answers_every_kind_as_ddr(run_python: Callable[..., str]) -> None:
    """hicann/runtime docs 11-01 `aclrtGetMemInfo`, `npu_driver_mem.cc` g_memInfoTypeMap."""
    ddr = (24_000_000_000, 0)
    assert (
        ast.literal_eval(run_python(INFO, ASCEND_EMULATOR_SOC="Ascend310P3", ASCEND_EMULATOR_NODE="ddr"))
        == [ddr] * 18
    )


@pytest.mark.usefixtures("emulator")
def test_a_soc_with_hbm_has_no_ddr(run_python: Callable[..., str]) -> None:
    """hicann/runtime docs 11-01 `aclrtGetMemInfo` (zeros), `NpuDriver::CheckIfSupport1GHugePage`."""
    hbm, none, refused = (64 << 30, 0), (0, 0), (0, 207000)
    found = ast.literal_eval(run_python(INFO, ASCEND_EMULATOR_SOC="Ascend910B3", ASCEND_EMULATOR_NODE="hbm"))
    assert found[:10] == [none, hbm, none, none, hbm, hbm, none, none, hbm, hbm]
    assert found[10:] == [refused, refused, hbm, hbm, refused, hbm, hbm, refused]


@pytest.mark.ascend_findings("double-free")
def test_blocks_of_a_reset_device_can_still_be_freed_once(device: int) -> None:
    address = malloc(64)
    assert acl.rt.reset_device(0) == 0
    assert acl.rt.free(address) == 0
    assert acl.rt.free(address) == 107000
    assert acl.rt.set_device(0) == 0

"""Copies and fills."""

import ast
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.blocks import malloc, put, take

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("device")]

H2H, H2D, D2H, D2D, DEFAULT, H2BUF2D = range(6)
NOWHERE = 4096
"""An address that no process has memory at."""
UNPINNED = pytest.mark.ascend_findings("unpinned-copy")


def test_copies_reach_every_byte_and_no_other() -> None:
    rng = random.Random(3)
    size = 3000
    address = malloc(size)
    mirror = bytearray(rng.randbytes(size))
    put(address, bytes(mirror))
    for _ in range(200):
        start = rng.randrange(size)
        piece = rng.randbytes(rng.randrange(1, size - start + 1))
        put(address + start, piece)
        mirror[start : start + len(piece)] = piece
    assert take(address, size) == mirror
    assert acl.rt.free(address) == 0


def test_copies_go_between_all_kinds_of_memory() -> None:
    data = bytes(range(256)) * 4
    one, two = malloc(1024), malloc(1024)
    host, ret = acl.rt.malloc_host(1024)
    assert ret == 0
    put(one, data)
    assert acl.rt.memcpy(two, 1024, one, 1024, D2D) == 0
    assert acl.rt.memcpy(host, 1024, two, 1024, D2H) == 0
    assert acl.util.ptr_to_bytes(host, 1024) == data
    back = bytes(1024)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 1024, host, 1024, H2H) == 0
    assert back == data
    assert [acl.rt.free(one), acl.rt.free(two), acl.rt.free_host(host)] == [0, 0, 0]


def test_copies_check_their_arguments() -> None:
    address = malloc(64)
    source = acl.util.bytes_to_ptr(b"x" * 64)
    assert acl.rt.memcpy(address, 64, source, 65, H2D) == 107000
    assert acl.rt.memcpy(0, 64, source, 64, H2D) == 100000
    assert acl.rt.memcpy(address, 64, 0, 64, H2D) == 100000
    assert acl.rt.memcpy(address, 64, source, 64, 6) == 100000
    assert acl.rt.memcpy(address, 64, source, 64, -1) == 100000
    assert acl.rt.memcpy(0, 0, 0, 0, 99) == 0
    assert acl.rt.free(address) == 0


def test_memset_sets_device_and_pinned_memory() -> None:
    address = malloc(128)
    put(address, bytes(128))
    assert acl.rt.memset(address + 8, 120, 0xAB, 16) == 0
    assert take(address, 32) == bytes(8) + b"\xab" * 16 + bytes(8)
    assert acl.rt.memset(address, 8, 0, 9) == 107000
    assert acl.rt.memset(0, 8, 0, 8) == 100000
    assert acl.rt.memset(0, 0, 0, 0) == 0
    assert acl.rt.free(address) == 0


@pytest.mark.ascend_findings("no-context")
def test_kinds_and_sizes_are_checked_before_the_context() -> None:
    """hicann/runtime `aclrtMemcpyImpl`, `ApiErrorDecorator::MemCopySync`, `ApiImpl::MemCopySync`."""
    data = acl.util.bytes_to_ptr(bytes(64))
    found: list[int] = []

    def ask() -> None:
        found.append(acl.rt.memcpy(0, 0, 0, 0, 99))
        found.append(acl.rt.memcpy(data, 8, data + 8, 9, H2H))
        found.append(acl.rt.memcpy(data, 8, data, 8, H2H))
        found.append(acl.rt.memcpy(data, 8, data + 8, 8, H2H))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [0, 107000, 0, 107002]


@pytest.mark.ascend_findings("out-of-bounds", "use-after-free")
def test_memory_that_is_not_there_fails_a_copy() -> None:
    """hicann/driver `devmm_memcpy_range_check` EINVAL, `user_err` PARA_ERROR; hicann/runtime: 507899."""
    address, data = malloc(64), acl.util.bytes_to_ptr(bytes(64))
    for wrong in (NOWHERE, (1 << 47) - 64, 1 << 63, (1 << 64) - 64):
        assert acl.rt.memcpy(address, 64, wrong, 64, H2D) == 507899
        assert acl.rt.memcpy(wrong, 64, address, 64, D2H) == 507899
        assert acl.rt.memcpy(wrong, 64, data, 64, H2H) == 507899
        assert acl.rt.memset(wrong, 64, 0, 64) == 507899
    assert acl.rt.memcpy(address, 1 << 63, data, 1 << 63, H2D) == 507899
    assert acl.rt.memcpy(data, (1 << 64) - 1, address, (1 << 64) - 1, D2H) == 507899
    assert acl.rt.free(address) == 0
    assert acl.rt.memcpy(address, 64, data, 64, H2D) == 507899
    assert acl.rt.memcpy(data, 64, address, 64, D2H) == 507899
    assert acl.rt.memset(address, 64, 0, 64) == 507899


@pytest.mark.ascend_findings("use-after-free")
def test_a_freed_pinned_block_is_not_there() -> None:
    host, ret = acl.rt.malloc_host(64)
    assert (ret, acl.rt.free_host(host)) == (0, 0)
    assert acl.rt.memcpy(host, 64, acl.util.bytes_to_ptr(bytes(64)), 64, H2H) == 507899
    with pytest.raises(ValueError, match="convert c pointer to bytes failed"):
        acl.util.ptr_to_bytes(host, 64)


def test_a_copy_to_memory_that_may_only_be_read_fails() -> None:
    import ctypes
    import mmap

    region = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(region))
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    source = malloc(64)
    assert acl.rt.memcpy(address, 64, source, 64, D2H) == 0
    assert libc.mprotect(address, 4096, mmap.PROT_READ) == 0
    assert acl.rt.memcpy(address, 64, source, 64, D2H) == 507899
    assert acl.rt.memset(address, 64, 0, 64) == 507899
    assert acl.rt.memcpy(source, 64, address, 64, H2D) == 0
    assert acl.rt.free(source) == 0


@pytest.fixture
def places(stream: int) -> Iterator[dict[str, int]]:
    device, (host, ret) = malloc(64), acl.rt.malloc_host(64)
    assert ret == 0
    keep = bytes(64)
    yield {"device": device, "pinned": host, "pageable": acl.util.bytes_to_ptr(keep)}
    assert acl.rt.synchronize_stream(stream) == 0
    assert [acl.rt.free(device), acl.rt.free_host(host)] == [0, 0]


@pytest.mark.parametrize(
    ("source", "target", "codes"),
    [
        pytest.param("pageable", "device", [107000, 0, 107000, 0, 0, 0], marks=UNPINNED),
        pytest.param("device", "pageable", [107000, 107000, 0, 0, 0, 107000], marks=UNPINNED),
        pytest.param("pinned", "pageable", [207000, 0, 107000, 107000, 207000, 107000], marks=UNPINNED),
        pytest.param("pageable", "pinned", [207000, 107000, 0, 107000, 207000, 107000], marks=UNPINNED),
        pytest.param("pageable", "pageable", [207000, 0, 0, 0, 207000, 107000], marks=UNPINNED),
        ("pinned", "device", [0, 0, 0, 0, 0, 0]),
        ("device", "pinned", [0, 0, 0, 0, 0, 107000]),
        ("device", "device", [0, 0, 0, 0, 0, 107000]),
        ("pinned", "pinned", [207000, 207000, 207000, 207000, 207000, 107000]),
    ],
)
def test_kinds_of_queued_copies_with_pageable_memory(
    places: dict[str, int], stream: int, source: str, target: str, codes: list[int]
) -> None:
    """hicann/runtime `MemcpyKindReviseMap`, `MemcpyAsyncCheckExLocation`, `ApiErrorDecorator::MemcpyAsync`."""
    found, waits = [], []
    for kind in range(6):
        found.append(acl.rt.memcpy_async(places[target] + 8, 32, places[source], 32, kind, stream))
        waits.append(acl.rt.synchronize_stream(stream))
    assert found == codes
    # A copy that says it is on the device is queued, and then meets a host address.
    lies = "pageable" in (source, target) and codes[D2D] == 0
    assert waits == [0, 0, 0, 507013 if lies else 0, 0, 0]


def test_a_queued_copy_to_itself_is_nothing(places: dict[str, int], stream: int) -> None:
    """hicann/runtime `ApiErrorDecorator::MemcpyAsync`, `MemCopySync`: the addresses are the same, return."""
    for place in ("device", "pageable"):
        assert acl.rt.memcpy(places[place], 64, places[place], 64, DEFAULT) == 0
    assert acl.rt.memcpy_async(places["device"], 64, places["device"], 64, D2D, stream) == 0


def test_kind_5_has_read_its_source_when_it_returns(stream: int) -> None:
    """Name and docs of ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE: the bytes go to a buffer first."""
    address, (host, _) = malloc(64), acl.rt.malloc_host(64)
    assert acl.rt.memset(host, 64, 1, 64) == 0
    assert acl.rt.memcpy_async(address, 64, host, 64, H2BUF2D, stream) == 0
    assert acl.rt.memset(host, 64, 2, 64) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert take(address, 64) == b"\x01" * 64
    assert [acl.rt.free(address), acl.rt.free_host(host)] == [0, 0]


def test_a_copy_with_condition_is_a_queued_copy(places: dict[str, int], stream: int) -> None:
    """hicann/runtime `aclrtMemcpyAsyncWithConditionImpl`: checks for pinned memory, as the other form does."""
    data = bytes(range(64))
    keep = acl.util.bytes_to_ptr(data)
    assert acl.rt.memcpy_async_with_condition(places["device"], 64, keep, 64, H2D, stream) == 0
    assert take(places["device"], 64) == data
    assert acl.rt.memcpy_async_with_condition(places["pinned"], 64, places["device"], 64, D2H, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.util.ptr_to_bytes(places["pinned"], 64) == data
    assert acl.rt.memcpy_async_with_condition(0, 64, keep, 64, H2D, stream) == 100000


@pytest.mark.parametrize(
    ("queued", "pinned"),
    [(False, False), (False, True), (True, True), pytest.param(True, False, marks=UNPINNED)],
)
def test_rows_are_copied_and_what_lies_between_is_not(stream: int, queued: bool, pinned: bool) -> None:
    """hicann/runtime docs 11-03 `aclrtMemcpy2d`, `aclrtMemcpy2dAsync`."""
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (7, 20), dtype=np.uint8)
    back = np.zeros((7, 24), np.uint8)
    source, target = picture.ctypes.data, back.ctypes.data
    hosts = [acl.rt.malloc_host(array.nbytes)[0] for array in (picture, back)]
    if pinned:
        assert acl.rt.memcpy(hosts[0], picture.nbytes, source, picture.nbytes, H2H) == 0
        assert acl.rt.memset(hosts[1], back.nbytes, 0, back.nbytes) == 0
        source, target = hosts
    address = malloc(7 * 32)
    put(address, bytes(7 * 32))

    def copy(*arguments: int) -> int:
        if not queued:
            return int(acl.rt.memcpy2d(*arguments))
        return int(acl.rt.memcpy2d_async(*arguments, stream) or acl.rt.synchronize_stream(stream))

    assert copy(address, 32, source, 20, 16, 7, H2D) == 0
    there = np.frombuffer(take(address, 7 * 32), np.uint8).reshape(7, 32)
    assert (there[:, :16] == picture[:, :16]).all()
    assert not there[:, 16:].any()
    assert copy(target, 24, address, 32, 16, 7, D2H) == 0
    if pinned:
        assert acl.rt.memcpy(back.ctypes.data, back.nbytes, target, back.nbytes, H2H) == 0
    assert (back[:, :16] == picture[:, :16]).all()
    assert not back[:, 16:].any()
    assert [acl.rt.free(address), *map(acl.rt.free_host, hosts)] == [0, 0, 0]


def test_rows_are_copied_on_the_device_by_a_stream_only(stream: int) -> None:
    """hicann/runtime `ApiErrorDecorator::MemCopy2DSync` (207000), `MemCopy2DAsync`."""
    one, two = malloc(64), malloc(64)
    put(one, bytes(range(64)))
    put(two, bytes(64))
    assert acl.rt.memcpy2d(two, 16, one, 16, 8, 4, D2D) == 207000
    assert acl.rt.memcpy2d(two, 16, one, 16, 8, 4, DEFAULT) == 107000
    assert acl.rt.memcpy2d_async(two, 16, one, 16, 8, 4, D2D, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    kept = bytearray(64)
    for row in range(4):
        kept[16 * row : 16 * row + 8] = range(16 * row, 16 * row + 8)
    assert take(two, 64) == kept
    assert [acl.rt.free(one), acl.rt.free(two)] == [0, 0]


@pytest.mark.ascend_findings("out-of-bounds", "unpinned-copy")
def test_arguments_of_copies_of_rows(stream: int) -> None:
    """hicann/runtime `CheckMemcpy2dParam`, `ApiErrorDecorator::MemCopy2DCheckParam`, `IsZeroSizeMemcpy2d`."""
    address, data = malloc(64), acl.util.bytes_to_ptr(bytes(64))
    for arguments, code in (
        ((0, 0, 0, 0, 0, 5, 99), 0),
        ((0, 0, 0, 0, 5, 0, 99), 0),
        ((0, 8, data, 8, 8, 1, H2D), 100000),
        ((address, 8, 0, 8, 8, 1, H2D), 100000),
        ((address, 7, data, 8, 8, 1, H2D), 100000),
        ((address, 8, data, 7, 8, 1, H2D), 100000),
        ((address, 8, data, 8, 8, 1, H2H), 100000),
        ((address, 8, data, 8, 8, 1, H2BUF2D), 100000),
        ((address, 8, data, 8, 8, (5 << 20) + 1, H2D), 107000),
        ((address, 5_000_001, data, 5_000_001, 5_000_001, 1, H2D), 107000),
        ((address, 1 << 63, data, 8, 8, 2, H2D), 507899),
        ((address, 8, data, 1 << 63, 8, 3, H2D), 507899),
    ):
        assert (arguments, acl.rt.memcpy2d(*arguments)) == (arguments, code)
        assert (arguments, acl.rt.memcpy2d_async(*arguments, stream)) == (arguments, code)
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.free(address) == 0


@pytest.mark.usefixtures("emulator")
def test_memory_of_two_devices_of_a_process_is_copied(stream: int) -> None:
    """facts/pyacl.md §8.4 "two devices"."""
    here = malloc(4096)
    put(here, bytes(range(256)) * 16)
    assert acl.rt.set_device(1) == 0
    there = malloc(4096)
    assert acl.rt.memcpy(there, 4096, here, 4096, D2D) == 0
    assert take(there, 4096) == bytes(range(256)) * 16
    other, ret = acl.rt.create_stream()
    assert ret == 0
    assert acl.rt.memcpy_async(here, 8, there + 8, 8, D2D, other) == 0
    assert acl.rt.synchronize_stream(other) == 0
    assert take(here, 16) == bytes(range(8, 16)) * 2
    assert [acl.rt.destroy_stream(other), acl.rt.free(there), acl.rt.reset_device(1)] == [0, 0, 0]
    assert acl.rt.set_device(0) == 0
    assert acl.rt.free(here) == 0
    assert acl.rt.reset_device(0) == 0


BOARD = """
import acl
acl.init()
assert acl.rt.set_device(0) == 0
block, _ = acl.rt.malloc(64, 0)
host, _ = acl.rt.malloc_host(64)
data = bytes(range(64))
stream, _ = acl.rt.create_stream()
codes = [acl.rt.memcpy_async(host, 64, acl.util.bytes_to_ptr(data), 64, kind, stream) for kind in range(5)]
codes += [acl.rt.memcpy_async(block, 64, host, 64, kind, stream) for kind in range(5)]
codes.append(acl.rt.synchronize_stream(stream))
codes.append(acl.util.ptr_to_bytes(block, 64) == data)
codes += [acl.rt.free(block), acl.rt.free_host(host), acl.rt.free_host(host)]
print(codes)
"""


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("double-free", "unpinned-copy")
def test_on_a_board_host_and_device_are_one(run_python: Callable[..., str]) -> None:
    """hicann/runtime docs 11-02 `aclrtMallocHost`, 11-03 `aclrtMemcpyAsync`: all kinds are copies on the device."""
    environment = {"ASCEND_EMULATOR_RUN_MODE": "0", "ASCEND_EMULATOR_NODE": "board"}
    found = ast.literal_eval(run_python(BOARD, ASCEND_EMULATOR_SOC="Ascend310B4", **environment))
    assert found == [0] * 11 + [True, 0, 0, 107000]


MODELLED = """
import acl, time
acl.init()
assert acl.rt.set_device(0) == 0
block, _ = acl.rt.malloc(4096, 0)
data, room = bytes(4096), bytes(4096)
host, back = acl.util.bytes_to_ptr(data), acl.util.bytes_to_ptr(room)
stream, _ = acl.rt.create_stream()

def taken_ms(function, *arguments):
    began = time.monotonic()
    assert function(*arguments) == 0
    return (time.monotonic() - began) * 1e3

print([
    taken_ms(acl.rt.memcpy, block, 64, host, 64, 1),
    taken_ms(acl.rt.memcpy, back, 64, block, 64, 2),
    taken_ms(acl.rt.memcpy2d, block, 64, host, 64, 32, 4, 1),
    taken_ms(acl.rt.memcpy_async, block, 64, host, 64, 1, stream),
    min(taken_ms(acl.rt.memcpy, back, 64, host, 64, 0) for _ in range(20)),
])
"""


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("unpinned-copy")
def test_copies_with_pageable_memory_take_their_modelled_time(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    """FIDELITY.md, modelled times: a synchronous copy lasts what the link takes."""
    times = tmp_path / "times.json"
    times.write_text(
        '{"h2d": {"gb_per_s": 12, "fixed_us": 30000}, "d2h": {"gb_per_s": 12, "fixed_us": 20000}}'
    )
    environment = {"ASCEND_EMULATOR_TIMING": "modelled", "ASCEND_EMULATOR_NODE": "modelled-copies"}
    taken = ast.literal_eval(run_python(MODELLED, ASCEND_EMULATOR_TIMES=str(times), **environment))
    assert [found >= least for found, least in zip(taken, (30, 20, 30, 30, 0), strict=True)] == [True] * 5
    assert taken[4] < 10

"""Device and pinned memory, and copies."""

import ctypes
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import acl
import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("device")]

H2H, H2D, D2H, D2D = range(4)


def malloc(size: int) -> int:
    address, ret = acl.rt.malloc(size, 0)
    assert ret == 0, acl.get_recent_err_msg()
    return int(address)


def put(address: int, data: bytes) -> None:
    assert acl.rt.memcpy(address, len(data), acl.util.bytes_to_ptr(data), len(data), H2D) == 0


def take(address: int, size: int) -> bytes:
    data = bytes(size)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(data), size, address, size, D2H) == 0
    return data


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
            faults = [fault for found in pool.map(pin, [800] * 4) for fault in found]
    finally:
        sys.setswitchinterval(interval)
    assert not faults


def test_size_zero_and_null_are_refused() -> None:
    assert acl.rt.malloc(0, 0) == (0, 100000)
    assert acl.rt.malloc_host(0) == (0, 100000)
    assert acl.rt.free(0) == acl.rt.free_host(0) == 100000


def test_fresh_memory_is_not_zero() -> None:
    address = malloc(4096)
    assert take(address, 4096).count(0) < 4096
    host, ret = acl.rt.malloc_host(4096)
    assert ret == 0
    assert ctypes.string_at(host, 4096).count(0) < 4096
    assert [acl.rt.free(address), acl.rt.free_host(host)] == [0, 0]


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


def test_a_block_is_freed_once() -> None:
    address = malloc(64)
    assert acl.rt.free(address + 32) == 100000
    assert acl.rt.free(address) == 0
    assert acl.rt.free(address) == 100000
    host, _ = acl.rt.malloc_host(64)
    assert acl.rt.free_host(host) == 0
    assert acl.rt.free_host(host) == 100000


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
    assert acl.rt.malloc((1 << 64) - 1, 0)[1] != 0
    half = malloc(before // 2)
    assert acl.rt.malloc(before // 2 + (1 << 20), 0) == (0, 207001)
    assert acl.rt.free(half) == 0
    assert free_bytes() == before


def test_memory_kinds_are_checked() -> None:
    assert acl.rt.get_mem_info(99) == (0, 0, 107000)
    totals = [acl.rt.get_mem_info(kind)[1] for kind in (0, 1)]
    assert sorted(total > 0 for total in totals) == [False, True]


def test_blocks_of_a_reset_device_can_still_be_freed_once(device: int) -> None:
    address = malloc(64)
    assert acl.rt.reset_device(0) == 0
    assert acl.rt.free(address) == 0
    assert acl.rt.free(address) == 100000
    assert acl.rt.set_device(0) == 0

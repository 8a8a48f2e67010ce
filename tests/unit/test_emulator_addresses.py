"""Uses of addresses that a program gave, be there memory or not."""

import ctypes
import errno
import mmap

import pytest
from ascend_emulator import libc
from ascend_emulator.arena import Arena
from ascend_emulator.client import addresses
from ascend_emulator.client.addresses import Block
from ascend_emulator.codes import Failure
from ascend_emulator.window import Window

pytestmark = pytest.mark.unit

CODE = 123456


@pytest.fixture(params=["new kernel", "old kernel"], autouse=True)
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to ask the kernel: one before 5.14 does not know the first."""
    if request.param == "old kernel":
        monkeypatch.setattr(libc, "bring_in", lambda *_, **__: errno.EINVAL)


PAGE = mmap.PAGESIZE


class Pages:
    """Three pages of which the middle one may only be read, and behind which nothing is mapped."""

    def __init__(self) -> None:
        self._window = Window(4 * PAGE)
        self.base = self._window.base
        arena = Arena(4 * PAGE)
        self._arena = arena
        self._window.map(0, arena.fd, 0, 3 * PAGE)
        libc = ctypes.CDLL(None)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert libc.mprotect(self.base + PAGE, PAGE, mmap.PROT_READ) == 0

    def close(self) -> None:
        self._window.close()
        self._arena.close()


@pytest.fixture
def pages():
    made = Pages()
    yield made
    made.close()


@pytest.mark.parametrize(
    "address", [1, 8, 4096, (1 << 47) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1], ids=hex
)
@pytest.mark.parametrize("size", [1, 100, 1 << 21, 1 << 40, (1 << 63) - 1, (1 << 64) - 1], ids=hex)
def test_what_is_no_memory_fails_with_the_callers_code(address: int, size: int) -> None:
    room = ctypes.create_string_buffer(100)
    here = ctypes.addressof(room)
    uses = [
        lambda: addresses.read(address, size, code=CODE),
        lambda: addresses.write(address, b"x" * min(size, 4096), code=CODE),
        lambda: addresses.move(address, here, size, code=CODE),
        lambda: addresses.move(here, address, size, code=CODE),
        lambda: addresses.fill(address, 7, size, code=CODE),
    ]
    for use in uses:
        with pytest.raises(Failure) as caught:
            use()
        assert caught.value.code == CODE
    assert room.raw == bytes(100)
    assert not addresses.readable(address, size)
    assert not addresses.writable(address, size)


def test_memory_that_may_only_be_read_is_read_and_not_written(pages: Pages) -> None:
    locked, behind = pages.base + PAGE, pages.base + 3 * PAGE
    assert addresses.read(locked, PAGE) == bytes(PAGE)
    assert addresses.readable(pages.base, 3 * PAGE)
    assert not addresses.readable(pages.base, 3 * PAGE + 1)
    assert addresses.writable(pages.base, PAGE)
    assert not addresses.writable(pages.base, PAGE + 1)
    assert not addresses.writable(behind - 1, 2)
    for target in (locked, behind, behind - 10):
        with pytest.raises(Failure):
            addresses.write(target, b"x" * 20)
        with pytest.raises(Failure):
            addresses.fill(target, 1, 20)
    assert addresses.read(locked, PAGE) == bytes(PAGE)


@pytest.mark.parametrize("size", [0, 1, 4095, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_bytes_go_where_they_should_between_all_kinds_of_memory(size: int) -> None:
    arena = Arena(16 << 20)
    try:
        addresses.live.add(arena.base, 8 << 20, Block(None, PAGE))
        data = bytes(range(256)) * (size // 256 + 1)
        source = ctypes.create_string_buffer(data, len(data))
        target = ctypes.create_string_buffer(size + 2)
        here, there = ctypes.addressof(source), ctypes.addressof(target) + 1
        addresses.move(arena.base, here, size)
        addresses.move(arena.base + (4 << 20), arena.base, size)
        addresses.move(there, arena.base + (4 << 20), size)
        assert target.raw == b"\0" + data[:size] + b"\0"
        addresses.fill(there, 0xAB, size)
        assert target.raw == b"\0" + b"\xab" * size + b"\0"
        addresses.move(there, here, size)
        assert addresses.read(there, size) == data[:size] == addresses.read(arena.base, size)
        addresses.write(there, bytes(size))
        addresses.write(arena.base, bytes(size))
        assert addresses.read(there, size) == bytes(size) == addresses.read(arena.base, size)
        assert target.raw == bytes(size + 2)
    finally:
        addresses.live.take(arena.base)
        arena.close()


def test_emulated_memory_is_used_in_live_blocks_only() -> None:
    arena = Arena(1 << 20)
    room = ctypes.create_string_buffer(256)
    here = ctypes.addressof(room)
    try:
        addresses.live.add(arena.base + 4096, 128, Block(None, PAGE))
        addresses.move(here, arena.base + 4096, 128)
        for start, size in ((4096, 129), (4095, 1), (0, 64), (4224, 1)):
            with pytest.raises(Failure):
                addresses.move(here, arena.base + start, size)
            with pytest.raises(Failure):
                addresses.move(arena.base + start, here, size)
            with pytest.raises(Failure):
                addresses.fill(arena.base + start, 0, size)
            assert not addresses.readable(arena.base + start, size)
        addresses.live.take(arena.base + 4096)
        with pytest.raises(Failure):
            addresses.read(arena.base + 4096, 1)
    finally:
        arena.close()


def test_a_range_that_runs_into_emulated_memory_is_not_there() -> None:
    arena = Arena(4 * PAGE)
    try:
        before, size = arena.base - PAGE, 2 * PAGE
        assert not addresses.readable(before, size)
        assert not addresses.writable(before, size)
        room = ctypes.create_string_buffer(size)
        for target, source in ((before, ctypes.addressof(room)), (ctypes.addressof(room), before)):
            with pytest.raises(Failure):
                addresses.move(target, source, size)
        assert addresses.read(arena.base - 1, 0) == b""
    finally:
        arena.close()


def test_a_window_shows_pieces_of_a_memory_file_and_faults_elsewhere() -> None:
    arena = Arena(8 * PAGE)
    window = Window(4 * PAGE)
    try:
        window.map(PAGE, arena.fd, 6 * PAGE, PAGE)
        ctypes.memset(arena.base + 6 * PAGE, 0x5A, PAGE)
        assert addresses.read(window.base + PAGE, PAGE) == b"\x5a" * PAGE
        assert not addresses.readable(window.base, 1)
        assert not addresses.readable(window.base + PAGE, PAGE + 1)
        window.unmap(PAGE)
        assert not addresses.readable(window.base + PAGE, 1)
        with pytest.raises(OSError, match="mmap"):
            Window(PAGE, wanted=window.base)
    finally:
        window.close()
        arena.close()

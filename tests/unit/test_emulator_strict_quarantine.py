"""Freed memory waits before it is free for real, and the program cannot tell."""

from typing import Any

import pytest
from ascend_emulator.strict.blocks import Block, Memory
from ascend_emulator.strict.findings import Finding
from ascend_emulator.strict.quarantine import BLOCKS, BYTES, Quarantine
from ascend_emulator.strict.sanitizer import Sanitizer
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


def block(start: int, size: int) -> Block:
    return Block(start, size, Memory.DEVICE, "acl.rt.free", 0, ())


@given(st.lists(st.integers(1, BYTES + (1 << 20)), max_size=40))
def test_every_block_is_released_once_and_oldest_first(sizes: list[int]) -> None:
    quarantine = Quarantine()
    released: list[int] = []
    for number, size in enumerate(sizes):
        for release in quarantine.add(block(number, size), lambda number=number: released.append(number)):
            release()
        kept = range(len(released), number + 1)
        assert sum(sizes[place] for place in kept) <= BYTES
        assert quarantine.device_bytes() == sum(sizes[place] for place in kept)
    for release in quarantine.take_all():
        release()
    assert released == list(range(len(sizes)))


def test_the_number_of_blocks_is_bounded() -> None:
    quarantine = Quarantine()
    due = [quarantine.add(block(number, 1), int) for number in range(BLOCKS + 3)]
    assert [len(one) for one in due] == [0] * BLOCKS + [1] * 3


class Device:
    """Device memory that counts what is really free; an `Insight` and the functions of `acl` at once."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.live: dict[int, int] = {}
        self.alive = True
        self.room = 1 << 30
        self.next = 0x7F00_0000_0000
        self.sanitizer = Sanitizer(self, self.findings.append)

    def device(self) -> int:
        return 0

    def default_stream(self) -> int:
        return 0

    def open_devices(self) -> frozenset[int]:
        return frozenset((0,))

    set_devices = open_devices

    def is_board(self) -> bool:
        return False

    def is_of_card(self, address: int) -> bool:
        return address >= 0x7F00_0000_0000

    def is_alive(self, device: int) -> bool:
        return self.alive

    def free_bytes(self) -> int:
        return self.room - sum(self.live.values())

    def bytes_at(self, address: int) -> int:
        return 0

    def buffers(self, dataset: int) -> list[tuple[int, int]]:
        return []

    def gear_buffer(self, dataset: int, index: int) -> None:
        return None

    def malloc(self, size: int) -> tuple[int, int]:
        def body(size: int, policy: int) -> tuple[int, int]:
            if self.free_bytes() < size:
                return 0, 207001
            self.next += 1 << 32
            self.live[self.next] = size
            return self.next, 0

        result: tuple[int, int] = self._call("acl.rt.malloc", body, size, 0)
        return result

    def free(self, address: int) -> int:
        code: int = self._call(
            "acl.rt.free", lambda address: 0 if self.live.pop(address, 0) else 100000, address
        )
        return code

    def call(self, path: str, *arguments: Any) -> Any:
        return self._call(path, lambda *_: 0, *arguments)

    def _call(self, path: str, body: Any, *arguments: Any) -> Any:
        class Function:
            def __init__(self) -> None:
                self.path = path

            def run(self, arguments: tuple[Any, ...]) -> Any:
                return body(*arguments)

            def code_of(self, result: Any) -> Any:
                return result[-1] if isinstance(result, tuple) else result

        function: Any = Function()
        return self.sanitizer.around(function, function.run, arguments)


@pytest.fixture
def device() -> Device:
    return Device()


def test_a_freed_block_is_kept(device: Device) -> None:
    address, _ = device.malloc(100)
    assert device.free(address) == 0
    assert address in device.live
    device.sanitizer.release_all()
    assert device.live == {}


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("acl.rt.get_mem_info", (0,)),
        ("acl.mdl.load_from_file", ("x.om",)),
        ("acl.rt.reset_device", (0,)),
        ("acl.finalize", ()),
    ],
)
def test_what_sees_free_memory_finds_it_free(device: Device, path: str, arguments: tuple[Any, ...]) -> None:
    device.free(device.malloc(100)[0])
    seen: list[int] = []

    def body(*_: Any) -> tuple[int, int]:
        seen.append(len(device.live))
        return 1, 0

    device._call(path, body, *arguments)
    assert seen == [0]


def test_an_allocation_that_needs_the_room_gets_it(device: Device) -> None:
    device.room = 100 << 20
    device.free(device.malloc(50 << 20)[0])
    assert device.malloc(80 << 20)[1] == 0


def test_a_second_free_fails_as_it_would_without(device: Device) -> None:
    address, _ = device.malloc(100)
    assert [device.free(address), device.free(address)] == [0, 100000]
    assert [finding.kind for finding in device.findings] == ["double-free"]


def test_a_block_that_is_misused_is_free_for_real(device: Device) -> None:
    address, _ = device.malloc(100)
    device.free(address)
    device.call("acl.rt.memset", address, 8, 0, 8)
    assert [finding.kind for finding in device.findings] == ["use-after-free"]
    assert device.live == {}


def test_freed_memory_looks_free(device: Device) -> None:
    address, _ = device.malloc(100)
    device.free(address)
    device.call("acl.rt.pointer_get_attributes", address)
    assert (device.live, device.findings) == ({}, [])


def test_shared_memory_is_free_at_once(device: Device) -> None:
    address, _ = device.malloc(100)
    device.call("acl.rt.ipc_mem_get_export_key", address, 100, 65, 0)
    device.free(address)
    assert (device.live, device.findings) == ({}, [])


def test_a_lost_device_gives_its_own_answer(device: Device) -> None:
    address, _ = device.malloc(100)
    device.alive = False
    assert device._call("acl.rt.free", lambda address: 507010, address) == 507010

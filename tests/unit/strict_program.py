"""A program whose calls strict mode watches, without a device: each call is given what it answers."""

from typing import Any

import pytest
from ascend_emulator.strict.findings import Finding
from ascend_emulator.strict.insight import Range
from ascend_emulator.strict.sanitizer import Sanitizer

DEVICE, PINNED, HOST = 0x7F00_0000_0000, 0x7E00_0000_0000, 0x1234_5678
STREAMS = 0x5500_0000_0000, 0x5500_0000_0040
DEFAULT_STREAM = 0x5500_0000_0080
EVENT, INPUTS, OUTPUTS = 0x5500_0000_00C0, 0x5500_0000_0100, 0x5500_0000_0140
MODEL = 3
H2D, D2H = 1, 2


class FakeInsight:
    """A client with one open device, whose memory is [DEVICE, +1 GiB), with pinned memory at [PINNED, +1 GiB)."""

    def __init__(self) -> None:
        self.opened = frozenset((0,))
        self.free = 1 << 40
        self.board = False
        self.ranges: dict[int, list[Range]] = {}

    def device(self) -> int:
        return 0

    def default_stream(self) -> int:
        return DEFAULT_STREAM

    def open_devices(self) -> frozenset[int]:
        return self.opened

    def set_devices(self) -> frozenset[int]:
        return self.opened

    def is_board(self) -> bool:
        return self.board

    def is_of_card(self, address: int) -> bool:
        return any(base <= address < base + (1 << 30) for base in (DEVICE, PINNED))

    def is_alive(self, device: int) -> bool:
        return device in self.opened

    def free_bytes(self) -> int:
        return self.free

    def bytes_at(self, address: int) -> int:
        return 4096

    def buffers(self, dataset: int) -> list[Range]:
        return self.ranges.get(dataset, [])

    def gear_buffer(self, dataset: int, index: int) -> Range | None:
        ranges = self.buffers(dataset)
        return ranges[index] if index < len(ranges) else None


class FakeFunction:
    """A function of `acl` whose result is given, and that counts how often it was really called."""

    def __init__(self, path: str, result: Any) -> None:
        self.path = path
        self.result = result
        self.runs: list[tuple[Any, ...]] = []

    def run(self, arguments: tuple[Any, ...]) -> Any:
        self.runs.append(arguments)
        return self.result(*arguments) if callable(self.result) else self.result

    def code_of(self, result: Any) -> int | None:
        bare = self.path.endswith(("create_dataset", "create_data_buffer", "ptr_to_bytes", "ptr_to_numpy"))
        return None if bare else result[-1] if isinstance(result, tuple) else result


class Program:
    """A program whose every call is watched."""

    def __init__(self) -> None:
        self.insight = FakeInsight()
        self.findings: list[Finding] = []
        self.sanitizer = Sanitizer(self.insight, self.findings.append)
        self.functions: dict[str, FakeFunction] = {}

    def __call__(self, name: str, *arguments: Any, gives: Any = 0) -> Any:
        function = self.functions[name] = FakeFunction(f"acl.{name}", gives)
        watched: Any = function
        return self.sanitizer.around(watched, function.run, arguments)

    @property
    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.findings]

    def malloc(self, size: int, address: int = DEVICE) -> int:
        self("rt.malloc", size, 0, gives=(address, 0))
        return address

    def malloc_host(self, size: int, address: int = PINNED) -> int:
        self("rt.malloc_host", size, gives=(address, 0))
        return address

    def copy_in(self, stream: int, size: int = 64, offset: int = 0) -> None:
        self("rt.memcpy_async", DEVICE + offset, size, PINNED + offset, size, H2D, stream)

    def copy_out(self, stream: int, size: int = 64, offset: int = 0) -> None:
        self("rt.memcpy_async", PINNED + offset, size, DEVICE + offset, size, D2H, stream)

    def read(self, size: int = 64, offset: int = 0) -> None:
        self("util.ptr_to_bytes", PINNED + offset, size, gives=b"")


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def memory(program: Program) -> Program:
    """A program with a device block and a pinned block of 128 bytes."""
    program.malloc(128)
    program.malloc_host(128)
    return program

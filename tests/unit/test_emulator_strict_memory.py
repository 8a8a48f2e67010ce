"""What strict mode says of blocks: freed, freed again, left."""

from typing import Any

import pytest

from tests.unit import strict_program
from tests.unit.strict_program import D2H, DEVICE, H2D, HOST, PINNED, STREAMS, Program

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
program, memory = strict_program.program, strict_program.memory


def test_a_correct_life_of_memory_is_no_finding(memory: Program) -> None:
    memory("rt.memcpy", DEVICE, 128, HOST, 128, H2D)
    memory("rt.memcpy", PINNED + 64, 64, DEVICE + 64, 64, D2H)
    memory("rt.memset", DEVICE, 128, 0, 128)
    memory.read(128)
    assert memory("rt.free", DEVICE) == memory("rt.free_host", PINNED) == 0
    assert memory.kinds == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rt.memcpy", (DEVICE, 256, HOST, 129, H2D)),
        ("rt.memcpy", (HOST, 256, DEVICE + 100, 29, D2H)),
        ("rt.memcpy", (DEVICE + 128, 256, HOST, 1, H2D)),
        ("rt.memcpy", (DEVICE - 16, 256, HOST, 32, H2D)),
        ("rt.memset", (DEVICE + 64, 256, 0, 96)),
        ("rt.memcpy2d", (DEVICE, 64, HOST, 64, 32, 4, H2D)),
        ("util.ptr_to_bytes", (PINNED, 129)),
        ("util.ptr_to_numpy", (PINNED, (33,), 11)),
        ("mdl.load_from_mem", (PINNED + 1, 128)),
    ],
    ids=lambda value: str(value),
)
def test_what_leaves_its_block_is_out_of_bounds(
    memory: Program, name: str, arguments: tuple[Any, ...]
) -> None:
    memory(name, *arguments, gives=(1, 0) if "load" in name else 0)
    assert memory.kinds == ["out-of-bounds"]
    assert memory.findings[0].origins[0][0] == "allocated"


def test_the_last_byte_is_in_bounds(memory: Program) -> None:
    memory("rt.memcpy2d", DEVICE, 64, HOST, 64, 64, 2, H2D)
    memory("util.ptr_to_numpy", PINNED, (4, 8), 11, gives=None)
    memory("rt.memcpy", DEVICE + 127, 1, PINNED + 127, 1, H2D)
    assert memory.kinds == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rt.memcpy", (DEVICE + 8, 8, HOST, 8, H2D)),
        ("rt.memcpy", (HOST, 8, DEVICE, 8, D2H)),
        ("rt.memset_async", (DEVICE, 8, 0, 8, STREAMS[0])),
        ("rt.memcpy_async", (DEVICE, 8, PINNED, 8, H2D, STREAMS[0])),
    ],
    ids=lambda value: str(value),
)
def test_use_after_free_names_both_places(memory: Program, name: str, arguments: tuple[Any, ...]) -> None:
    memory("rt.free", DEVICE)
    memory(name, *arguments)
    assert memory.kinds == ["use-after-free"]
    assert [what for what, _ in memory.findings[0].origins] == ["freed", "allocated"]


def test_a_block_that_takes_the_place_of_a_freed_one_is_a_new_block(memory: Program) -> None:
    memory("rt.free", DEVICE)
    memory.malloc(64, DEVICE + 32)
    memory("rt.memcpy", DEVICE + 32, 64, HOST, 64, H2D)
    assert memory.kinds == []


def test_memory_of_a_device_that_is_gone_is_the_hosts_again(memory: Program) -> None:
    memory("rt.free", DEVICE)
    memory.insight.opened = frozenset()
    memory.insight.is_of_card = lambda address: False  # type: ignore[method-assign] - nothing is mapped now
    memory("rt.reset_device", 0)
    memory("rt.memcpy", DEVICE, 8, HOST, 8, 0)
    assert memory.kinds == []


def test_double_and_wrong_frees(memory: Program) -> None:
    memory("rt.free", DEVICE + 64, gives=100000)
    memory("rt.free", PINNED, gives=100000)
    memory("rt.free", DEVICE)
    assert memory.kinds == ["wrong-free", "wrong-free"]
    memory("rt.free", DEVICE, gives=100000)
    assert memory.kinds[2:] == ["double-free"]
    memory("rt.free", 0, gives=100000)
    memory("rt.free", HOST, gives=100000)
    assert len(memory.findings) == 3


def test_memory_that_a_reset_took_away_may_be_freed_once(memory: Program) -> None:
    memory.insight.opened = frozenset()
    memory("rt.reset_device", 0)
    memory("rt.free", DEVICE)
    assert memory.kinds == []
    memory("rt.free", DEVICE, gives=100000)
    assert memory.kinds == ["double-free"]


def test_host_code_reads_no_device_memory_unless_it_is_a_board(memory: Program) -> None:
    memory("util.ptr_to_bytes", DEVICE, 8, gives=b"")
    assert memory.kinds == ["device-read"]
    memory.insight.board = True
    memory("util.ptr_to_bytes", DEVICE, 8, gives=b"")
    assert memory.kinds == ["device-read"]


def test_asynchronous_copies_need_pinned_memory(memory: Program) -> None:
    memory("rt.memcpy_async", DEVICE, 64, HOST, 64, H2D, STREAMS[0])
    memory("rt.memcpy_async", HOST, 64, DEVICE, 64, D2H, STREAMS[0])
    assert memory.kinds == ["unpinned-copy"] * 2
    memory("rt.memcpy_async_with_condition", DEVICE, 64, HOST, 64, H2D, STREAMS[0])
    memory("rt.host_register", HOST, 4096, 0, gives=(DEVICE, 0))
    memory("rt.memcpy_async", DEVICE + 64, 64, HOST, 64, H2D, STREAMS[0])
    assert len(memory.findings) == 2


@pytest.mark.parametrize("name", ["rt.memcpy_async", "rt.memcpy_async_with_condition"])
def test_a_copy_of_pageable_memory_waits_for_its_stream(memory: Program, name: str) -> None:
    memory.copy_out(STREAMS[0])
    memory(name, DEVICE + 64, 64, HOST, 64, H2D, STREAMS[0])
    memory.read()
    memory("rt.memset", DEVICE + 64, 64, 0, 64)
    assert set(memory.kinds) <= {"unpinned-copy"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("rt.memcpy", (DEVICE, 128, HOST, 129, H2D)), ("rt.memset", (DEVICE, 128, 0, 129))],
)
def test_more_bytes_than_the_room_a_call_is_told_of_are_its_own_refusal(
    memory: Program, name: str, arguments: tuple[Any, ...]
) -> None:
    memory(name, *arguments, gives=107000)
    assert memory.kinds == []


def test_imported_memory_is_memory_of_its_own(memory: Program) -> None:
    """Another process's block may come where one of this process was."""
    memory("rt.free", DEVICE)
    memory("rt.ipc_mem_import_by_key", "key", 0, gives=(DEVICE, 0))
    memory("rt.memcpy", DEVICE + 4000, 96, HOST, 96, H2D)
    assert memory.kinds == []
    memory("rt.memcpy", DEVICE + 4000, 97, HOST, 97, H2D)
    assert memory.kinds == ["out-of-bounds"]
    memory("rt.ipc_mem_close", "key")
    memory("rt.memcpy", DEVICE, 8, HOST, 8, H2D)
    assert memory.kinds == ["out-of-bounds", "use-after-free"]


def test_memory_that_a_process_shares_with_itself_stays_its_own(memory: Program) -> None:
    memory("rt.ipc_mem_import_by_key", "key", 0, gives=(DEVICE, 0))
    memory("rt.ipc_mem_close", "key")
    memory("rt.memcpy", DEVICE, 128, HOST, 128, H2D)
    memory("rt.free", DEVICE)
    assert memory.kinds == []


def test_memory_is_not_freed_under_a_model(memory: Program) -> None:
    memory("mdl.load_from_file_with_mem", "x.om", DEVICE, 64, DEVICE + 64, 64, gives=(3, 0))
    memory("rt.free", DEVICE)
    assert memory.kinds == ["free-in-flight"]
    assert memory.functions["rt.free"].runs == [(DEVICE,)]
    memory.malloc(128)
    memory("mdl.load_from_file_with_mem", "x.om", DEVICE, 64, 0, 0, gives=(4, 0))
    memory("mdl.unload", 4)
    memory("rt.free", DEVICE)
    assert memory.kinds == ["free-in-flight"]


@pytest.mark.parametrize("name", ["rt.mem_flush", "rt.mem_invalidate", "rt.ipc_mem_get_export_key"])
def test_what_names_memory_must_name_a_block(memory: Program, name: str) -> None:
    memory.copy_in(0)
    memory(name, DEVICE, 128)
    assert memory.kinds == []
    memory(name, DEVICE, 129, gives=107000)
    assert memory.kinds == ["out-of-bounds"]

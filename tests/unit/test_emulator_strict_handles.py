"""What strict mode says of handles, threads, forks, and of what is left at the end."""

import pytest

from tests.unit import strict_program
from tests.unit.strict_program import DEVICE, EVENT, H2D, HOST, INPUTS, MODEL, PINNED, STREAMS, Program

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
program, memory = strict_program.program, strict_program.memory


def test_handles_are_ended_once_and_not_used_after(program: Program) -> None:
    program("rt.create_event", gives=(EVENT, 0))
    program("rt.destroy_event", EVENT)
    program("rt.record_event", EVENT, STREAMS[0], gives=100000)
    program("rt.destroy_event", EVENT, gives=100000)
    assert program.kinds == ["use-after-free", "double-free"]


def test_a_handle_of_another_kind_is_a_wrong_free(program: Program) -> None:
    program("mdl.create_dataset", gives=INPUTS)
    program("destroy_data_buffer", INPUTS, gives=100000)
    assert program.kinds == ["wrong-free"]


def test_an_address_that_comes_back_is_a_new_thing(program: Program) -> None:
    for _ in range(2):
        program("rt.host_register", HOST, 4096, 0, gives=(DEVICE, 0))
        program("rt.host_unregister", HOST)
    assert program.kinds == []
    program("rt.host_unregister", HOST, gives=107000)
    assert program.kinds == ["double-free"]


def test_addresses_are_not_taken_for_handles(program: Program) -> None:
    program("rt.create_event", gives=(EVENT, 0))
    program("rt.destroy_event", EVENT)
    program("rt.memcpy", HOST, 8, EVENT, 8, 0)
    assert program.kinds == []


def test_what_is_alive_at_finalize_leaks(memory: Program) -> None:
    memory("rt.create_stream", gives=(STREAMS[0], 0))
    memory("mdl.load_from_file", "x.om", gives=(MODEL, 0))
    memory("rt.free_host", PINNED)
    memory("finalize_reference", gives=(1, 0))
    assert memory.kinds == []
    memory("finalize")
    assert memory.kinds == ["leak"] * 4
    texts = " ".join(finding.text for finding in memory.findings)
    assert all(word in texts for word in ("device memory", "stream", "model", "device 0"))


def test_leaks_of_one_place_are_one_finding(program: Program) -> None:
    program.insight.opened = frozenset()
    for index in range(5):
        program.malloc(64, DEVICE + index * 4096)
    program("finalize")
    assert [finding.size for finding in program.findings] == [320]


def test_a_thread_without_a_context_is_found_unless_it_asks(program: Program) -> None:
    program("rt.get_context", gives=(0, 107002))
    program("rt.get_device", gives=(0, 107002))
    assert program.kinds == []
    program("rt.malloc", 64, 0, gives=(0, 107002))
    assert program.kinds == ["no-context"]


def test_numbers_are_not_taken_for_codes(program: Program) -> None:
    program("mdl.create_dataset", gives=107002)
    assert program.kinds == []


def test_a_forked_child_may_not_use_what_its_parent_opened(memory: Program) -> None:
    memory.sanitizer.before_fork()
    memory.insight.opened = frozenset()
    memory.sanitizer.after_fork()
    memory("rt.get_run_mode", gives=(1, 0))
    assert memory.kinds == []
    memory("rt.memcpy", DEVICE, 8, HOST, 8, H2D, gives=107002)
    assert memory.kinds == ["use-after-fork"] * 2
    memory("rt.set_device", 0, gives=507033)
    assert memory.kinds == ["use-after-fork"] * 3
    assert memory.findings[-1].origins[0][0] == "forked"


def test_a_child_forked_before_a_device_was_opened_is_free(program: Program) -> None:
    program.insight.opened = frozenset()
    program("mdl.create_dataset", gives=INPUTS)
    program.sanitizer.before_fork()
    program.sanitizer.after_fork()
    program("finalize")
    program.insight.opened = frozenset((0,))
    program.malloc(64)
    program("rt.free", DEVICE)
    assert program.kinds == []

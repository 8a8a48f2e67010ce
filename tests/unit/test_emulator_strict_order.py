"""What strict mode takes a program to know of queued work, and what it must not do without knowing."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit import strict_program
from tests.unit.strict_program import (
    DEFAULT_STREAM,
    DEVICE,
    EVENT,
    H2D,
    HOST,
    INPUTS,
    MODEL,
    OUTPUTS,
    PINNED,
    STREAMS,
    Program,
)

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
program, memory = strict_program.program, strict_program.memory


def test_a_buffer_is_poisoned_until_its_stream_is_synchronised(memory: Program) -> None:
    memory.copy_out(STREAMS[0])
    memory.read(64, offset=64)
    assert memory.kinds == []
    memory.read(1, offset=63)
    assert memory.kinds == ["unsynchronised-read"]
    assert [what for what, _ in memory.findings[0].origins] == ["queued", "allocated"]
    memory("rt.memcpy", HOST, 8, PINNED, 8, 0)
    memory("rt.synchronize_stream", STREAMS[1])
    memory("util.ptr_to_numpy", PINNED, (8,), 11, gives=None)
    assert memory.kinds == ["unsynchronised-read"] * 3
    memory("rt.synchronize_stream", STREAMS[0])
    memory.read()
    assert len(memory.findings) == 3


def _wait_for_stream(program: Program) -> None:
    program("rt.synchronize_stream", STREAMS[0])


def _wait_in_time(program: Program) -> None:
    program("rt.synchronize_stream_with_timeout", STREAMS[0], 100)


def _wait_for_failed_work(program: Program) -> None:
    program("rt.synchronize_stream", STREAMS[0], gives=507011)


def _find_complete(program: Program) -> None:
    program("rt.stream_query", STREAMS[0], gives=(0, 0))


def _wait_for_device(program: Program) -> None:
    program("rt.synchronize_device")


def _destroy(program: Program) -> None:
    program("rt.destroy_stream", STREAMS[0])


def _wait_for_event(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.synchronize_event", EVENT)


def _find_event_reached(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.query_event_status", EVENT, gives=(1, 0))


def _find_event_complete(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.query_event", EVENT, gives=(0, 0))


def _measure(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.event_elapsed_time", EVENT, EVENT, gives=(0.5, 0))


def _wait_for_another_stream_that_waits(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.stream_wait_event", STREAMS[1], EVENT)
    program("rt.synchronize_stream", STREAMS[1])


def _run_callback(program: Program) -> None:
    launched: list[Callable[[Any], Any]] = []
    program(
        "rt.launch_callback",
        lambda data: data,
        None,
        1,
        STREAMS[0],
        gives=lambda *a: launched.append(a[0]) or 0,
    )
    launched[0](None)


def _reset(program: Program) -> None:
    program.insight.opened = frozenset()
    program("rt.reset_device", 0)


@pytest.mark.parametrize(
    "wait",
    [
        _wait_for_stream,
        _wait_in_time,
        _wait_for_failed_work,
        _find_complete,
        _wait_for_device,
        _destroy,
        _wait_for_event,
        _find_event_reached,
        _find_event_complete,
        _measure,
        _wait_for_another_stream_that_waits,
        _run_callback,
        _reset,
    ],
)
def test_what_tells_a_program_that_work_has_ended(memory: Program, wait: Callable[[Program], None]) -> None:
    memory("rt.create_stream", gives=(STREAMS[0], 0))
    memory.copy_out(STREAMS[0])
    wait(memory)
    memory.read()
    assert memory.kinds == []


def _run_out_of_time(program: Program) -> None:
    program("rt.synchronize_stream_with_timeout", STREAMS[0], 1, gives=507046)


def _find_pending(program: Program) -> None:
    program("rt.stream_query", STREAMS[0], gives=(1, 0))


def _find_event_pending(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.query_event_status", EVENT, gives=(0, 0))


def _wait_for_event_recorded_before(program: Program) -> None:
    program("rt.synchronize_event", EVENT)


def _wait_for_forgotten_event(program: Program) -> None:
    program("rt.record_event", EVENT, STREAMS[0])
    program("rt.reset_event", EVENT, STREAMS[0])
    program("rt.synchronize_event", EVENT)


def _execute(program: Program) -> None:
    program("mdl.execute", MODEL, INPUTS, OUTPUTS)


def _copy(program: Program) -> None:
    program("rt.memcpy", DEVICE + 64, 64, HOST, 64, H2D)


@pytest.mark.parametrize(
    "wait",
    [
        _run_out_of_time,
        _find_pending,
        _find_event_pending,
        _wait_for_event_recorded_before,
        _wait_for_forgotten_event,
        _execute,
        _copy,
    ],
)
def test_what_tells_a_program_nothing(memory: Program, wait: Callable[[Program], None]) -> None:
    memory("rt.record_event", EVENT, STREAMS[0])
    memory.copy_out(STREAMS[0])
    wait(memory)
    memory.read()
    assert memory.kinds == ["unsynchronised-read"]


def test_stream_0_is_the_default_stream(memory: Program) -> None:
    memory.copy_out(0)
    memory("rt.synchronize_stream", DEFAULT_STREAM)
    memory.read()
    assert memory.kinds == []


def test_a_wait_covers_what_was_queued_when_it_began(memory: Program) -> None:
    def queue_meanwhile(stream: int) -> int:
        memory.copy_out(STREAMS[0])
        return 0

    memory("rt.synchronize_stream", STREAMS[0], gives=queue_meanwhile)
    memory.read()
    assert memory.kinds == ["unsynchronised-read"]


def test_work_on_one_stream_is_in_order(memory: Program) -> None:
    memory.copy_in(STREAMS[0])
    memory.copy_out(STREAMS[0])
    memory.copy_in(STREAMS[0])
    assert memory.kinds == []


def test_work_on_two_streams_needs_an_event_between(memory: Program) -> None:
    memory.copy_in(STREAMS[0])
    memory("rt.record_event", EVENT, STREAMS[0])
    memory("rt.stream_wait_event", STREAMS[1], EVENT)
    memory("rt.memset_async", DEVICE, 64, 0, 64, STREAMS[1])
    assert memory.kinds == []
    memory.copy_in(STREAMS[0])
    assert memory.kinds == ["in-flight-write"]


def test_a_source_stays_as_it_is_until_it_was_read(memory: Program) -> None:
    memory.copy_in(STREAMS[0])
    memory.read()
    assert memory.kinds == []
    memory("rt.memset", PINNED, 128, 0, 128)
    assert memory.kinds == ["in-flight-write"]


def test_what_queued_work_uses_is_not_freed(memory: Program) -> None:
    memory.copy_in(STREAMS[0])
    memory("rt.free_host", PINNED)
    assert memory.kinds == ["free-in-flight"]
    assert memory.functions["rt.free_host"].runs == [(PINNED,)]
    memory("rt.synchronize_stream", STREAMS[0])
    memory("rt.free", DEVICE)
    assert memory.kinds == ["free-in-flight"]


def test_a_source_that_was_read_at_once_may_change(memory: Program) -> None:
    """Copy kind 5 has read its source when it returns (facts/pyacl.md §15.3)."""
    memory("rt.memcpy_async", DEVICE, 64, PINNED, 64, 5, STREAMS[0])
    memory("rt.memset", PINNED, 64, 0, 64)
    assert memory.kinds == []
    memory("rt.memset", DEVICE, 64, 0, 64)
    assert memory.kinds == ["in-flight-write"]


@pytest.mark.parametrize(("is_waited_for", "kinds"), [(1, []), (0, ["unsynchronised-read"])])
def test_work_that_waits_for_a_callback_has_not_begun_in_it(
    memory: Program, is_waited_for: int, kinds: list[str]
) -> None:
    launched: list[Callable[[Any], Any]] = []
    memory(
        "rt.launch_callback",
        lambda _: memory.read(),
        None,
        is_waited_for,
        STREAMS[0],
        gives=lambda *arguments: launched.append(arguments[0]) or 0,
    )
    memory.copy_out(STREAMS[0])
    launched[0](None)
    assert memory.kinds == kinds
    memory.read()
    assert memory.kinds == [*kinds, "unsynchronised-read"]

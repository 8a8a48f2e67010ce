"""What strict mode says of models and datasets."""

from typing import Any

import pytest

from tests.unit.strict_program import D2H, DEVICE, EVENT, HOST, INPUTS, MODEL, OUTPUTS, STREAMS, Program

pytestmark = pytest.mark.unit


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def network(program: Program) -> Program:
    """A program with a model of one input and one output, and memory for a dataset of each."""
    program.malloc(128)
    program.malloc(128, DEVICE + 4096)
    program("mdl.load_from_file", "x.om", gives=(MODEL, 0))
    program.insight.ranges = {
        INPUTS: [(DEVICE, 128)],
        OUTPUTS: [(DEVICE + 4096, 128)],
        INPUTS + 8: [(DEVICE, 128)],
        OUTPUTS + 8: [(DEVICE + 4096, 128)],
    }
    return program


def test_one_execution_after_another_is_no_finding(network: Program) -> None:
    for _ in range(3):
        network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
        network("rt.synchronize_stream", STREAMS[0])
        network("mdl.execute", MODEL, INPUTS, OUTPUTS)
        network("rt.memcpy", HOST, 128, DEVICE + 4096, 128, D2H)
    assert network.kinds == []


def test_a_dataset_is_in_flight_until_the_program_waits(network: Program) -> None:
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS + 8, STREAMS[0])
    assert network.kinds == ["dataset-in-flight"]


def test_a_model_runs_on_one_stream_at_a_time(network: Program) -> None:
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    network.insight.ranges[OUTPUTS + 8] = []
    network("mdl.execute_async", MODEL, INPUTS + 8, OUTPUTS + 8, STREAMS[1])
    assert network.kinds == ["model-on-two-streams"]
    network("mdl.execute", MODEL, INPUTS + 16, OUTPUTS + 16)
    assert network.kinds == ["model-on-two-streams"] * 2


def test_events_put_executions_on_two_streams_in_order(network: Program) -> None:
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    network("rt.record_event", EVENT, STREAMS[0])
    network("rt.stream_wait_event", STREAMS[1], EVENT)
    network("mdl.execute_async", MODEL, INPUTS + 8, OUTPUTS + 8, STREAMS[1])
    assert network.kinds == []


def test_results_are_read_after_a_wait(network: Program) -> None:
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    network("rt.memcpy", HOST, 128, DEVICE + 4096, 128, D2H)
    assert network.kinds == ["unsynchronised-read"]


def test_the_gear_of_a_queued_execution_stays_as_it_is(network: Program) -> None:
    network("mdl.set_dynamic_batch_size", MODEL, INPUTS, 0, 4)
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    assert network.kinds == []
    network("mdl.set_dynamic_batch_size", MODEL, INPUTS, 0, 8)
    assert network.kinds == ["in-flight-write"]


def test_execute_v2_waits_for_itself(network: Program) -> None:
    network("mdl.execute_v2", MODEL, INPUTS, OUTPUTS, STREAMS[0], 0)
    network("rt.memcpy", HOST, 128, DEVICE + 4096, 128, D2H)
    assert network.kinds == []


def test_a_model_is_unloaded_once_and_idle(network: Program) -> None:
    network("mdl.execute_async", MODEL, INPUTS, OUTPUTS, STREAMS[0])
    network("mdl.unload", MODEL)
    network("mdl.unload", MODEL, gives=145003)
    network("mdl.execute", MODEL, 0, 0, gives=145003)
    # That execution is still in flight, too.
    assert network.kinds == [
        "free-in-flight",
        "double-free",
        "free-in-flight",
        "use-after-free",
        "model-on-two-streams",
    ]


def test_buffers_outside_their_blocks_are_found(network: Program) -> None:
    network.insight.ranges[INPUTS] = [(DEVICE, 160)]
    network("mdl.execute", MODEL, INPUTS, OUTPUTS)
    assert network.kinds == ["out-of-bounds"]


def test_outputs_that_an_execution_allocates_are_the_programs(network: Program) -> None:
    def allocate(*_: Any) -> int:
        network.insight.ranges[OUTPUTS] = [(DEVICE + 8192, 64)]
        return 0

    network.insight.ranges[OUTPUTS] = [(0, 0)]
    network("mdl.execute", MODEL, INPUTS, OUTPUTS, gives=allocate)
    network("rt.memcpy", HOST, 65, DEVICE + 8192, 65, D2H)
    assert network.kinds == ["out-of-bounds"]
    network("rt.free", DEVICE + 8192)
    assert len(network.findings) == 1

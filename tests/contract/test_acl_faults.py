"""Faults on demand and the control API, on cards of these tests' own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.tools import until

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

SETUP = """
import acl, sys
from ascend_emulator.control import Card, ControlError, cards
acl.init()
print("set", acl.rt.set_device(0))
"""

RUN_STATIC = """
import numpy as np
model, ret = acl.mdl.load_from_file(sys.argv[1])
print("load", ret)
desc = acl.mdl.create_desc(); acl.mdl.get_desc(desc, model)
def dataset(count, size_of):
    made = acl.mdl.create_dataset()
    for i in range(count):
        size = size_of(desc, i)
        acl.mdl.add_dataset_buffer(made, acl.create_data_buffer(acl.rt.malloc(size, 0)[0], size))
    return made
x = dataset(acl.mdl.get_num_inputs(desc), acl.mdl.get_input_size_by_index)
z = dataset(acl.mdl.get_num_outputs(desc), acl.mdl.get_output_size_by_index)
def execute(stream=0):
    return acl.mdl.execute_async(model, x, z, stream) or acl.rt.synchronize_stream(stream)
"""


@contextmanager
def client(program: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs beside the test; killed when the test is done with it."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_third_allocation_fails(run_python: Callable[..., str]) -> None:
    """207001 as facts/pyacl.md §16; the grammar is `card/faults.py`'s."""
    program = SETUP + "print([acl.rt.malloc(64, 0)[1] for _ in range(4)], acl.rt.malloc_host(64)[1])"
    printed = run_python(
        program, ASCEND_EMULATOR_NODE="f-malloc", ASCEND_EMULATOR_FAULTS="malloc:nth=3; malloc_host"
    )
    assert printed.splitlines()[1] == "[0, 0, 207001, 0] 207001"


def test_a_wrong_rule_is_told_when_the_device_is_set(run_python: Callable[..., str]) -> None:
    """507033 with variable, value and rule, as every setting (ascend_emulator/settings.py)."""
    program = SETUP + "print(acl.get_recent_err_msg())"
    printed = run_python(program, ASCEND_EMULATOR_NODE="f-wrong", ASCEND_EMULATOR_FAULTS="malloc:nth=none")
    assert printed.splitlines()[0] == "set 507033"
    assert "ASCEND_EMULATOR_FAULTS is 'malloc:nth=none'" in printed
    assert "nth must be a whole number" in printed


def test_an_execution_and_a_load_fail_with_the_code_of_the_rule(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    """A failed task's code comes out at the next synchronise, once (facts/pyacl.md §6.4)."""
    program = SETUP + "print('first', acl.mdl.load_from_file(sys.argv[1])[1])\n" + RUN_STATIC
    program += "print([execute() for _ in range(4)], 'execute:nth=2' in acl.get_recent_err_msg())"
    printed = run_python(
        program,
        om_files["static"],
        ASCEND_EMULATOR_NODE="f-execute",
        ASCEND_EMULATOR_FAULTS="load:code=545601;execute:nth=2,code=507011",
    )
    assert printed.splitlines()[1:] == ["first 545601", "load 0", "[0, 507011, 0, 0] True"]


@pytest.mark.ascend_findings("dataset-in-flight", "model-on-two-streams")
def test_a_hung_execution_stops_its_stream_and_no_other(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    """507046 when the wait's time is up (facts/pyacl.md §6.3); a reset ends what never ends."""
    program = (
        SETUP
        + RUN_STATIC
        + """
stuck, _ = acl.rt.create_stream(); free, _ = acl.rt.create_stream(); event, _ = acl.rt.create_event()
acl.mdl.execute_async(model, x, z, stuck); acl.rt.record_event(event, stuck)
print(acl.rt.synchronize_stream_with_timeout(stuck, 200), acl.rt.query_event_status(event)[0], execute(free))
print("reset", acl.rt.reset_device(0), acl.rt.set_device(0), acl.rt.reset_device(0))
"""
    )
    printed = run_python(
        program, om_files["static"], ASCEND_EMULATOR_NODE="f-hang", ASCEND_EMULATOR_FAULTS="execute:hang"
    )
    assert printed.splitlines()[2:] == ["507046 0 0", "reset 0 0 0"]


def test_a_hung_stream_is_freed_by_an_abort(run_python: Callable[..., str]) -> None:
    """`aclrtStreamAbort` gives up what runs too (facts/pyacl.md §6.1); copies can hang as executions can."""
    program = (
        SETUP
        + """
stream, _ = acl.rt.create_stream(); block, _ = acl.rt.malloc(1 << 20, 0)
for size in (64, 1 << 20):  # a small fill and one for the engine
    Card(0).inject("copy:hang")
    print(acl.rt.memset_async(block, size, 1, size, stream), acl.rt.synchronize_stream_with_timeout(stream, 100),
          acl.rt.stream_abort(stream), acl.rt.memset_async(block, size, 1, size, stream),
          acl.rt.synchronize_stream(stream))
"""
    )
    printed = run_python(program, ASCEND_EMULATOR_NODE="f-abort", ASCEND_EMULATOR_SOC="Ascend910B3")
    assert printed.splitlines()[1:] == ["0 507046 0 0 0"] * 2


def test_a_client_killed_with_a_hung_stream_leaves_nothing(runtime_folder: Path) -> None:
    """A client that is killed frees what it held (README "The card is a process")."""
    program = (
        SETUP
        + """
block, _ = acl.rt.malloc(1 << 20, 0)
acl.rt.memset_async(block, 1 << 20, 1, 1 << 20, 0)
print(acl.rt.synchronize_stream_with_timeout(0, 100), flush=True)
sys.stdin.read()
"""
    )
    environment = {"ASCEND_EMULATOR_NODE": "f-killed", "ASCEND_EMULATOR_FAULTS": "copy:hang"}
    with client(program, **environment) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["set 0", "507046"]
    folder = runtime_folder / f"ascend-emulator-{os.getuid()}" / "f-killed"
    until(lambda: not folder.exists())


def test_a_lost_device_stays_lost_until_it_is_restored(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    """507010 from every call that needs the card; status 1 (facts/pyacl.md §5.4, §16)."""
    program = (
        SETUP
        + RUN_STATIC
        + """
stream, _ = acl.rt.create_stream(); block, _ = acl.rt.malloc(64, 0)
print([execute(), execute()], acl.rt.malloc(64, 0), acl.rt.synchronize_stream(stream),
      acl.rt.memset_async(block, 64, 1, 64, stream), acl.rt.query_device_status(0))
print(acl.rt.reset_device(0), acl.rt.set_device(0), acl.rt.query_device_status(0), cards()[0].lost)
with Card(0) as card:
    card.restore()
    print(acl.rt.query_device_status(0), acl.rt.set_device(0), acl.rt.malloc(64, 0)[1], acl.rt.reset_device(0))
"""
    )
    printed = run_python(
        program,
        om_files["static"],
        ASCEND_EMULATOR_NODE="f-lost",
        ASCEND_EMULATOR_FAULTS="execute:nth=2,lost",
    )
    assert printed.splitlines()[2:] == [
        "[0, 507010] (0, 507010) 507010 507010 (1, 0)",
        "0 507010 (1, 0) True",
        "(0, 0) 0 0 0",
    ]


def test_a_lost_card_outlives_its_clients(run_python: Callable[..., str]) -> None:
    """Lost for the processes that come next, too; ours alone (README)."""
    run_python(SETUP + "print(Card(0).lose().lost)", ASCEND_EMULATOR_NODE="f-stays")
    again = (
        SETUP
        + "print([state.clients for state in cards()]); Card(0).kill(); print(acl.rt.set_device(0), cards()[0].lost)"
    )
    printed = run_python(again, ASCEND_EMULATOR_NODE="f-stays")
    assert printed.splitlines() == ["set 507010", "[()]", "0 False"]


def test_an_uncorrectable_memory_error_stays(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    """507054, told to all threads that use the device (runtime `ApiImpl::ProcError`); until it is restored (ours)."""
    program = (
        SETUP
        + RUN_STATIC
        + """
block, _ = acl.rt.malloc(64, 0)
with Card(0) as card:
    card.inject("execute:nth=2,ecc")
    print(execute(), execute(), execute(), acl.rt.memset_async(block, 64, 1, 64, 0), acl.rt.synchronize_stream(0))
    print(card.restore().ecc, execute())
"""
    )
    printed = run_python(program, om_files["static"], ASCEND_EMULATOR_NODE="f-ecc")
    assert printed.splitlines()[2:] == ["0 507054 507054 0 507054", "False 0"]


def test_a_slow_card_takes_as_long_as_the_factor_says(run_python: Callable[..., str]) -> None:
    """Modelled durations are multiplied (`card/engines.py`); times of events as facts/pyacl.md §7."""
    program = (
        SETUP
        + """
block, _ = acl.rt.malloc(1 << 20, 0); other, _ = acl.rt.malloc(1 << 20, 0)
begin, end = (acl.rt.create_event()[0] for _ in range(2))
def copy_ms():
    acl.rt.record_event(begin, 0)
    acl.rt.memcpy_async(block, 1 << 20, other, 1 << 20, 3, 0)
    acl.rt.record_event(end, 0)
    acl.rt.synchronize_stream(0)
    return acl.rt.event_elapsed_time(begin, end)[0]
with Card(0) as card:
    copy_ms()
    # 1 MiB on the card takes at least 20 us by the model.
    print(card.slow(10_000).slowdown, copy_ms() > 200, card.clear().slowdown, copy_ms() < 200)
"""
    )
    printed = run_python(program, ASCEND_EMULATOR_NODE="f-slow", ASCEND_EMULATOR_TIMING="modelled")
    assert printed.splitlines()[1] == "10000.0 True 1.0 True"


def test_rules_are_for_the_cards_they_name(run_python: Callable[..., str]) -> None:
    """`device=` in a rule (`card/faults.py`)."""
    program = SETUP + "print(acl.rt.malloc(64, 0)[1], acl.rt.set_device(1), acl.rt.malloc(64, 0)[1])"
    printed = run_python(program, ASCEND_EMULATOR_NODE="f-which", ASCEND_EMULATOR_FAULTS="malloc:device=1")
    assert printed.splitlines()[1] == "0 0 207001"


# --- the control API -------------------------------------------------------------------------------


def test_a_card_tells_who_holds_what(om_files: dict[str, Path]) -> None:
    """Peers by SO_PEERCRED; memory of a killed client is free again (README)."""
    from ascend_emulator.control import Card, cards

    program = (
        SETUP
        + """
acl.rt.malloc(1 << 30, 0); acl.rt.create_stream(); acl.mdl.load_from_file(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
    )
    with client(SETUP + "print(flush=True); sys.stdin.read()", ASCEND_EMULATOR_NODE="f-who") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "set 0\n"
        with client(program, om_files["static"], ASCEND_EMULATOR_NODE="f-who") as process:
            assert process.stdout is not None
            assert [process.stdout.readline().strip() for _ in range(2)] == ["set 0", "ready"]
            (state,) = cards("f-who")
            assert (state.number, state.soc, state.lost, state.faults) == (0, "Ascend310P3", False, ())
            mine = {held.pid: held for held in state.clients}
            assert set(mine) == {process.pid, other.pid}
            assert mine[process.pid].bytes >= 1 << 30
            assert (mine[process.pid].models, mine[process.pid].streams) == (1, 2)
            assert (mine[other.pid].bytes, mine[other.pid].models) == (0, 0)
            assert state.memory_used == mine[process.pid].bytes
            assert set(state.engines) == {"compute", "h2d", "d2h", "local"}
            process.send_signal(signal.SIGKILL)
        with Card(0, "f-who") as card:
            until(lambda: card.state().memory_used == 0)
            assert [held.pid for held in card.state().clients] == [other.pid]


def test_a_controller_starts_no_card_and_keeps_none(runtime_folder: Path) -> None:
    """A controller is no client (ascend_emulator/control.py)."""
    from ascend_emulator.control import Card, ControlError, cards

    assert cards("f-nobody") == []
    with pytest.raises(ControlError, match="card 3 of node 'f-nobody' does not run"):
        Card(3, "f-nobody")
    assert not (runtime_folder / f"ascend-emulator-{os.getuid()}" / "f-nobody").exists()


def test_what_a_killed_card_left_is_cleared_away(
    run_python: Callable[..., str], runtime_folder: Path
) -> None:
    """By the next who looks: the last client, or a controller (ascend_emulator/rendezvous.py)."""
    program = SETUP + "Card(0).kill(); print(acl.rt.synchronize_stream(0), acl.rt.reset_device(0))"
    assert run_python(program, ASCEND_EMULATOR_NODE="f-left").splitlines()[1] == "507010 0"
    assert not (runtime_folder / f"ascend-emulator-{os.getuid()}" / "f-left").exists()


def test_a_wrong_order_is_refused_with_a_reason(run_python: Callable[..., str]) -> None:
    """507033's text, as an exception (ascend_emulator/control.py)."""
    program = (
        SETUP
        + """
try:
    Card(0).inject("execute:nth=first")
except ControlError as error:
    print(error)
print(Card(0).inject("execute:nth=9").faults)
"""
    )
    printed = run_python(program, ASCEND_EMULATOR_NODE="f-order").splitlines()
    assert "nth must be a whole number from 1" in printed[1]
    assert printed[2] == "('execute:nth=9,every=1,times=1,code=507015',)"


def test_the_command_does_what_the_api_does() -> None:
    """`python -m ascend_emulator.control` (its module docstring)."""

    def control(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "ascend_emulator.control", "--node", "f-command", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout or done.stderr

    with client(SETUP + "print(flush=True); sys.stdin.read()", ASCEND_EMULATOR_NODE="f-command") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "set 0\n"
        code, printed = control("0", "inject", "execute:nth=4")
        assert (code, "execute:nth=4" in printed) == (0, True)
        code, printed = control()
        assert (code, f'"pid": {process.pid}' in printed) == (0, True)
        assert control("0", "slow", "2")[0] == 0
        code, printed = control("0", "inject", "nonsense")
        assert (code, "must start with one of" in printed) == (1, True)
        assert control("0", "explode")[0] == 2
        assert control("0", "kill") == (0, "")
        assert control() == (0, "")


# --- two clients of one card -----------------------------------------------------------------------


def test_other_settings_are_refused_by_name_while_the_card_is_in_use(run_python: Callable[..., str]) -> None:
    """A card takes its settings from the client that starts it (README "Environment")."""
    program = """
import acl, os, subprocess, sys
print(acl.rt.set_device(0), acl.get_recent_err_msg(), flush=True)
if len(sys.argv) == 1:
    environment = {**os.environ, "ASCEND_EMULATOR_TIMING": "modelled"}
    subprocess.run([sys.executable, "-c", os.environ["PROGRAM"], "second"], env=environment)
"""
    first, second = run_python(program, ASCEND_EMULATOR_NODE="f-mixed", PROGRAM=program).splitlines()
    assert first == "0 None"
    assert second.startswith(
        "507033 ascend-emulator: the card runs with timing 'functional', this process asks for"
    )


def test_a_card_that_is_about_to_go_makes_way_for_other_settings(run_python: Callable[..., str]) -> None:
    """A client that comes right after the last has gone is not refused for its settings."""
    program = """
import acl, os
for timing in ("functional", "modelled") * 2:
    os.environ["ASCEND_EMULATOR_TIMING"] = timing
    assert acl.rt.set_device(0) == 0, acl.get_recent_err_msg()
    assert acl.rt.reset_device(0) == 0
print("done")
"""
    assert run_python(program, ASCEND_EMULATOR_NODE="f-turns") == "done"


def test_two_clients_share_the_compute_engine_fairly(tmp_path: Path, om_files: dict[str, Path]) -> None:
    """First come, first served among streams (`card/engines.py`): neither client waits for all of the other."""
    times = tmp_path / "times.json"
    times.write_text('{"models": {"static": {"static": 2}}}')
    program = (
        SETUP
        + RUN_STATIC
        + """
import time
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
for _ in range(60):
    assert execute() == 0
print(time.monotonic() - began, flush=True)
sys.stdin.read()
"""
    )
    environment = {
        "ASCEND_EMULATOR_NODE": "f-fair",
        "ASCEND_EMULATOR_TIMING": "modelled",
        "ASCEND_EMULATOR_TIMES": str(times),
    }
    with (
        client(program, om_files["static"], **environment) as one,
        client(program, om_files["static"], **environment) as two,
    ):
        both = (one, two)
        for process in both:
            assert process.stdout is not None
            assert [process.stdout.readline().strip() for _ in range(3)] == ["set 0", "load 0", "ready"]
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        took = [float(process.stdout.readline()) for process in both if process.stdout is not None]
    # 120 executions of 2 ms: each client alone would be done after half of that.
    assert all(seconds > 0.75 * 0.24 for seconds in took)

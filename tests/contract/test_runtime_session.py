"""Sessions on whichever `acl` and `atc` are installed, against onnxruntime's answers."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.runtime.slot import SlotState
from tests.contract import sessions
from tests.contract.sessions import (
    FOUR_ROWS,
    ONE_ROW,
    PICKED,
    TURNED,
    TWO_SIDED,
    assert_rows,
    expected,
    needs_emulator,
    rows_of,
    run,
)

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them

# --- signatures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "batched", "gears", "shapes"),
    [
        (TWO_SIDED, True, (1, 2, 4, 8), [(-1, 3), (-1, 1), (-1, 3), (-1,)]),
        (ONE_ROW, True, (1,), [(-1, 5), (-1, 5)]),
        (FOUR_ROWS, True, (4,), [(-1, 5), (-1, 5)]),
        (TURNED, False, (1,), [(2, 3), (3, 2)]),
    ],
)
def test_the_device_describes_a_ready_made_model(device, build, network, batched, gears, shapes):
    spec = describe(device, build(network, device.soc_name), "m")
    assert (spec.batched, spec.gears.sizes) == (batched, gears)
    assert [tensor.shape for tensor in (*spec.inputs, *spec.outputs)] == shapes
    assert [t.name for t in spec.inputs] == [v.name for v in network.inputs]
    assert [t.name for t in spec.outputs] == [v.name for v in network.outputs]
    assert device.live == {"context": 1}


# --- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [TWO_SIDED, ONE_ROW, FOUR_ROWS, TURNED], ids=lambda n: n.name)
def test_answers_are_onnxruntimes_at_every_gear_and_slot(device, build, network):
    path = build(network, device.soc_name)
    spec = describe(device, path, "m")
    session = Session.open(device, path, spec, slots=2)
    session.warm_up()
    for slot in session.slots:
        for gear in spec.gears:
            inputs = rows_of(spec, gear, seed=gear + slot.index)
            wanted = expected(network, inputs)
            assert_rows(run(session, slot, gear, inputs), wanted, gear if spec.batched else None)
    session.close()
    session.close()
    assert device.live == {"context": 1}


def test_only_the_gears_rows_are_copied(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    if device.shares_memory:
        pytest.skip("a board copies nothing")
    slot = session.slots[0]
    slot.outputs_at(0)["product"].fill(-77)
    run(session, slot, 2, rows_of(session.spec, 2, seed=0))
    assert set(slot.outputs_at(0)["product"][2:].ravel().tolist()) == {-77.0}
    session.close()


def test_slots_in_flight_at_different_gears_do_not_mix(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"), slots=3)
    for round_ in range(50):
        flight = []
        for slot, gear in zip(session.slots, (8, 1, 4), strict=True):
            inputs = rows_of(session.spec, gear, seed=100 * round_ + gear)
            slot.begin()
            for name, array in inputs.items():
                slot.inputs_at(0)[name][:gear] = array
            session.enqueue(slot, 0, gear)
            flight.append((slot, gear, inputs))
        for slot, gear, inputs in flight:
            session.wait(slot)
            np.testing.assert_allclose(slot.outputs_at(0)["product"][:gear], inputs["a"] * inputs["b"])
            np.testing.assert_allclose(slot.outputs_at(0)["total"][:gear], inputs["a"].sum(axis=1))
            slot.release()
    session.close()


def test_warm_up_measures_every_gear(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    times = session.warm_up()
    assert list(times) == [(0, 1), (0, 2), (0, 4), (0, 8)]
    assert all(time.stages.compute_ms > 0 and time.runs >= 1 for time in times.values())
    staged = not device.shares_memory
    assert all((time.stages.copy_in_ms > 0) == staged for time in times.values())
    assert all(slot.state is SlotState.FREE for slot in session.slots)
    session.close()


# --- nothing is left, nothing is allocated ---------------------------------------------------------


def test_ten_thousand_inferences_allocate_no_device_or_pinned_memory(device, build, monkeypatch):
    path = build(PICKED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    session.warm_up()
    free, live = device.memory().free_bytes, device.live
    for call in ("malloc", "malloc_host", "create_data_buffer", "create_dataset", "create_event"):
        monkeypatch.setattr(_acl, call, lambda *arguments, call=call: pytest.fail(f"{call} was called"))
    first, second = session.slots
    first.begin()
    session.enqueue(first, 0, 2)
    for _ in range(5_000):
        second.begin()
        session.enqueue(second, 0, 1)
        session.wait(first)
        first.release()
        first.begin()
        session.enqueue(first, 0, 2)
        session.wait(second)
        second.release()
    session.wait(first)
    assert (device.memory().free_bytes, device.live) == (free, live)
    session.close()


def test_after_close_the_cards_memory_is_free_again(build):
    with Device.open() as watcher:
        before = watcher.memory().free_bytes
        device = Device.open()
        path = build(TWO_SIDED, device.soc_name)
        session = Session.open(device, path, describe(device, path, "m"), slots=4, close_device=True)
        assert watcher.memory().free_bytes < before
        session.close()
        assert device.live == {}
        watcher.bind()
        assert watcher.memory().free_bytes == before


def test_closing_waits_for_what_is_in_flight(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    for slot in session.slots:
        slot.begin()
        session.enqueue(slot, 0, 8)
    session.close()
    assert device.live == {"context": 1}


# --- on an emulated card with settings of its own --------------------------------------------------

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
path, slots, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
device = Device.open()
session = Session.open(device, path, describe(device, path, "m"), slots=slots)
session.warm_up()
wrong = 0
flight = []
def land():
    global wrong
    slot, a, b = flight.pop(0)
    session.wait(slot)
    wrong += not np.array_equal(slot.outputs_at(0)["product"], a * b)
    slot.release()
for number in range(rounds):
    slot = session.slots[number % slots]
    if slot.state.value != "free":
        land()
    slot.begin()
    a = np.full((8, 3), number, np.float32)
    b = np.full((8, 1), number + 1, np.int64)
    inputs = slot.inputs_at(0)
    inputs["a"][:], inputs["b"][:] = a, b
    session.enqueue(slot, 0, 8)
    flight.append((slot, a, b))
while flight:
    land()
kinds = device.live
session.close()
device.close()
print(json.dumps({"wrong": wrong, "kinds": kinds, "left": device.live,
                  "shared": device.shares_memory}))
"""


def run_script(om, slots, rounds, **settings):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(om), str(slots), str(rounds)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_emulator
def test_a_board_is_served_without_staging(device, build):
    om = build(TWO_SIDED, device.soc_name)
    board = run_script(om, 2, 40, ASCEND_EMULATOR_NODE="runtime-board", ASCEND_EMULATOR_RUN_MODE="0")
    assert (board["wrong"], board["shared"], board["left"]) == (0, True, {})
    assert "host_buffer" not in board["kinds"]
    card = run_script(om, 2, 40, ASCEND_EMULATOR_NODE="runtime-card", ASCEND_EMULATOR_RUN_MODE="1")
    assert (card["wrong"], card["shared"], card["left"]) == (0, False, {})
    assert card["kinds"]["host_buffer"] == 2 * 4


LOST = """
import json, sys
from pathlib import Path
from queue import Queue
import psutil
from ascend_serve.errors import AclDeviceFault
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
path, node = Path(sys.argv[1]), sys.argv[2]
def open_sessions():
    device = Device.open()
    return [Session.open(device, path, describe(device, path, "m"), close_device=True)]
lane = Lane(open_sessions)
lane.start(60)
cards = [p for p in psutil.process_iter(["cmdline"])
         if "ascend_emulator.card" in (p.info["cmdline"] or []) and node in " ".join(p.info["cmdline"])]
ended = Queue()
def launch():
    lane.runner(0).launch(0, 0, 1, lambda inputs: None, lambda outputs: None, lambda error, stages: ended.put(error))
    return ended.get(timeout=60)
before = launch()
for card in cards:
    card.kill()
    card.wait(60)
after = launch()
lane.close(60)
print(json.dumps({"cards": len(cards), "before": repr(before), "fault": isinstance(after, AclDeviceFault),
                  "heartbeat": isinstance(lane.heartbeat().fault, AclDeviceFault)}))
"""


@needs_emulator
def test_a_lost_device_is_a_fault_and_does_not_hold_up_closing(device, build):
    node = f"runtime-lost-{os.getpid()}"
    om = build(TWO_SIDED, device.soc_name)
    # A killed card cannot clear up after itself, so it gets a folder of its own, short enough for a socket.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", LOST, str(om), node],
            env={**os.environ, "ASCEND_EMULATOR_NODE": node, "XDG_RUNTIME_DIR": folder},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"cards": 1, "before": "None", "fault": True, "heartbeat": True}

"""Sessions and lanes on whichever `acl` and `atc` are installed, against onnxruntime's answers."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ascend_serve import env
from ascend_serve.errors import (
    AclDeviceFault,
    AclResourceError,
    ArtifactError,
    ConfigError,
    NotAnOm,
    SocMismatch,
)
from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.runtime.slot import SlotState
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.contract

LIMIT_S = 60.0
F, I64, I32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


class Network(NamedTuple):
    """A small ONNX graph and how ATC is to compile it."""

    name: str
    nodes: list
    inputs: list
    outputs: list
    shape: str
    gears: str = ""


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


TWO_SIDED = Network(
    "two_sided",
    [
        helper.make_node("Cast", ["b"], ["b_float"], to=F),
        helper.make_node("Mul", ["a", "b_float"], ["product"]),
        helper.make_node("ReduceSum", ["a", "axes"], ["total"], keepdims=0),
    ],
    [value("a", F, ["n", 3]), value("b", I64, ["n", 1])],
    [value("product", F, ["n", 3]), value("total", F, ["n"])],
    "a:-1,3;b:-1,1",
    "1,2,4,8",
)
ONE_ROW = Network(
    "one_row",
    [helper.make_node("Exp", ["x"], ["y"])],
    [value("x", F, ["n", 5])],
    [value("y", F, ["n", 5])],
    "x:1,5",
)
FOUR_ROWS = ONE_ROW._replace(name="four_rows", shape="x:4,5")
TURNED = Network(
    "turned",
    [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])],
    [value("x", F, [2, 3])],
    [value("y", F, [3, 2])],
    "x:2,3",
)
PICKED = Network(
    "picked",
    [helper.make_node("Gather", ["table", "i"], ["y"])],
    [value("i", I32, ["n"])],
    [value("y", F, ["n"])],
    "i:-1",
    "1,2",
)


def onnx_model(network):
    constants = [
        helper.make_tensor("axes", I64, [1], [1]),
        helper.make_tensor("table", F, [4], [10.0, 11.0, 12.0, 13.0]),
    ]
    used = {name for node in network.nodes for name in node.input}
    graph = helper.make_graph(
        network.nodes,
        network.name,
        network.inputs,
        network.outputs,
        [constant for constant in constants if constant.name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def find_atc():
    beside = Path(sys.executable).parent / "atc"
    return str(beside) if beside.exists() else shutil.which("atc")


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Compile a network with the installed `atc` for a SoC, once; the precision is the network's own."""
    atc = find_atc()
    if atc is None:
        pytest.skip("no atc is installed")
    built = {}

    def compile_network(network, soc):
        if (network.name, soc) not in built:
            folder = tmp_path_factory.mktemp(network.name)
            onnx.save(onnx_model(network), str(folder / "model.onnx"))
            command = [
                atc,
                "--framework=5",
                "--model=model.onnx",
                f"--output={network.name}",
                f"--soc_version={soc}",
                "--input_format=ND",
                f"--input_shape={network.shape}",
                "--precision_mode_v2=origin",
            ]
            if network.gears:
                command.append(f"--dynamic_batch_size={network.gears}")
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            built[network.name, soc] = folder / f"{network.name}.om"
        return built[network.name, soc]

    return compile_network


@pytest.fixture
def device():
    with Device.open() as opened:
        yield opened
    assert opened.live == {}


needs_emulator = pytest.mark.skipif(
    (env.acl_distribution() or ("CANN",))[0] != "ascend-emulator", reason="sets up an emulated card"
)


def expected(network, inputs):
    reference = onnxruntime.InferenceSession(
        onnx_model(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return dict(zip([o.name for o in network.outputs], reference.run(None, inputs), strict=True))


def rows_of(spec, rows, seed):
    random = np.random.default_rng(seed)
    return {
        tensor.name: random.integers(-9, 9, tensor.at(rows)).astype(tensor.dtype.numpy)
        for tensor in spec.inputs
    }


def run(session, slot, gear, inputs):
    slot.begin()
    for name, array in inputs.items():
        slot.inputs[name][: len(array)] = array
    session.enqueue(slot, gear)
    session.wait(slot)
    outputs = {name: array.copy() for name, array in slot.outputs.items()}
    slot.release()
    return outputs


def assert_rows(outputs, wanted, rows):
    for name, array in wanted.items():
        np.testing.assert_allclose(outputs[name][:rows], array, rtol=1e-5)


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
    slot.outputs["product"].fill(-77)
    run(session, slot, 2, rows_of(session.spec, 2, seed=0))
    assert set(slot.outputs["product"][2:].ravel().tolist()) == {-77.0}
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
                slot.inputs[name][:gear] = array
            session.enqueue(slot, gear)
            flight.append((slot, gear, inputs))
        for slot, gear, inputs in flight:
            session.wait(slot)
            np.testing.assert_allclose(slot.outputs["product"][:gear], inputs["a"] * inputs["b"])
            np.testing.assert_allclose(slot.outputs["total"][:gear], inputs["a"].sum(axis=1))
            slot.release()
    session.close()


def test_warm_up_measures_every_gear(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    costs = session.warm_up()
    assert list(costs) == [1, 2, 4, 8]
    assert all(cost > 0 for cost in costs.values())
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
    session.enqueue(first, 2)
    for _ in range(5_000):
        second.begin()
        session.enqueue(second, 1)
        session.wait(first)
        first.release()
        first.begin()
        session.enqueue(first, 2)
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
        session.enqueue(slot, 8)
    session.close()
    assert device.live == {"context": 1}


# --- what goes wrong -------------------------------------------------------------------------------


def test_a_spec_that_disagrees_is_refused_and_nothing_is_left(device, build):
    path = build(ONE_ROW, device.soc_name)
    x, y = TensorSpec("x", DataType.FP32, (-1, 5)), TensorSpec("y", DataType.FP32, (-1, 6))
    with pytest.raises(ArtifactError, match=r"output 0 is 'y' FP32 \[-1, 5\] on the device"):
        Session.open(device, path, ModelSpec("m", (x,), (y,), Gears((1,))))
    assert device.live == {"context": 1}


def test_a_device_that_the_session_owns_is_closed_when_opening_fails(build, tmp_path):
    device = Device.open()
    spec = describe(device, build(ONE_ROW, device.soc_name), "m")
    with pytest.raises(ArtifactError, match="does not exist"):
        Session.open(device, tmp_path / "no.om", spec, close_device=True)
    assert device.live == {}


@pytest.mark.parametrize("keep", [0, 100, 700, -1])
def test_a_file_that_is_cut_short_is_no_model(device, build, tmp_path, keep):
    whole = build(ONE_ROW, device.soc_name).read_bytes()
    cut = tmp_path / "cut.om"
    cut.write_bytes(whole[:keep])
    with pytest.raises(NotAnOm, match=r"cut\.om"):
        device.load(cut)
    assert device.live == {"context": 1}


def test_a_model_for_another_architecture_is_refused(device, build):
    other = "Ascend310P3" if not device.soc_name.startswith("Ascend310P") else "Ascend910B3"
    with pytest.raises(SocMismatch, match="another architecture"):
        device.load(build(ONE_ROW, other))
    assert device.live == {"context": 1}


def test_a_session_that_does_not_fit_leaves_nothing(device, build, monkeypatch):
    path = build(TWO_SIDED, device.soc_name)
    spec = describe(device, path, "m")
    before = device.memory().free_bytes
    whole = device.memory().total_bytes
    real, calls = _acl.malloc, []

    def greedy(size):
        calls.append(size)
        return real(size if len(calls) < 7 else whole + 1)

    monkeypatch.setattr(_acl, "malloc", greedy)
    with pytest.raises(AclResourceError):
        Session.open(device, path, spec)
    assert device.live == {"context": 1}
    assert device.memory().free_bytes == before


def test_a_gear_that_was_not_compiled_is_refused_and_the_slot_is_free(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    session.slots[0].begin()
    with pytest.raises(ConfigError, match=r"gear 3: 'm' was compiled for \[1, 2, 4, 8\]"):
        session.enqueue(session.slots[0], 3)
    assert session.slots[0].state is SlotState.FREE
    session.close()


@pytest.mark.parametrize("slots", [0, -1])
def test_a_session_needs_a_slot(device, build, slots):
    path = build(ONE_ROW, device.soc_name)
    with pytest.raises(ConfigError, match="at least 1"):
        Session.open(device, path, describe(device, path, "m"), slots=slots)


# --- lanes -----------------------------------------------------------------------------------------


class Ends:
    """Collects how batches ended."""

    def __init__(self):
        self._queue = Queue()

    def done(self, key):
        return lambda error: self._queue.put((key, error))

    def get(self, count):
        return dict(self._queue.get(timeout=LIMIT_S) for _ in range(count))


@pytest.fixture
def open_lane(build):
    """Start a lane on a network; gives the lane, its report and its device, and closes it at the end."""
    lanes = []

    def start(network):
        opened = []

        def open_session():
            device = Device.open()
            opened.append(device)
            path = build(network, device.soc_name)
            return Session.open(device, path, describe(device, path, "m"), close_device=True)

        lane = Lane(open_session)
        lanes.append(lane)
        return lane, lane.start(LIMIT_S), opened[0]

    yield start
    for lane in lanes:
        lane.close(LIMIT_S)


def test_a_lane_serves_and_leaves_nothing(open_lane):
    lane, report, device = open_lane(TWO_SIDED)
    assert report.soc_name == device.soc_name
    assert report.toolchain == device.toolchain
    assert (report.slots, sorted(report.costs)) == (2, [1, 2, 4, 8])
    free = Queue()
    for slot in range(report.slots):
        free.put(slot)
    wanted, got = {}, {}
    ended = Queue()
    for number in range(200):
        slot = free.get(timeout=LIMIT_S)
        gear = (1, 8, 2, 4)[number % 4]
        inputs = rows_of(report.spec, gear, seed=number)
        wanted[number] = inputs["a"] * inputs["b"]

        def pack(slots, inputs=inputs, gear=gear):
            for name, array in inputs.items():
                slots[name][:gear] = array

        def unpack(outputs, number=number, gear=gear):
            got[number] = outputs["product"][:gear].copy()

        def done(error, slot=slot):
            free.put(slot)
            ended.put(error)

        lane.launch(slot, gear, pack, unpack, done)
    assert {ended.get(timeout=LIMIT_S) for _ in range(200)} == {None}
    for number, product in wanted.items():
        np.testing.assert_allclose(got[number], product)
    lane.close(LIMIT_S)
    assert device.live == {}
    assert not [t for t in threading.enumerate() if t.name.startswith("ascend-lane")]


@pytest.mark.parametrize("can_stop", [True, False])
def test_a_failed_run_is_never_handed_out_even_with_the_next_batch_behind_it(
    open_lane, monkeypatch, can_stop
):
    if not can_stop:
        monkeypatch.setattr(_acl, "stop_on_failure", lambda stream: False)
    lane, _, _ = open_lane(PICKED)
    ends, unpacked = Ends(), []
    hold = threading.Event()

    def pack(index):
        def write(inputs):
            assert hold.wait(LIMIT_S)
            inputs["i"][:] = index

        return write

    lane.launch(0, 2, pack(1_000_000), unpacked.append, ends.done("bad"))
    lane.launch(1, 2, pack(2), lambda outputs: None, ends.done("behind"))
    hold.set()
    told = ends.get(2)
    assert isinstance(told["bad"], AclDeviceFault)
    assert isinstance(told["behind"], AclDeviceFault)
    assert unpacked == []
    assert isinstance(lane.heartbeat().fault, AclDeviceFault)
    lane.launch(0, 1, pack(1), unpacked.append, ends.done("later"))
    assert isinstance(ends.get(1)["later"], AclDeviceFault)
    lane.close(LIMIT_S)


# --- on an emulated card with settings of its own --------------------------------------------------

SCRIPT = """
import json, sys, time
from pathlib import Path
import numpy as np
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
path, slots, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
device = Device.open()
session = Session.open(device, path, describe(device, path, "m"), slots=slots)
costs = session.warm_up()
wrong = 0
flight = []
def land():
    global wrong
    slot, a, b = flight.pop(0)
    session.wait(slot)
    wrong += not np.array_equal(slot.outputs["product"], a * b)
    slot.release()
began = time.monotonic()
for number in range(rounds):
    slot = session.slots[number % slots]
    if slot.state.value != "free":
        land()
    slot.begin()
    a = np.full((8, 3), number, np.float32)
    b = np.full((8, 1), number + 1, np.int64)
    slot.inputs["a"][:], slot.inputs["b"][:] = a, b
    session.enqueue(slot, 8)
    flight.append((slot, a, b))
while flight:
    land()
seconds = time.monotonic() - began
kinds = device.live
session.close()
device.close()
print(json.dumps({"wrong": wrong, "seconds": seconds, "costs": costs, "kinds": kinds, "left": device.live,
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


@needs_emulator
def test_copies_and_compute_of_different_slots_overlap(device, build, tmp_path):
    om = build(TWO_SIDED, device.soc_name)
    times = tmp_path / "times.json"
    # Two tensors each way: 2 x 4 ms in, 8 ms of compute, 2 x 4 ms out.
    times.write_text(
        json.dumps(
            {
                "models": {"two_sided": {"1": 8.0, "8": 8.0}},
                "h2d": {"gb_per_s": 12, "fixed_us": 4000},
                "d2h": {"gb_per_s": 12, "fixed_us": 4000},
            }
        )
    )
    settings = {
        "ASCEND_EMULATOR_NODE": "runtime-overlap",
        "ASCEND_EMULATOR_TIMING": "modelled",
        "ASCEND_EMULATOR_TIMES": str(times),
    }
    rounds = 30
    serial = run_script(om, 1, rounds, **settings)
    overlapped = run_script(om, 3, rounds, **settings)
    assert (serial["wrong"], overlapped["wrong"]) == (0, 0)
    assert serial["seconds"] >= rounds * 0.024
    assert overlapped["seconds"] < 0.6 * serial["seconds"]
    assert serial["costs"]["8"] == pytest.approx(8.0, rel=0.1)


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
def open_session():
    device = Device.open()
    return Session.open(device, path, describe(device, path, "m"), close_device=True)
lane = Lane(open_session)
lane.start(60)
cards = [p for p in psutil.process_iter(["cmdline"])
         if "ascend_emulator.card" in (p.info["cmdline"] or []) and node in " ".join(p.info["cmdline"])]
ended = Queue()
def launch():
    lane.launch(0, 1, lambda inputs: None, lambda outputs: None, ended.put)
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

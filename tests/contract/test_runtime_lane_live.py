"""Lanes on whichever `acl` and `atc` are installed."""

import threading
from queue import Queue

import numpy as np
import pytest

from ascend_serve.errors import AclTaskFault
from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from tests.contract import sessions
from tests.contract.sessions import LIMIT_S, PICKED, TWO_SIDED, rows_of

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them

# --- lanes -----------------------------------------------------------------------------------------


class Ends:
    """Collects how batches ended."""

    def __init__(self):
        self._queue = Queue()

    def done(self, key):
        return lambda error, stages: self._queue.put((key, error))

    def get(self, count):
        return dict(self._queue.get(timeout=LIMIT_S) for _ in range(count))


@pytest.fixture
def open_lane(build):
    """Start a lane on a network; gives the lane, its report and its device, and closes it at the end."""
    lanes = []

    def start(network):
        opened = []
        path = None

        def open_sessions():
            nonlocal path
            device = Device.open()
            opened.append(device)
            path = path or build(network, device.soc_name)
            return [Session.open(device, path, describe(device, path, "m"), close_device=True)]

        lane = Lane(open_sessions)
        lanes.append(lane)
        (report,) = lane.start(LIMIT_S)
        return lane, report, opened[0]

    yield start
    for lane in lanes:
        lane.close(LIMIT_S)


def test_a_lane_serves_and_leaves_nothing(open_lane):
    lane, report, device = open_lane(TWO_SIDED)
    assert report.soc_name == device.soc_name
    assert report.toolchain == device.toolchain
    assert (report.slots, sorted(report.times)) == (2, [(0, 1), (0, 2), (0, 4), (0, 8)])
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

        def done(error, stages, slot=slot):
            free.put(slot)
            ended.put(error)

        lane.runner(0).launch(slot, 0, gear, pack, unpack, done)
    assert {ended.get(timeout=LIMIT_S) for _ in range(200)} == {None}
    for number, product in wanted.items():
        np.testing.assert_allclose(got[number], product)
    lane.close(LIMIT_S)
    assert device.live == {}
    assert not [t for t in threading.enumerate() if t.name.startswith("ascend-lane")]


@pytest.mark.parametrize("can_stop", [True, False])
def test_a_failed_run_is_never_handed_out_and_the_lane_goes_on(open_lane, monkeypatch, can_stop):
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

    lane.runner(0).launch(0, 0, 2, pack(1_000_000), unpacked.append, ends.done("bad"))
    lane.runner(0).launch(1, 0, 2, pack(2), lambda outputs: None, ends.done("behind"))
    hold.set()
    told = ends.get(2)
    assert isinstance(told["bad"], AclTaskFault)
    assert isinstance(told["behind"], AclTaskFault)
    assert unpacked == []
    lane.runner(0).launch(
        0, 0, 1, pack(1), lambda outputs: unpacked.append(float(outputs["y"][0])), ends.done("later")
    )
    assert ends.get(1)["later"] is None
    assert unpacked == [11.0]
    assert lane.heartbeat().fault is None
    lane.close(LIMIT_S)


def test_a_card_without_room_while_it_is_opened_again_is_not_given_up(open_lane, emulator):
    """As of a run that finds no room right behind a request that made the device fail."""
    from ascend_emulator.control import Card

    lane, _, _ = open_lane(PICKED)
    ends, unpacked = Ends(), []

    def launch(key):
        lane.runner(0).launch(
            0,
            0,
            1,
            lambda inputs: inputs["i"].fill(1),
            lambda outputs: unpacked.append(float(outputs["y"][0])),
            ends.done(key),
        )
        return ends.get(1)[key]

    with Card(0) as card:
        # The second execution is the first of those that warm up.
        card.inject("execute:nth=1,code=507011;execute:nth=2,code=207001")
        assert isinstance(launch("bad"), AclTaskFault)
        assert launch("later") is None
        assert not card.state().faults
    assert unpacked == [11.0]
    assert lane.heartbeat().fault is None
    lane.close(LIMIT_S)

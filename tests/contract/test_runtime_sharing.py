"""Several models on one device and lane, and the memory budget that is checked before any is loaded."""

from dataclasses import replace
from queue import Queue

import numpy as np
import pytest

from ascend_serve.errors import ArtifactError, TooLittleMemory
from ascend_serve.runtime import _acl
from ascend_serve.runtime.budget import Need
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.measuring import LEAST_SLOTS, MOST_SLOTS
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.sharing import Load, open_sessions
from ascend_serve.runtime.signature import describe
from tests.contract import sessions
from tests.contract.sessions import LIMIT_S, ONE_ROW, TWO_SIDED, expected, rows_of

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them


@pytest.fixture
def loads(device, build):
    paths = [(network.name, build(network, device.soc_name)) for network in (TWO_SIDED, ONE_ROW)]
    return [Load(path, describe(device, path, name)) for name, path in paths]


def test_two_models_take_turns_on_one_lane_and_answer_for_themselves(loads):
    opened = []

    def open_both():
        opened.append(Device.open())
        return open_sessions(opened[0], loads, close_device=True)

    lane = Lane(open_both)
    reports = lane.start(LIMIT_S)
    assert [report.spec.name for report in reports] == ["two_sided", "one_row"]
    ended = Queue()
    wanted, got = {}, {}
    for number in range(40):
        model = number % 2
        network, runner, report = (TWO_SIDED, ONE_ROW)[model], lane.runner(model), reports[model]
        slot, gear = number // 2 % report.slots, report.spec.gears.largest
        inputs = rows_of(report.spec, gear, seed=number)
        wanted[number] = expected(network, inputs)

        def pack(arrays, inputs=inputs):
            for name, array in inputs.items():
                arrays[name][:] = array

        def unpack(arrays, number=number):
            got[number] = {name: array.copy() for name, array in arrays.items()}

        runner.launch(slot, 0, gear, pack, unpack, lambda error, stages: ended.put(error))
        if number % 4 == 3:  # both slots of both are taken
            assert [ended.get(timeout=LIMIT_S) for _ in range(4)] == [None] * 4
    for number, outputs in wanted.items():
        for name, array in outputs.items():
            np.testing.assert_allclose(got[number][name], array, rtol=1e-5)
    lane.close(LIMIT_S)
    assert opened[0].live == {}


def test_models_that_do_not_fit_together_are_refused_with_numbers_before_any_is_loaded(
    device, loads, monkeypatch
):
    monkeypatch.setattr(_acl, "mem_info", lambda kind: (700, 5 << 20))
    monkeypatch.setattr(_acl, "load_from_file", lambda path: pytest.fail("a model was loaded"))
    with pytest.raises(TooLittleMemory) as caught:
        open_sessions(device, loads)
    words = str(caught.value)
    assert words.startswith("'two_sided' and 'one_row' together do not fit the device's memory, by ")
    assert "700 B free of 5.0 MiB" in words
    assert words.count("and 2 slots of") == 2
    assert device.live == {"context": 1}


def test_each_fits_alone_and_both_do_not(device, loads, monkeypatch):
    needs = [Need.of(load.om_path, load.spec, load.slots) for load in loads]
    free = sum(need.total for need in needs) - 1
    assert all(need.total <= free for need in needs)
    monkeypatch.setattr(_acl, "mem_info", lambda kind: (free, 1 << 30))
    for load in loads:
        (session,) = open_sessions(device, [load])
        session.close()
    with pytest.raises(TooLittleMemory, match=r"'two_sided' wants .*'one_row' wants "):
        open_sessions(device, loads)


def test_when_the_second_cannot_be_opened_the_first_is_closed(device, loads, tmp_path):
    before = device.memory().free_bytes
    with pytest.raises(ArtifactError, match="does not exist"):
        open_sessions(device, [loads[0], Load(tmp_path / "no.om", loads[1].spec)])
    wrong = Load(loads[1].om_path, loads[0].spec)
    with pytest.raises(ArtifactError, match="the device tells 1 inputs, the spec 2"):
        open_sessions(device, [loads[0], wrong])
    assert device.live == {"context": 1}
    assert device.memory().free_bytes == before


def test_a_device_that_the_sessions_own_is_closed_when_opening_fails(loads, tmp_path):
    owned = Device.open()
    with pytest.raises(ArtifactError):
        open_sessions(owned, [Load(tmp_path / "no.om", loads[0].spec)], close_device=True)
    assert owned.live == {}


def test_what_may_be_taken_bounds_the_loads_and_the_slots_they_grow_by(device, loads, monkeypatch):
    growing = [replace(load, slots=None) for load in loads]
    needs = [Need.of(load.om_path, load.spec, LEAST_SLOTS) for load in growing]
    least = sum(need.total for need in needs)
    with pytest.raises(TooLittleMemory, match=r"do not fit what may be taken .* by 1 B"):
        open_sessions(device, growing, most_bytes=least - 1)
    monkeypatch.setattr(Session, "_slots_for", lambda self, times: MOST_SLOTS)
    for most_bytes, slots in ((least, LEAST_SLOTS), (None, MOST_SLOTS)):
        opened = open_sessions(device, growing, most_bytes=most_bytes)
        for session in opened:
            session.warm_up()
        assert [len(session.slots) for session in opened] == [slots, slots]
        for session in reversed(opened):
            session.close()

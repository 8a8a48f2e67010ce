"""Runs placed in time, and profiles, on whichever `acl` and `atc` are installed."""

import json
import time
from pathlib import Path
from queue import Queue

import pytest

from ascend_serve.errors import AclUsageError
from ascend_serve.profiles import read_exported, summarise
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.profiling import Counters, Profile
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from tests.contract import sessions
from tests.contract.sessions import LIMIT_S, TWO_SIDED, rows_of

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them

BATCHES = 30


@pytest.fixture
def lane(build):
    def open_sessions():
        device = Device.open()
        path = build(TWO_SIDED, device.soc_name)
        return [Session.open(device, path, describe(device, path, "m"), close_device=True)]

    lane = Lane(open_sessions)
    (lane.report,) = lane.start(LIMIT_S)
    yield lane
    lane.close(LIMIT_S)


def drive(lane, batches=BATCHES):
    """Run batches, two at once; when each was launched and done, by slot."""
    free, ended, spans = Queue(), Queue(), []
    for slot in range(lane.report.slots):
        free.put(slot)
    inputs = rows_of(lane.report.spec, 8, seed=1)

    def pack(slots):
        for name, array in inputs.items():
            slots[name][:8] = array

    for _ in range(batches):
        slot = free.get(timeout=LIMIT_S)
        began = time.monotonic()

        def done(error, stages, slot=slot, began=began):
            ended.put((slot, began, time.monotonic(), error))
            free.put(slot)

        lane.runner(0).launch(slot, 0, 8, pack, lambda outputs: None, done)
    for _ in range(batches):
        slot, began, until, error = ended.get(timeout=LIMIT_S)
        assert error is None
        spans.append((slot, began, until))
    return spans


def test_runs_are_placed_between_their_launch_and_their_end(lane):
    runs = []
    lane.do(lambda sessions: sessions[0].trace(runs.append)).result(LIMIT_S)
    spans = drive(lane)
    lane.do(lambda sessions: sessions[0].trace(None)).result(LIMIT_S)
    assert [run.slot for run in runs] == [slot for slot, _, _ in spans]
    slack_s = 0.05  # the moment that events count from is known the better the less busy the host is
    for run, (_, began, until) in zip(runs, spans, strict=True):
        assert began - slack_s <= run.copy_in_at <= run.compute_at + slack_s
        assert run.compute_at <= run.copy_out_at + slack_s
        assert run.ended_at <= until + slack_s
    begins = [run.compute_at for run in runs]
    assert begins == sorted(begins)
    drive(lane, 4)
    assert len(runs) == BATCHES


def test_a_second_trace_begins_anew(lane):
    for _ in range(2):
        runs = []
        lane.do(lambda sessions, runs=runs: sessions[0].trace(runs.append)).result(LIMIT_S)
        before = time.monotonic()
        drive(lane, 6)
        assert len(runs) == 6
        assert all(run.copy_in_at > before - 0.05 for run in runs)
    lane.do(lambda sessions: sessions[0].trace(None)).result(LIMIT_S)


def test_what_an_errand_raises_is_its_own_and_harms_no_batch(lane):
    errand = lane.do(lambda sessions: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        errand.result(LIMIT_S)
    drive(lane, 2)
    memory = lane.do(lambda sessions: sessions[0].device.memory()).result(LIMIT_S)
    assert 0 < memory.free_bytes < memory.total_bytes


def test_an_errand_for_a_lane_that_has_closed_is_refused(build):
    lane = Lane(list)
    lane.close(LIMIT_S)
    with pytest.raises(RuntimeError, match="closed"):
        lane.do(len)


def test_a_profile_of_a_live_lane_tells_its_load_and_its_copies(lane, tmp_path: Path, emulator):
    """The emulated profiler writes what msprof would export; on a card msprof is to be run (facts: ATC §5.3)."""
    profile = lane.do(lambda sessions: Profile(0, tmp_path / "p", Counters.NONE)).result(LIMIT_S)
    drive(lane)
    lane.do(lambda _: profile.stop()).result(LIMIT_S)
    (folder,) = (tmp_path / "p").iterdir()
    summary = summarise(read_exported(folder))
    (on_device,) = summary.devices
    assert on_device.whole_runs
    assert 0 < on_device.load <= 1
    assert on_device.gaps.count <= BATCHES - 1
    ways = {copies.way: copies.count for copies in summary.copies}
    assert ways == {"host to device": 2 * BATCHES, "device to host": 2 * BATCHES}
    assert {call.name for call in summary.calls} >= {"acl.mdl.execute_async"}
    assert summary.counters == {}
    (timeline,) = folder.rglob("msprof_*.json")
    assert json.loads(timeline.read_text())


def test_one_profile_at_a_time(device, tmp_path: Path):
    first = Profile(0, tmp_path, Counters.NONE)
    with pytest.raises(AclUsageError, match="100002"):
        Profile(0, tmp_path, Counters.NONE)
    first.stop()
    Profile(0, tmp_path, Counters.MEMORY).stop()

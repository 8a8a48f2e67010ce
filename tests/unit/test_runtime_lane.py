"""The lane and its batches: what is called, on which thread, in which order, and how each ends."""

import threading

import numpy as np
import pytest

from ascend_serve.errors import AclDeviceFault, AclUsageError, ConfigError
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.spec.timing import Stages
from ascend_serve.spec.toolchain import Toolchain
from tests.unit.lane_tools import FAULT, LIMIT_S, SPEC, TIMES, Batch, FakeSession, lanes_of_a_test, started

pytestmark = pytest.mark.unit


@pytest.fixture
def make_lane():
    with lanes_of_a_test() as make:
        yield make


def test_start_reports_what_was_found(make_lane):
    session = FakeSession(slots=3)
    (report,) = make_lane(session).start(LIMIT_S)
    assert report.spec is SPEC
    assert (report.soc_name, report.toolchain) == ("AscendX", Toolchain("T", "1"))
    assert (report.slots, report.times) == (3, TIMES)


def test_a_batch_is_packed_run_unpacked_and_its_slot_freed_before_done(make_lane):
    session = FakeSession()
    lane = started(make_lane, session)
    batch = Batch(21.0).launch(lane, slot=1, gear=4)
    assert batch.ended() is None
    assert batch.result == 42.0
    assert session.slots[1].state is SlotState.FREE
    assert ("enqueue", 1, 0, 4) in session.calls


def test_all_calls_are_made_on_the_two_lane_threads(make_lane):
    session = FakeSession()
    lane = started(make_lane, session, name="L")
    batch = Batch().launch(lane)
    assert batch.ended() is None
    lane.close(LIMIT_S)
    launcher, waiter = {"L-launcher"}, {"L-waiter"}
    assert session.threads == {
        "warm_up": launcher,
        "bind": waiter,
        "enqueue": launcher,
        "wait": waiter,
        "close": launcher,
    }
    assert batch.thread == "L-waiter"


def test_the_next_slot_is_packed_and_queued_while_one_is_in_flight(make_lane):
    session = FakeSession(held=True)
    lane = started(make_lane, session)
    packed = threading.Event()
    first = Batch(1.0).launch(lane, slot=0)
    second = Batch(2.0, pack=lambda inputs: packed.set()).launch(lane, slot=1)
    assert packed.wait(LIMIT_S)
    assert first.ends.empty()
    session.let_go()
    session.let_go()
    assert (first.ended(), second.ended()) == (None, None)
    assert (first.result, second.result) == (2.0, 4.0)


def test_batches_are_waited_for_in_the_order_they_were_launched(make_lane):
    session = FakeSession(slots=4)
    lane = started(make_lane, session)
    batches = [Batch(float(i)).launch(lane, slot=i) for i in (2, 0, 3, 1)]
    assert [batch.ended() for batch in batches] == [None] * 4
    assert [call[1] for call in session.calls if call[0] == "wait"] == [2, 0, 3, 1]


@pytest.mark.parametrize("where", ["pack", "unpack"])
def test_what_a_batch_raises_is_its_own_end_only(make_lane, where):
    def fail(arrays):
        raise ValueError(where)

    session = FakeSession()
    lane = started(make_lane, session)
    bad = Batch(**{where: fail}).launch(lane, slot=0)
    good = Batch(3.0).launch(lane, slot=1)
    error = bad.ended()
    assert isinstance(error, ValueError)
    assert good.ended() is None
    assert good.result == 6.0
    assert session.slots[0].state is SlotState.FREE
    assert Batch().launch(lane, slot=0).ended() is None


def test_a_refused_enqueue_frees_the_slot_for_the_next(make_lane):
    session = FakeSession()
    session.fail_enqueue = ConfigError("gear 3")
    lane = started(make_lane, session)
    assert isinstance(Batch().launch(lane, gear=3).ended(), ConfigError)
    session.fail_enqueue = None
    assert Batch().launch(lane).ended() is None


def test_a_slot_that_is_not_free_is_refused_and_left_alone(make_lane):
    session = FakeSession(held=True)
    lane = started(make_lane, session)
    first = Batch().launch(lane, slot=0)
    assert isinstance(Batch().launch(lane, slot=0).ended(), RuntimeError)
    session.let_go()
    assert first.ended() is None


def test_an_acl_error_that_is_no_fault_leaves_the_lane_in_service(make_lane):
    session = FakeSession(held=True)
    lane = started(make_lane, session)
    error = AclUsageError("acl.mdl.execute_async", 145000, "PARAM_INVALID", "does not fit")
    batch = Batch().launch(lane)
    session.let_go(error)
    assert batch.ended() is error
    assert lane.heartbeat().fault is None
    batch = Batch().launch(lane)
    session.let_go()
    assert batch.ended() is None


def test_after_a_device_fault_in_flight_queued_and_later_batches_end_with_it(make_lane):
    session = FakeSession(slots=3, held=True)
    lane = started(make_lane, session)
    packing, go_on = threading.Event(), threading.Event()

    def hold(inputs):
        packing.set()
        assert go_on.wait(LIMIT_S)

    failing = Batch().launch(lane, slot=0)
    in_flight = Batch().launch(lane, slot=1)
    being_packed = Batch(pack=hold).launch(lane, slot=2)
    assert packing.wait(LIMIT_S)
    session.let_go(FAULT)
    assert failing.ended() is FAULT
    assert isinstance(in_flight.ended(), AclDeviceFault)
    queued = Batch().launch(lane, slot=0)
    go_on.set()
    assert isinstance(being_packed.ended(), AclDeviceFault)
    assert isinstance(queued.ended(), AclDeviceFault)
    later = Batch().launch(lane, slot=0).ended()
    assert isinstance(later, AclDeviceFault)
    assert later is not FAULT  # one exception raised in many places would gather all their tracebacks
    assert str(later) == str(FAULT)
    assert lane.heartbeat().fault is FAULT
    assert [call for call in session.calls if call[0] == "wait"] == [("wait", 0)]


def test_a_fault_while_queueing_ends_the_service_too(make_lane):
    session = FakeSession()
    session.fail_enqueue = FAULT
    lane = started(make_lane, session)
    assert Batch().launch(lane).ended() is FAULT
    session.fail_enqueue = None
    assert isinstance(Batch().launch(lane).ended(), AclDeviceFault)


def test_a_done_that_raises_is_logged_and_harms_nobody(make_lane, caplog):
    lane = started(make_lane, FakeSession())
    told = threading.Event()

    def bad_done(error, stages):
        told.set()
        raise ValueError("bad done")

    lane.runner(0).launch(0, 0, 1, lambda inputs: None, lambda outputs: None, bad_done)
    assert told.wait(LIMIT_S)
    assert Batch().launch(lane).ended() is None
    assert "bad done" in caplog.text


def test_heartbeat_tells_progress_and_stalling_in_the_lanes_own_time(make_lane):
    now = [100.0]
    session = FakeSession(held=True)
    lane = started(make_lane, session, clock=lambda: now[0])
    idle = lane.heartbeat()
    assert (idle.progress_at, idle.busy_since) == (100.0, None)
    assert idle.stalled_for_s(500.0) == 0.0

    now[0] = 200.0
    packed = threading.Event()
    first = Batch().launch(lane, slot=0)
    second = Batch(pack=lambda inputs: packed.set()).launch(lane, slot=1)
    assert packed.wait(LIMIT_S)
    beat = lane.heartbeat()
    assert beat.busy_since == 200.0
    assert beat.stalled_for_s(203.5) == 3.5

    now[0] = 210.0
    session.let_go()
    assert first.ended() is None
    beat = lane.heartbeat()
    assert (beat.progress_at, beat.busy_since) == (210.0, 200.0)
    assert beat.stalled_for_s(211.0) == 1.0
    session.let_go()
    assert second.ended() is None
    assert lane.heartbeat().busy_since is None


def test_an_examination_is_made_on_the_launcher_and_says_nothing_of_a_device_in_order(make_lane):
    session = FakeSession()
    lane = started(make_lane, session, name="L")
    lane.examine()
    assert Batch().launch(lane).ended() is None
    assert session.threads["examine"] == {"L-launcher"}
    assert lane.heartbeat().fault is None


def test_a_device_that_is_found_ill_ends_the_lanes_service_though_nothing_ran(make_lane):
    session = FakeSession()
    lane = started(make_lane, session)
    session.illness = FAULT
    lane.examine()
    assert isinstance(Batch().launch(lane).ended(), AclDeviceFault)
    assert lane.heartbeat().fault is FAULT
    assert not any(call[0] == "enqueue" for call in session.calls)


def test_a_device_that_cannot_be_examined_is_not_taken_for_ill(make_lane):
    session = FakeSession()
    lane = started(make_lane, session)
    session.illness = AclUsageError(
        "acl.rt.query_device_status", 107001, "INVALID_DEVICEID", "no such device"
    )
    lane.examine()
    assert Batch().launch(lane).ended() is None
    assert lane.heartbeat().fault is None


def test_examinations_do_not_pile_up_behind_a_device_that_does_not_return(make_lane):
    session = FakeSession()
    gate = threading.Event()
    lane = started(make_lane, session)
    stuck = Batch(pack=lambda _: gate.wait(LIMIT_S)).launch(lane)
    for _ in range(5):
        lane.examine()
    gate.set()
    assert stuck.ended() is None
    lane.close(LIMIT_S)
    assert [call[0] for call in session.calls].count("examine") == 1


def test_what_a_timed_batch_took_is_told_to_it(make_lane):
    session = FakeSession()
    lane = started(make_lane, session)
    untimed = Batch().launch(lane)
    assert (untimed.ended(), untimed.stages) == (None, None)
    session.stages = Stages(0.2, 8.0, 0.1)
    timed = Batch().launch(lane)
    assert (timed.ended(), timed.stages) == (None, Stages(0.2, 8.0, 0.1))


def test_a_batch_sees_the_arrays_of_its_bucket(make_lane):
    session = FakeSession(slots=1)
    wide = {"x": np.zeros((4, 7), np.float32)}
    session.slots = (Slot(0, [{"x": np.zeros((4, 2), np.float32)}, wide], [{"y": wide["x"]}] * 2),)
    lane = started(make_lane, session)
    seen = []
    batch = Batch(pack=lambda inputs: seen.append(inputs["x"].shape)).launch(lane, bucket=1, gear=4)
    assert batch.ended() is None
    assert seen == [(4, 7)]
    assert ("enqueue", 0, 1, 4) in session.calls

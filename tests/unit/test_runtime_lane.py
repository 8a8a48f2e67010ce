import threading
from queue import Queue
from types import SimpleNamespace

import numpy as np
import pytest

from ascend_serve.errors import AclDeviceFault, AclUsageError, ConfigError, LaneStalled
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.timing import Stages, Timing
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit

LIMIT_S = 10.0
TIMES = {(0, gear): Timing(Stages(0.1, ms, 0.1), 0.0, 5) for gear, ms in ((1, 1.0), (4, 2.0))}
SPEC = ModelSpec(
    "m", (TensorSpec("x", DataType.FP32, (-1, 2)),), (TensorSpec("y", DataType.FP32, (-1, 2)),), Gears((1, 4))
)
FAULT = AclDeviceFault(
    "acl.rt.synchronize_event", 507015, "AICORE_EXCEPTION", "an AI core raised an exception"
)


class FakeSession:
    """Doubles its input. While `held`, runs end one by one as `let_go` is called."""

    def __init__(self, slots=2, held=False):
        self.device = SimpleNamespace(soc_name="AscendX", toolchain=Toolchain("T", "1"), examine=self.examine)
        self.spec = SPEC
        self.slots = tuple(
            Slot(i, [{"x": np.zeros((4, 2), np.float32)}], [{"y": np.zeros((4, 2), np.float32)}])
            for i in range(slots)
        )
        self.calls = []
        self.threads = {}
        self.ends = Queue()
        self.held = held
        self.fail_enqueue = None
        self.fail_close = None
        self.illness = None
        self.stages = None
        self.close_gate = threading.Event()
        self.close_gate.set()

    def _note(self, call, *rest):
        self.calls.append((call, *rest))
        self.threads.setdefault(call, set()).add(threading.current_thread().name)

    def let_go(self, error=None):
        self.ends.put(error)

    def bind(self):
        self._note("bind")

    def examine(self):
        self._note("examine")
        if self.illness is not None:
            raise self.illness

    def warm_up(self):
        self._note("warm_up")
        return TIMES

    def enqueue(self, slot, bucket, gear):
        self._note("enqueue", slot.index, bucket, gear)
        slot.move(SlotState.IN_FLIGHT)
        if self.fail_enqueue is not None:
            slot.release()
            raise self.fail_enqueue
        np.multiply(slot.inputs_at(bucket)["x"], 2, out=slot.outputs_at(bucket)["y"])

    def wait(self, slot):
        self._note("wait", slot.index)
        if self.held:
            error = self.ends.get(timeout=LIMIT_S)
            if error is not None:
                slot.release()
                raise error
        slot.move(SlotState.UNPACKING)
        return self.stages

    def close(self):
        self._note("close")
        assert self.close_gate.wait(LIMIT_S)
        if self.fail_close is not None:
            raise self.fail_close


class Batch:
    """One launched batch and how it ended."""

    def __init__(self, value=1.0, pack=None, unpack=None):
        self.value = value
        self.result = None
        self.ends = Queue()
        self._pack, self._unpack = pack, unpack
        self.thread = None

    def pack(self, inputs):
        if self._pack is not None:
            self._pack(inputs)
        inputs["x"][0] = self.value

    def unpack(self, outputs):
        if self._unpack is not None:
            self._unpack(outputs)
        self.result = float(outputs["y"][0, 0])

    def done(self, error, stages):
        self.stages = stages
        self.thread = threading.current_thread().name
        self.ends.put(error)

    def launch(self, lane, slot=0, gear=1, bucket=0, session=0):
        lane.runner(session).launch(slot, bucket, gear, self.pack, self.unpack, self.done)
        return self

    def ended(self):
        error = self.ends.get(timeout=LIMIT_S)
        assert self.ends.empty(), "done() was called more than once"
        return error


@pytest.fixture
def make_lane():
    lanes = []

    def make(session, **options):
        lane = Lane(lambda: [session], **options)
        lanes.append((lane, session))
        return lane

    yield make
    for lane, session in lanes:
        session.held = False
        session.close_gate.set()
        session.fail_close = None
        for _ in range(8):
            session.let_go()
        lane.close(LIMIT_S)


def started(make_lane, session, **options):
    lane = make_lane(session, **options)
    lane.start(LIMIT_S)
    return lane


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


def test_start_raises_what_opening_raised_and_the_lane_is_closed():
    def refuse():
        raise ConfigError("slots is 0")

    lane = Lane(refuse)
    with pytest.raises(ConfigError, match="slots is 0"):
        lane.start(LIMIT_S)
    with pytest.raises(RuntimeError, match="closed"):
        Batch().launch(lane)
    lane.close(LIMIT_S)


def test_what_was_launched_before_a_failed_opening_is_told():
    def refuse():
        raise ConfigError("slots is 0")

    lane = Lane(refuse)
    early = Batch().launch(lane)
    with pytest.raises(ConfigError):
        lane.start(LIMIT_S)
    assert isinstance(early.ended(), ConfigError)


@pytest.mark.parametrize("step", ["warm_up", "bind"])
def test_a_failure_after_opening_closes_the_session(step):
    session = FakeSession()

    def fail():
        raise FAULT

    setattr(session, step, fail)
    lane = Lane(lambda: [session])
    with pytest.raises(AclDeviceFault):
        lane.start(LIMIT_S)
    assert session.calls[-1] == ("close",)
    assert session.calls.count(("close",)) == 1


def test_a_device_that_does_not_open_in_time_stalls_and_is_closed_when_it_comes_back():
    session, gate = FakeSession(), threading.Event()

    def slow():
        assert gate.wait(LIMIT_S)
        return [session]

    lane = Lane(slow)
    with pytest.raises(LaneStalled, match=r"within 0.01 s"):
        lane.start(0.01)
    gate.set()
    lane.close(LIMIT_S)
    assert session.calls[-1] == ("close",)


def test_close_finishes_what_was_launched_and_may_be_called_again(make_lane):
    session = FakeSession(slots=3, held=True)
    lane = started(make_lane, session)
    batches = [Batch(float(i)).launch(lane, slot=i) for i in range(3)]
    for _ in batches:
        session.let_go()
    lane.close(LIMIT_S)
    assert [batch.ended() for batch in batches] == [None] * 3
    assert session.calls[-1] == ("close",)
    lane.close(LIMIT_S)
    assert session.calls.count(("close",)) == 1
    with pytest.raises(RuntimeError, match="closed"):
        Batch().launch(lane)


def test_close_of_a_lane_that_never_started_does_nothing():
    lane = Lane(FakeSession)
    lane.close(LIMIT_S)
    with pytest.raises(RuntimeError, match="closed"):
        Batch().launch(lane)


def test_close_stalls_when_the_device_does_not_return_and_can_be_tried_again(make_lane):
    session = FakeSession()
    session.close_gate.clear()
    lane = started(make_lane, session)
    with pytest.raises(LaneStalled, match=r"did not return within 0.01 s"):
        lane.close(0.01)
    session.close_gate.set()
    lane.close(LIMIT_S)


def test_what_closing_raises_is_raised_once(make_lane):
    session = FakeSession()
    session.fail_close = AclUsageError("acl.rt.free", 100000, "INVALID_PARAM", "null")
    lane = started(make_lane, session)
    with pytest.raises(AclUsageError):
        lane.close(LIMIT_S)
    lane.close(LIMIT_S)


def test_after_a_fault_a_failing_close_is_only_logged(make_lane, caplog):
    session = FakeSession(held=True)
    session.fail_close = FAULT
    lane = started(make_lane, session)
    batch = Batch().launch(lane)
    session.let_go(FAULT)
    assert batch.ended() is FAULT
    lane.close(LIMIT_S)
    assert "closing after an earlier failure" in caplog.text


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


# --- several sessions ---------------------------------------------------------------------------------


def test_sessions_are_warmed_in_order_share_the_threads_and_are_closed_newest_first():
    order = []
    both = [FakeSession(slots=1), FakeSession(slots=2)]
    for number, session in enumerate(both):
        session._note = lambda call, *rest, number=number: order.append((call, number))
    lane = Lane(lambda: both)
    assert [report.slots for report in lane.start(LIMIT_S)] == [1, 2]
    batches = [Batch(1.0).launch(lane, session=0), Batch(2.0).launch(lane, slot=1, session=1)]
    assert [batch.ended() for batch in batches] == [None, None]
    assert [batch.result for batch in batches] == [2.0, 4.0]
    lane.close(LIMIT_S)
    assert [entry for entry in order if entry[0] in ("warm_up", "close")] == [
        ("warm_up", 0),
        ("warm_up", 1),
        ("close", 1),
        ("close", 0),
    ]


def test_a_fault_of_one_session_ends_the_service_of_all():
    both = [FakeSession(), FakeSession()]
    both[0].fail_enqueue = FAULT
    lane = Lane(lambda: both)
    lane.start(LIMIT_S)
    assert Batch().launch(lane, session=0).ended() is FAULT
    assert isinstance(Batch().launch(lane, session=1).ended(), AclDeviceFault)
    lane.close(LIMIT_S)


def test_when_the_second_session_does_not_warm_up_both_are_closed():
    both = [FakeSession(), FakeSession()]

    def fail():
        raise FAULT

    both[1].warm_up = fail
    lane = Lane(lambda: both)
    with pytest.raises(AclDeviceFault):
        lane.start(LIMIT_S)
    assert [session.calls[-1] for session in both] == [("close",), ("close",)]


def test_every_session_is_closed_although_closing_one_fails(caplog):
    both = [FakeSession(), FakeSession()]
    first, second = (
        AclUsageError("acl.rt.free", 100000, "INVALID_PARAM", word) for word in ("first", "second")
    )
    both[0].fail_close, both[1].fail_close = second, first  # the newest is closed first
    lane = Lane(lambda: both)
    lane.start(LIMIT_S)
    with pytest.raises(AclUsageError, match="first"):
        lane.close(LIMIT_S)
    assert both[0].calls[-1] == ("close",)
    assert "second" in caplog.text


# --- what is measured, and what is posted late ---------------------------------------------------------


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


def test_a_batch_posted_behind_the_end_mark_is_told(make_lane):
    """The launch saw the lane open, and was held up until the launcher had taken its last look."""
    held_up = []

    def clock():
        # `launch` reads it between its look at the lane and its post.
        if held_up and threading.current_thread() is threading.main_thread():
            held_up.clear()
            lane.close(LIMIT_S)
        return 0.0

    lane = started(make_lane, FakeSession(), clock=clock)
    held_up.append(True)
    batch = Batch().launch(lane)
    assert isinstance(batch.ended(), RuntimeError)
    assert not held_up
    assert lane.heartbeat().busy_since is None


def test_a_batch_launched_on_a_lane_that_is_closed_before_it_starts_is_told():
    lane = Lane(lambda: [FakeSession()])
    batch = Batch().launch(lane)
    lane.close(LIMIT_S)
    assert isinstance(batch.ended(), RuntimeError)


def test_nothing_is_lost_when_many_launch_while_the_lane_closes():
    for _ in range(30):
        session = FakeSession(slots=1)
        lane = Lane(lambda session=session: [session])
        lane.start(LIMIT_S)
        batches, refused = [], []
        begin = threading.Barrier(4)

        def launch_many(lane=lane, batches=batches, refused=refused, begin=begin):
            begin.wait(LIMIT_S)
            for _ in range(50):
                batch = Batch()
                try:
                    batch.launch(lane)
                except RuntimeError:
                    refused.append(batch)
                else:
                    batches.append(batch)

        threads = [threading.Thread(target=launch_many) for _ in range(3)]
        for thread in threads:
            thread.start()
        begin.wait(LIMIT_S)
        lane.close(LIMIT_S)
        for thread in threads:
            thread.join(LIMIT_S)
        for batch in batches:
            batch.ended()  # with whatever: slots are not free, or the lane is closed, but each exactly once
        assert len(batches) + len(refused) == 150
        assert lane.heartbeat().busy_since is None

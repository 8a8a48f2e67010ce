"""How a lane begins and ends, with one session and with several: nothing is lost and all is closed."""

import threading

import pytest

from ascend_serve.errors import AclDeviceFault, AclUsageError, ConfigError, LaneStalled
from ascend_serve.runtime.lane import Lane
from tests.unit.lane_tools import FAULT, LIMIT_S, Batch, FakeSession, lanes_of_a_test, started

pytestmark = pytest.mark.unit


@pytest.fixture
def make_lane():
    with lanes_of_a_test() as make:
        yield make


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

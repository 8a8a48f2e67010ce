"""After a failed task a lane opens its device again, and goes on; or it gives the device up."""

import threading
from queue import Queue

import pytest

from ascend_serve.errors import (
    AclDeviceFault,
    AclResourceError,
    AclTaskFault,
    AclUsageError,
    AclWaitTimeout,
)
from ascend_serve.runtime import lane as lanes
from ascend_serve.runtime import reopening
from ascend_serve.runtime.lane import Lane
from tests.unit.lane_tools import FAULT, LIMIT_S, Batch, FakeSession

pytestmark = pytest.mark.unit

TASK = AclTaskFault("acl.rt.synchronize_event", 507015, "AICORE_EXCEPTION", "an AI core raised an exception")
NO_ROOM = AclResourceError("acl.rt.synchronize_event", 207001, "RT_MEMORY_ALLOCATION", "no room")
ABORTED = AclUsageError("acl.mdl.execute_async", 107023, "RT_STREAM_ABORT", "the stream was aborted")


class Watched(FakeSession):
    """Tells what is called as it is called."""

    def __init__(self, **options):
        self.noted = Queue()
        super().__init__(**options)

    def _note(self, call, *rest):
        super()._note(call, *rest)
        self.noted.put((call, *rest))

    def wait_for(self, *wanted):
        while self.noted.get(timeout=LIMIT_S) != wanted:
            pass


class Sessions:
    """Makes the sessions of a lane: those given first, good ones after them."""

    def __init__(self, *first):
        self.first = list(first)
        self.opened = []
        self.openings = Queue()

    def __call__(self):
        session = self.first.pop(0) if self.first else FakeSession()
        if isinstance(session, BaseException):
            raise session
        self.opened.append(session)
        self.openings.put(session)
        return [session]

    def next(self):
        """The session that was opened since the last call, or is next."""
        return self.openings.get(timeout=LIMIT_S)


@pytest.fixture
def start():
    started = []

    def make(*first, **options):
        sessions = Sessions(*first)
        lane = Lane(sessions, **options)
        lane.start(LIMIT_S)
        started.append((lane, sessions))
        return lane, sessions

    yield make
    for lane, sessions in started:
        for session in sessions.opened:
            session.held = False
            session.fail_close = None
            for _ in range(8):
                session.let_go()
        lane.close(LIMIT_S)


def test_what_is_launched_after_a_failed_task_runs_on_the_new_sessions(start):
    lane, sessions = start(FakeSession(held=True))
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    assert failed.ended() is TASK
    after = Batch(3.0).launch(lane)
    assert after.ended() is None
    assert after.result == 6.0
    assert lane.heartbeat().fault is None
    old, new = sessions.opened
    assert old.calls[-1] == ("close",)
    assert new.calls[:1] == [("warm_up",)]
    assert "bind" in [call for call, *_ in new.calls]
    assert new.threads["bind"] == old.threads["wait"], "the waiter"
    assert new.threads["warm_up"] == old.threads["enqueue"], "the launcher"


def test_the_device_is_opened_again_though_nothing_is_launched(start):
    lane, sessions = start(FakeSession(held=True))
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    failed.ended()
    sessions.next()
    new = sessions.next()
    lane.close(LIMIT_S)
    assert new.calls[-1] == ("close",)


def test_batches_beside_the_failed_one_end_with_it_whatever_the_runtime_says_of_them(start):
    session = Watched(slots=2, held=True)
    lane, _ = start(session)
    failed, beside = Batch().launch(lane, slot=0), Batch().launch(lane, slot=1)
    session.wait_for("enqueue", 1, 0, 1)
    session.let_go(TASK)
    session.let_go(ABORTED)
    assert failed.ended() is TASK
    told = beside.ended()
    assert isinstance(told, AclTaskFault)
    assert told is not TASK
    assert Batch().launch(lane).ended() is None


def test_a_run_that_finds_no_room_ends_its_context_as_well(start):
    lane, sessions = start(FakeSession(held=True))
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(NO_ROOM)
    assert failed.ended() is NO_ROOM
    assert Batch().launch(lane).ended() is None
    assert len(sessions.opened) == 2


def test_the_end_of_a_bounded_wait_ends_no_context(start):
    lane, sessions = start(FakeSession(held=True))
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(
        AclWaitTimeout("acl.rt.synchronize_event", 507047, "EVENT_SYNC_TIMEOUT", "late")
    )
    assert isinstance(failed.ended(), AclWaitTimeout)
    sessions.opened[0].held = False
    assert Batch().launch(lane).ended() is None
    assert len(sessions.opened) == 1


def test_a_launch_that_a_broken_context_refuses_ends_as_the_failed_task(start):
    session = FakeSession(held=True)
    lane, _ = start(session)
    session.fail_enqueue = TASK
    assert Batch().launch(lane).ended() is TASK
    assert Batch().launch(lane).ended() is None


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (FAULT, "cannot be opened again: AclDeviceFault: acl.rt.synchronize_event returned 507015"),
        (OSError("the store is gone"), "cannot be opened again: OSError: the store is gone"),
    ],
)
def test_a_device_that_cannot_be_opened_again_is_given_up(start, second, words):
    lane, sessions = start(FakeSession(held=True), second)
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    failed.ended()
    told = Batch().launch(lane).ended()
    assert type(told) is AclDeviceFault
    assert words in str(told)
    assert words in str(lane.heartbeat().fault)
    lane.examine()
    assert type(Batch().launch(lane).ended()) is AclDeviceFault
    assert lane.heartbeat().busy_since is None


class Crowded(FakeSession):
    """Finds no room as it is warmed up; or as it is opened, when it is raised."""

    def warm_up(self):
        if len(self.calls) == 0:
            self._note("warm_up")
            raise NO_ROOM
        return super().warm_up()


@pytest.mark.parametrize("crowded", [NO_ROOM, Crowded(), FakeSession(slots=1)])
def test_a_card_without_room_as_it_is_opened_again_is_tried_again(start, monkeypatch, crowded):
    monkeypatch.setattr(reopening, "NO_ROOM_PAUSES_S", (0.0, 0.0))
    lane, sessions = start(FakeSession(held=True), crowded, NO_ROOM)
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    failed.ended()
    assert Batch().launch(lane).ended() is None
    assert lane.heartbeat().fault is None
    for session in sessions.opened[:-1]:
        assert session.calls[-1] == ("close",)


@pytest.mark.parametrize(
    ("crowded", "words"),
    [((NO_ROOM,) * 3, "RT_MEMORY_ALLOCATION"), ([FakeSession(slots=1) for _ in range(3)], "fewer slots")],
)
def test_a_card_that_stays_without_room_is_given_up(start, monkeypatch, crowded, words):
    monkeypatch.setattr(reopening, "NO_ROOM_PAUSES_S", (0.0, 0.0))
    lane, sessions = start(FakeSession(held=True), *crowded)
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    failed.ended()
    told = Batch().launch(lane).ended()
    assert type(told) is AclDeviceFault
    assert words in str(told)
    assert sessions.first == []


def test_a_device_that_fails_whatever_it_is_given_is_given_up_in_the_end(start, monkeypatch):
    monkeypatch.setattr(lanes, "MOST_REOPENED", 3)

    def failing():
        session = FakeSession(held=True)
        session.let_go(TASK)
        return session

    lane, sessions = start(*(failing() for _ in range(9)))
    ends = [Batch().launch(lane).ended() for _ in range(6)]
    assert [type(end) for end in ends] == [AclTaskFault] * 4 + [AclDeviceFault] * 2
    assert "4 times in a row" in str(ends[-1])
    assert len(sessions.opened) == 4


def test_a_good_batch_in_between_says_that_the_device_is_well(start, monkeypatch):
    monkeypatch.setattr(lanes, "MOST_REOPENED", 2)
    lane, sessions = start()
    for _ in range(6):
        now = sessions.next()
        assert Batch().launch(lane).ended() is None
        now.fail_enqueue = TASK
        Batch().launch(lane).ended()
    assert lane.heartbeat().fault is None


def test_failures_far_apart_are_no_row_of_failures(start, monkeypatch):
    """As of a client that sends one request a minute, each of which makes the device fail."""
    monkeypatch.setattr(lanes, "MOST_REOPENED", 2)
    now = [100.0]

    def failing():
        session = FakeSession(held=True)
        session.let_go(TASK)
        return session

    lane, _ = start(*(failing() for _ in range(9)), clock=lambda: now[0])
    for _ in range(6):
        assert type(Batch().launch(lane).ended()) is AclTaskFault
        now[0] += lanes.REOPENED_APART_S + 1
    assert lane.heartbeat().fault is None


def test_opening_again_counts_as_no_stall_for_a_while(start):
    gate = threading.Event()

    class Slow(Watched):
        def warm_up(self):
            self._note("begins")
            assert gate.wait(LIMIT_S)
            return super().warm_up()

    slow = Slow()
    lane, sessions = start(FakeSession(held=True), slow, clock=lambda: 100.0)
    failed = Batch().launch(lane)
    sessions.opened[0].let_go(TASK)
    failed.ended()
    waiting = Batch().launch(lane)
    slow.wait_for("begins")
    beat = lane.heartbeat()
    assert beat.stalled_for_s(100.0 + lanes.REOPENING_S) == 0.0
    assert beat.stalled_for_s(101.0 + lanes.REOPENING_S) == 1.0
    gate.set()
    assert waiting.ended() is None


def test_a_lane_that_closes_with_a_failed_task_just_closes(start):
    session = Watched(held=True)
    session.fail_close = ABORTED
    lane, _ = start(session)
    batch = Batch().launch(lane)
    closing = threading.Thread(target=lane.close, args=(LIMIT_S,))
    session.wait_for("enqueue", 0, 0, 1)
    closing.start()
    session.let_go(TASK)
    batch.ended()
    closing.join(LIMIT_S)
    assert not closing.is_alive()

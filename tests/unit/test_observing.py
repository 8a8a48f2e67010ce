"""Looking at a replica: over a lane and engines that only note what they are asked."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from ascend_serve.batching.journal import Offered
from ascend_serve.errors import AclUsageError, ConfigError, Refusal
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.profiling import Counters
from ascend_serve.serving.watching import observing
from ascend_serve.serving.watching.observing import Observer
from ascend_serve.spec.timing import DeviceRun, Stages
from tests.unit.engine_bench import turns

pytestmark = pytest.mark.unit

RUN = DeviceRun(0, 1.0, 1.1, 1.2, Stages(100.0, 100.0, 1.0))


class Session:
    def __init__(self):
        self.sinks = []
        self.failure = None
        self.device = SimpleNamespace(soc_name="Ascend310P3", ordinal=0, memory=lambda: MemoryInfo(30, 100))

    def trace(self, ran):
        if self.failure is not None and ran is not None:
            raise self.failure
        self.sinks.append(ran)


class Lane:
    """Does at once what it is asked."""

    def __init__(self, *sessions):
        self.sessions = sessions
        self.closed = False

    def do(self, what):
        if self.closed:
            raise RuntimeError("the lane is closed")
        future = Future()
        try:
            future.set_result(what(self.sessions))
        except Exception as error:  # noqa: BLE001  # handed on as a lane does
            future.set_exception(error)
        return future


class Engine:
    def __init__(self):
        self.journals = []

    def follow(self, journal):
        self.journals.append(journal)


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def observer(session):
    return Observer(Lane(session), "replica1", "10.0.0.1")


async def test_a_trace_has_what_happened_and_leaves_nothing_switched_on(observer, session):
    engine = Engine()
    looking = asyncio.ensure_future(observer.trace([("digits", "2", engine)], 0.01))
    await turns(10)
    (ring,), (ran,) = engine.journals, session.sinks
    ring.note(Offered(1.0, 7, 3))
    ran(RUN)
    trace = await looking
    assert (trace.replica, trace.node, trace.soc_name) == ("replica1", "10.0.0.1", "Ascend310P3")
    (model,) = trace.models
    assert (model.name, model.version, model.events, model.runs) == (
        "digits",
        "2",
        (Offered(1.0, 7, 3),),
        (RUN,),
    )
    assert trace.ended_at - trace.began_at >= 0.009
    assert engine.journals[-1] is None
    assert session.sinks[-1] is None


async def test_a_trace_that_is_cancelled_is_switched_off(observer, session):
    engine = Engine()
    looking = asyncio.ensure_future(observer.trace([("m", "1", engine)], 30))
    await turns(10)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert (engine.journals[-1], session.sinks[-1]) == (None, None)
    await observer.trace([("m", "1", engine)], 0.001)


async def test_a_device_without_events_for_it_is_told_and_left_alone(observer, session):
    session.failure = AclUsageError("acl.rt.create_event", 107000, "X", "no")
    engine = Engine()
    with pytest.raises(AclUsageError):
        await observer.trace([("m", "1", engine)], 0.01)
    assert engine.journals == [None]
    session.failure = None
    await observer.trace([("m", "1", engine)], 0.001)


@pytest.mark.parametrize("seconds", [0, -1, 61, float("nan")])
async def test_a_look_has_its_bounds(observer, seconds):
    with pytest.raises(ConfigError, match="at most 60"):
        await observer.trace([], seconds)


async def test_two_looks_at_once_are_refused(observer):
    looking = asyncio.ensure_future(observer.trace([], 0.05))
    await turns(5)
    with pytest.raises(Refusal, match="a timeline of replica replica1 is being taken"):
        await observer.profile(1, "/tmp", "none")
    await looking


@pytest.fixture
def profiles(monkeypatch):
    """Profiles that make a folder and note what they were asked."""
    made = []

    class Profile:
        def __init__(self, ordinal, folder, counters):
            made.append([ordinal, folder, counters, "begun"])
            (folder / "PROF_1").mkdir(parents=True)

        def stop(self):
            made[-1][-1] = "stopped"

    monkeypatch.setattr(observing, "Profile", Profile)
    return made


async def test_a_profile_is_begun_and_stopped_on_the_lane(observer, profiles, tmp_path: Path):
    told = await observer.profile(0.001, str(tmp_path), "memory")
    assert profiles == [[0, tmp_path / "replica1", Counters.MEMORY, "stopped"]]
    assert told == {
        "replica": "replica1",
        "node": "10.0.0.1",
        "folder": str(tmp_path / "replica1/PROF_1"),
    }


async def test_a_profile_that_is_cancelled_is_stopped(observer, profiles, tmp_path: Path):
    looking = asyncio.ensure_future(observer.profile(30, str(tmp_path), "none"))
    await turns(10)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert profiles[0][-1] == "stopped"


@pytest.mark.parametrize(
    ("folder", "counters", "told"),
    [("here", "none", "absolute"), ("/tmp/x", "memroy", "did you mean 'memory'")],
)
async def test_a_wrong_profile_is_refused(observer, profiles, folder, counters, told):
    with pytest.raises(ConfigError, match=told):
        await observer.profile(1, folder, counters)
    assert profiles == []


async def test_a_device_that_is_not_open_cannot_be_profiled(tmp_path: Path):
    with pytest.raises(RuntimeError, match="not open"):
        await Observer(Lane(), "r", "n").profile(1, str(tmp_path), "none")


async def test_the_devices_memory_is_told_until_the_lane_closes(session, monkeypatch):
    monkeypatch.setattr(observing, "MEMORY_EVERY_S", 0)
    lane = Lane(session)
    told = []

    def memory(free_bytes, total_bytes):
        told.append((free_bytes, total_bytes))
        if len(told) == 2:
            session.device.memory = failing
        lane.closed = len(told) > 2

    def failing():
        session.device.memory = lambda: MemoryInfo(1, 100)
        raise AclUsageError("acl.rt.get_mem_info", 107000, "X", "no")

    await Observer(lane, "r", "n").keep_memory_told(SimpleNamespace(memory=memory))
    assert told == [(30, 100), (30, 100), (1, 100)]

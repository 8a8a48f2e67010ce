"""What a session makes of a failure that the runtime tells once only, to whoever asks first."""

from types import SimpleNamespace

import pytest

from ascend_serve.errors import AclDeviceFault, AclResourceError, ConfigError
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.measuring import Sampler
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.runtime.streams import Streams
from ascend_serve.runtime.wiring import Way
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

FAULT = AclDeviceFault(
    "acl.rt.synchronize_stream", 507015, "AICORE_EXCEPTION", "an AI core raised an exception"
)
FULL = AclResourceError("acl.mdl.execute_async", 207000, "FEATURE", "no task can be queued")
SPEC = ModelSpec(
    "m", (TensorSpec("x", DataType.FP32, (-1,)),), (TensorSpec("y", DataType.FP32, (-1,)),), Gears((1, 4))
)


class Stream:
    """Tells its failure to the first who synchronises, as a stream does that goes on after it."""

    address = 1

    def __init__(self):
        self.failure = None
        self.recorded = []

    def synchronize(self):
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def record(self, event):
        self.recorded.append(event)

    def wait_for(self, event):
        pass


class Model:
    refusal = None

    def set_gear(self, inputs, gear):
        pass

    def execute(self, inputs, outputs, stream):
        if self.refusal is not None:
            raise self.refusal


def event():
    return SimpleNamespace(synchronize=lambda: None, ms_since=lambda start: 2.5)


@pytest.fixture
def compute():
    return Stream()


@pytest.fixture
def session(compute):
    """A session on a board, over fakes, whose context goes on after a failed task."""
    session = Session.__new__(Session)
    session.spec = SPEC
    session.streams = Streams(Stream(), compute, Stream(), stops_on_failure=False)
    session._model = Model()
    session._sampler = Sampler()
    session._timed = set()
    session._ran = None
    session._placed = {}
    session._spare_bytes = None
    session._wirings = [
        SimpleNamespace(
            slot=Slot(index, [{}], [{}]),
            staged=False,
            ways={(0, gear): Way((gear,), (), ()) for gear in SPEC.gears},
            dataset_in=0,
            dataset_out=0,
            computed=(computed := event()),
            done=computed,
            begins=SimpleNamespace(compute="begin"),
        )
        for index in range(2)
    ]
    session.slots = tuple(wiring.slot for wiring in session._wirings)
    return session


def test_a_refused_batch_does_not_swallow_the_failure_of_the_one_that_runs(session, compute):
    first, second = session.slots
    first.begin()
    session.enqueue(first, 0, 1)
    compute.failure = FAULT
    second.begin()
    session._model.refusal = FULL
    with pytest.raises(AclResourceError):
        session.enqueue(second, 0, 1)
    with pytest.raises(AclDeviceFault, match="507015"):
        session.wait(first)
    assert [slot.state for slot in session.slots] == [SlotState.FREE, SlotState.FREE]


def test_the_failure_of_one_batch_is_told_to_those_behind_it(session, compute):
    for slot in session.slots:
        slot.begin()
        session.enqueue(slot, 0, 1)
    compute.failure = FAULT
    for slot in session.slots:
        with pytest.raises(AclDeviceFault):
            session.wait(slot)


def test_the_failure_of_one_model_is_told_to_another_on_the_same_streams(session, compute):
    other = Session.__new__(Session)
    other.__dict__.update(session.__dict__, _wirings=session._wirings[1:] * 2, slots=session.slots)
    first, second = session.slots
    first.begin()
    session.enqueue(first, 0, 1)
    second.begin()
    other.enqueue(second, 0, 4)
    compute.failure = FAULT
    with pytest.raises(AclDeviceFault):
        session.wait(first)
    with pytest.raises(AclDeviceFault):
        other.wait(second)


def test_a_batch_that_ran_is_there_to_be_unpacked(session):
    slot = session.slots[0]
    slot.begin()
    session.enqueue(slot, 0, 4)
    session.wait(slot)
    assert slot.state is SlotState.UNPACKING


@pytest.mark.parametrize(
    ("bucket", "gear", "words"), [(0, 3, r"compiled for \[1, 4\]"), (2, 1, "has 1 buckets")]
)
def test_what_was_not_compiled_is_refused_and_the_slot_is_free(session, bucket, gear, words):
    slot = session.slots[0]
    slot.begin()
    with pytest.raises(ConfigError, match=words):
        session.enqueue(slot, bucket, gear)
    assert slot.state is SlotState.FREE


def test_some_batches_are_timed_and_the_others_cost_no_event_more(session, compute):
    slot = session.slots[0]
    timed = []
    for _ in range(40):
        compute.recorded.clear()
        slot.begin()
        session.enqueue(slot, 0, 4)
        stages = session.wait(slot)
        slot.release()
        timed.append(stages is not None)
        assert len(compute.recorded) == 1 + timed[-1]
        assert stages in (None, (0.0, 2.5, 0.0))
    assert [number for number, was in enumerate(timed) if was] == [0, 1, 2, 3, 8, 16, 24, 32]


def test_slots_beyond_the_first_leave_a_tenth_of_the_free_memory(session):
    session._model = SimpleNamespace(inputs=[SimpleNamespace(size=6)], outputs=[SimpleNamespace(size=4)])
    session.device = SimpleNamespace(memory=lambda: MemoryInfo(100, 1000))
    assert session._slots_that_fit() == 9


def test_a_refused_slot_is_done_without(session, monkeypatch, caplog):
    """As when page-locked host memory runs out, of which nobody can be asked beforehand."""
    made = []

    def add(count):
        if made:
            raise FULL
        made.append(count)

    monkeypatch.setattr(session, "_chooses_slots", True, raising=False)
    monkeypatch.setattr(session, "_measured", lambda key: None)
    monkeypatch.setattr(session, "_warm", lambda slot: None)
    monkeypatch.setattr(session, "_slots_for", lambda times: 4)
    monkeypatch.setattr(session, "_slots_that_fit", lambda: 9)
    monkeypatch.setattr(session, "_add_slots", add)
    with caplog.at_level("WARNING"):
        session.warm_up()
    assert made == [1]
    assert "no task can be queued" in caplog.text

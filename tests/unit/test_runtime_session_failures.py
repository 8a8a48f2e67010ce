"""What a session makes of a failure that the runtime tells once only, to whoever asks first."""

from types import SimpleNamespace

import pytest

from ascend_serve.errors import AclDeviceFault, AclResourceError
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

FAULT = AclDeviceFault(
    "acl.rt.synchronize_stream", 507015, "AICORE_EXCEPTION", "an AI core raised an exception"
)
FULL = AclResourceError("acl.mdl.execute_async", 207000, "FEATURE", "no task can be queued")


class Stream:
    """Tells its failure to the first who synchronises, as a stream does that goes on after it."""

    address = 1

    def __init__(self):
        self.failure = None

    def synchronize(self):
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def record(self, event):
        pass

    wait_for = record


class Model:
    refusal = None

    def set_gear(self, inputs, rows):
        pass

    def execute(self, inputs, outputs, stream):
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def session():
    """A session on a board, over fakes, whose context goes on after a failed task."""
    event = SimpleNamespace(synchronize=lambda: None)
    compute = Stream()
    session = Session.__new__(Session)
    session.spec = SimpleNamespace(name="m", gears=Gears((1, 4)))
    session.slots = (Slot(0, {}, {}), Slot(1, {}, {}))
    session._model = Model()
    session._streams = SimpleNamespace(compute=compute, all=lambda: (compute,))
    session._wirings = tuple(
        SimpleNamespace(slot=slot, staged=False, dataset_in=0, dataset_out=0, computed=event, done=event)
        for slot in session.slots
    )
    session._begin_telling(stops_on_failure=False)
    return session


def test_a_refused_batch_does_not_swallow_the_failure_of_the_one_that_runs(session):
    first, second = session.slots
    first.begin()
    session.enqueue(first, 1)
    session._streams.compute.failure = FAULT
    second.begin()
    session._model.refusal = FULL
    with pytest.raises(AclResourceError):
        session.enqueue(second, 1)
    with pytest.raises(AclDeviceFault, match="507015"):
        session.wait(first)
    assert [slot.state for slot in session.slots] == [SlotState.FREE, SlotState.FREE]


def test_the_failure_of_one_batch_is_told_to_those_behind_it(session):
    for slot in session.slots:
        slot.begin()
        session.enqueue(slot, 1)
    session._streams.compute.failure = FAULT
    for slot in session.slots:
        with pytest.raises(AclDeviceFault):
            session.wait(slot)


def test_a_batch_that_ran_is_there_to_be_unpacked(session):
    slot = session.slots[0]
    slot.begin()
    session.enqueue(slot, 4)
    session.wait(slot)
    assert slot.state is SlotState.UNPACKING

"""A lane over a session that is faked: what the tests of the lane have in common."""

import threading
from contextlib import contextmanager
from queue import Queue
from types import SimpleNamespace

import numpy as np

from ascend_serve.errors import AclDeviceFault
from ascend_serve.runtime.lane import Lane
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.timing import Stages, Timing
from ascend_serve.spec.toolchain import Toolchain

LIMIT_S = 60.0
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

    def abandon(self):
        self.close()

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


def started(make_lane, session, **options):
    lane = make_lane(session, **options)
    lane.start(LIMIT_S)
    return lane


@contextmanager
def lanes_of_a_test():
    """Makes lanes of fake sessions; all are let go of and closed at the end."""
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

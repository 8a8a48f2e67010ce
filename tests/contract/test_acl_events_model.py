"""Random programs of events on a few streams, against a model of what is ordered by what."""

from __future__ import annotations

import threading

import acl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.contract

BLOCK = 1
STREAMS, EVENTS = 3, 3

Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["record", "wait", "reset", "hold", "release"]),
        st.integers(0, STREAMS - 1),
        st.integers(0, EVENTS - 1),
    ),
    max_size=25,
)


class Model:
    """What the streams have got past, worked out step by step.

    Events 0 and 1 are ordinary, event 2 has a level. A stream's queue holds ("record", event, recording),
    ("wait", event, recording), ("reset", event, recording) and ("hold",).
    """

    def __init__(self) -> None:
        self.queues: list[list[tuple[str, int, int]]] = [[] for _ in range(STREAMS)]
        self.latest = [0] * EVENTS
        self.done: set[int] = {0}
        self.level = False
        self.recordings = 0
        self.open = [0] * STREAMS  # holds that were released and not passed yet

    def post(self, kind: str, stream: int, event: int) -> None:
        if kind == "record":
            self.recordings += 1
            self.latest[event] = self.recordings
        self.queues[stream].append((kind, event, self.latest[event]))
        self.run()

    def run(self) -> None:
        moved = True
        while moved:
            moved = any(self.step(stream) for stream in range(STREAMS))

    def step(self, stream: int) -> bool:
        if not self.queues[stream]:
            return False
        kind, event, recording = self.queues[stream][0]
        if kind == "hold":
            if not self.open[stream]:
                return False
            self.open[stream] -= 1
        elif kind == "wait":
            if not (self.level if event == EVENTS - 1 else recording in self.done):
                return False
        elif kind == "record":
            self.done.add(recording)
            self.level = self.level or event == EVENTS - 1
        else:
            if self.latest[event] == recording:
                self.latest[event] = 0
            self.level = self.level and event != EVENTS - 1
        self.queues[stream].pop(0)
        return True

    def held(self) -> list[int]:
        """The streams that stand at a hold."""
        return [each for each, queue in enumerate(self.queues) if queue and queue[0][0] == "hold"]


class Programs:
    """The same steps on the card, with one thread that runs every stream's callbacks."""

    def __init__(self) -> None:
        self.me = threading.get_ident()
        self.model = Model()
        self.recorded: set[int] = set()
        self.streams = [acl.rt.create_stream()[0] for _ in range(STREAMS)]
        self.events = [acl.rt.create_event()[0] for _ in range(EVENTS - 1)]
        self.events.append(acl.rt.create_event_with_flag(1)[0])
        assert {acl.rt.subscribe_report(self.me, stream) for stream in self.streams} == {0}

    def do(self, kind: str, stream: int, event: int) -> None:
        queue, handle = self.streams[stream], self.events[event]
        if kind == "hold":
            assert acl.rt.launch_callback(lambda _: None, None, BLOCK, queue) == 0
        elif kind == "record":
            assert acl.rt.record_event(handle, queue) == 0
        elif kind == "reset":
            assert acl.rt.reset_event(handle, queue) == 0
            if event != EVENTS - 1 and event not in self.recorded:
                return
        elif kind == "wait":
            known = event == EVENTS - 1 or event in self.recorded
            assert acl.rt.stream_wait_event(queue, handle) == (0 if known else 107000)
            if not known:
                return
        else:
            self.release()
            return
        if kind == "record":
            self.recorded.add(event)
        self.model.post(kind, stream, event)

    def release(self) -> None:
        held = self.model.held()
        assert acl.rt.process_report(10_000 if held else 1) == (0 if held else 507012)
        for stream in held:
            self.model.open[stream] += 1
        self.model.run()

    def compare(self) -> None:
        model = self.model
        for stream, queue in zip(self.streams, model.queues, strict=True):
            assert acl.rt.stream_query(stream) == (int(bool(queue)), 0)
        for number, event in enumerate(self.events):
            latest = model.latest[number]
            assert acl.rt.query_event_status(event) == (int(latest > 0 and latest in model.done), 0)
            waits = any(item[:2] == ("wait", number) for queue in model.queues for item in queue)
            assert acl.rt.query_event_wait_status(event) == (int(waits), 0)

    def close(self) -> None:
        assert {acl.rt.destroy_stream_force(stream) for stream in self.streams} == {0}
        assert {acl.rt.destroy_event(event) for event in self.events} == {0}
        assert acl.rt.process_report(1) == 107012


@pytest.mark.usefixtures("device")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_streams_and_events_follow_the_model(steps: list[Step]) -> None:
    """Order within a stream, waits for the latest recording or the level, resets in order (facts §6, §7)."""
    programs = Programs()
    try:
        for step in steps:
            programs.do(*step)
            programs.compare()
    finally:
        programs.close()

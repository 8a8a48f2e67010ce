"""A card's engines: who does a task, and when its end is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ascend_emulator.card import engines
from ascend_emulator.card.engines import Engine
from ascend_emulator.card.faults import Hang
from ascend_emulator.card.journal import Label
from ascend_emulator.card.streams import Task
from ascend_emulator.codes import RT_COPY_FAULT, Failure
from ascend_emulator.wire import Op

pytestmark = pytest.mark.unit

PATIENCE_S = 10.0
SOON_NS = 1_000
LATER_NS = 2_000_000


class Port:
    modelled_ns = 0
    behind_ns = 0


class Stream:
    """What an engine asks of a stream, noted; `then` is called as the stream would call what comes next."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.clock_ns = 0
        self.port = Port()
        self.ended = threading.Event()
        self.end_ns = 0
        self.told_ns = 0
        self.failure: Failure | None = None
        self.hung = False
        self.teller = ""
        self._then = then

    def note(self, task: Task, start_ns: int, end_ns: int) -> None:
        pass

    def finish(self, end_ns: int, failure: Failure | None) -> None:
        self.told_ns, self.teller = time.monotonic_ns(), threading.current_thread().name
        self.end_ns = self.clock_ns = end_ns
        self.failure = failure
        self._then()
        self.ended.set()

    def hang(self) -> None:
        self.hung = True
        self.ended.set()


class Bench:
    """An engine, and a thread that may do its small tasks."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.engine = Engine("engine", self.lock)

    def submit(self, stream: Any, task: Task) -> None:
        with self.lock:
            self.engine.submit(stream, task)

    def task(
        self, duration_ns: int = SOON_NS, *, small: bool = True, work: Callable[[], None] = lambda: None
    ) -> Task:
        now_ns = time.monotonic_ns()
        return Task(self.engine, work, lambda: duration_ns, Label(Op.COPY), now_ns, small=small)

    def as_helper(self, act: Callable[[], None]) -> None:
        """Run something in a thread that ends tasks."""
        troubles: list[BaseException] = []

        def run() -> None:
            try:
                engines.can_end_tasks()
                act()
                engines.end_what_is_due()
            except BaseException as error:  # noqa: BLE001 - told to the test below
                troubles.append(error)

        thread = threading.Thread(target=run, name="helper")
        thread.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        if troubles:
            raise troubles[0]


def spin_until(moment_ns: int) -> None:
    while time.monotonic_ns() < moment_ns:
        pass


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(engines, "_sleep_until", spin_until)  # unit tests do not sleep
    return Bench()


def test_a_small_task_is_ended_by_who_found_the_engine_free(bench: Bench) -> None:
    stream = Stream()
    bench.as_helper(lambda: bench.submit(stream, bench.task()))
    assert (stream.teller, stream.failure) == ("helper", None)
    assert stream.told_ns >= stream.end_ns
    assert bench.engine.idle
    assert bench.engine.counters().tasks == 1


def test_its_end_is_not_told_while_the_lock_is_held(bench: Bench) -> None:
    stream = Stream()

    def act() -> None:
        with bench.lock:
            bench.submit(stream, bench.task())
            assert not stream.ended.is_set()
            assert not bench.engine.idle

    bench.as_helper(act)
    assert stream.ended.is_set()


@pytest.mark.parametrize(
    ("duration_ns", "small"),
    [(LATER_NS, True), (SOON_NS, False)],
    ids=["its end is far", "it is not small"],
)
def test_other_tasks_are_ended_by_the_engines_thread(bench: Bench, duration_ns: int, small: bool) -> None:
    stream = Stream()
    bench.as_helper(lambda: bench.submit(stream, bench.task(duration_ns, small=small)))
    assert stream.ended.wait(PATIENCE_S)
    assert stream.teller == "engine"
    assert stream.told_ns >= stream.end_ns


def test_a_thread_that_ends_no_tasks_is_given_none(bench: Bench) -> None:
    stream = Stream()
    bench.submit(stream, bench.task())
    assert stream.ended.wait(PATIENCE_S)
    assert stream.teller == "engine"


def test_tasks_keep_their_turn_behind_a_small_one(bench: Bench) -> None:
    first, second = Stream(), Stream()

    def act() -> None:
        with bench.lock:
            bench.submit(first, bench.task(20_000))
            bench.submit(second, bench.task(20_000))

    bench.as_helper(act)
    assert second.ended.wait(PATIENCE_S)
    assert (first.teller, second.teller) == ("helper", "engine")
    assert second.end_ns >= first.end_ns + 20_000


def test_what_follows_a_small_task_may_be_small_too(bench: Bench) -> None:
    second = Stream()
    first = Stream(lambda: bench.submit(second, bench.task()))
    bench.as_helper(lambda: bench.submit(first, bench.task()))
    assert (first.teller, second.ended.wait(PATIENCE_S)) == ("helper", True)
    assert bench.engine.counters().tasks == 2


def test_a_long_row_of_small_tasks_is_left_to_their_engine(bench: Bench) -> None:
    streams: list[Stream] = []

    def go_on() -> None:
        if len(streams) < 20:
            streams.append(Stream(go_on))
            bench.submit(streams[-1], bench.task())

    bench.as_helper(go_on)
    deadline = time.monotonic() + PATIENCE_S
    while len(streams) < 20 and time.monotonic() < deadline:
        streams[-1].ended.wait(PATIENCE_S)
    assert streams[-1].ended.wait(PATIENCE_S)
    tellers = [stream.teller for stream in streams]
    assert tellers == ["helper"] * 4 + ["engine"] * 16


def test_a_small_task_that_fails_or_never_ends_leaves_the_engine_free(bench: Bench) -> None:
    def fail() -> None:
        raise Failure(RT_COPY_FAULT, "no memory there")

    def hang() -> None:
        raise Hang

    failing, hanging = Stream(), Stream()
    bench.as_helper(lambda: bench.submit(failing, bench.task(work=fail)))
    bench.as_helper(lambda: bench.submit(hanging, bench.task(work=hang)))
    assert failing.failure is not None
    assert failing.failure.code == RT_COPY_FAULT
    assert hanging.hung
    assert bench.engine.idle

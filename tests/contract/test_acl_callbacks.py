"""Callbacks in stream order, the threads that run them, and what is told of a failed task (facts/pyacl.md §7)."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract

H2D, D2H = 1, 2
NO_BLOCK, BLOCK = 0, 1
SIZE = 1 << 12
WAIT_MS = 10_000


class Serving:
    """A thread that runs callbacks until it is told to stop."""

    def __init__(self) -> None:
        self.context, ret = acl.rt.get_context()
        assert ret == 0
        self.running = True
        self.codes: set[int] = set()
        self.started = threading.Event()
        self.thread, ret = acl.util.start_thread(self.loop, None)
        assert ret == 0
        assert self.started.wait(10)

    def loop(self) -> None:
        assert acl.rt.set_context(self.context) == 0
        self.started.set()
        while self.running:
            self.codes.add(acl.rt.process_report(20))

    def stop(self) -> None:
        self.running = False
        assert acl.util.stop_thread(self.thread) == 0


@pytest.fixture(autouse=True)
def _keep_interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)  # start_thread gave it its default action


@pytest.fixture
def serving(device: int) -> Iterator[Serving]:
    thread = Serving()
    yield thread
    thread.stop()


def test_a_callback_runs_in_stream_order_in_the_subscribed_thread(stream: int, serving: Serving) -> None:
    """`fn(user_data)` in `process_report` of the subscribed thread (facts §7, [B] LaunchCallFunc)."""
    seen: list[Any] = []
    block, host = acl.rt.malloc(SIZE, 0)[0], acl.rt.malloc_host(SIZE)[0]

    def note(data: Any) -> None:
        seen.append((data, threading.get_ident(), acl.util.ptr_to_bytes(host, 1)))

    assert acl.rt.subscribe_report(serving.thread, stream) == 0
    for step in range(1, 6):
        assert acl.rt.memset_async(block, SIZE, step, SIZE, stream) == 0
        assert acl.rt.memcpy_async(host, SIZE, block, SIZE, D2H, stream) == 0
        assert acl.rt.launch_callback(note, [step, "x"], BLOCK, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.unsubscribe_report(serving.thread, stream) == 0
    assert seen == [([step, "x"], serving.thread, bytes([step])) for step in range(1, 6)]
    assert [acl.rt.free(block), acl.rt.free_host(host)] == [0, 0]


def test_a_blocking_callback_holds_its_stream_and_another_does_not(stream: int) -> None:
    """Block types 1 and 0 (facts §7; docs `aclrtLaunchCallback`)."""
    me = threading.get_ident()
    seen: list[str] = []
    assert acl.rt.subscribe_report(me, stream) == 0
    assert acl.rt.launch_callback(seen.append, "free", NO_BLOCK, stream) == 0
    assert acl.rt.synchronize_stream_with_timeout(stream, WAIT_MS) == 0
    assert seen == []
    assert acl.rt.launch_callback(seen.append, "held", BLOCK, stream) == 0
    assert acl.rt.synchronize_stream_with_timeout(stream, 50) == 507046
    assert acl.rt.stream_query(stream) == (1, 0)
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen == ["free", "held"]
    assert acl.rt.synchronize_stream_with_timeout(stream, WAIT_MS) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_one_call_runs_what_is_due_then(stream: int) -> None:
    """`ProcessReport` goes through what has arrived ([C] api_impl.cc); a held stream brings no next one."""
    me = threading.get_ident()
    seen: list[int] = []
    assert acl.rt.subscribe_report(me, stream) == 0
    for number in range(5):
        assert acl.rt.launch_callback(seen.append, number, NO_BLOCK, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen == [0, 1, 2, 3, 4]
    for number in (5, 6):
        assert acl.rt.launch_callback(seen.append, number, BLOCK, stream) == 0
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen[5:] == [5]
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen[5:] == [5, 6]
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_process_report_says_why_there_was_nothing(stream: int) -> None:
    """0 and below -1: 100000; not subscribed: 107012; nothing in time: 507012 (facts §7, [C] callback.cpp)."""
    me = threading.get_ident()
    assert acl.rt.process_report(0) == 100000
    assert acl.rt.process_report(-2) == 100000
    assert acl.rt.process_report(1) == 107012
    assert acl.rt.subscribe_report(me, stream) == 0
    began = time.monotonic()
    assert acl.rt.process_report(30) == 507012
    assert time.monotonic() - began >= 0.03
    assert acl.rt.unsubscribe_report(me, stream) == 0
    assert acl.rt.process_report(1) == 107012


def test_a_report_that_comes_too_late_is_kept(stream: int) -> None:
    """A callback is run once, also when a wait for it ran out of time meanwhile (facts §7)."""
    me = threading.get_ident()
    seen: list[int] = []
    assert acl.rt.subscribe_report(me, stream) == 0
    for number in range(50):
        assert acl.rt.launch_callback(seen.append, number, BLOCK, stream) == 0
    deadline = time.monotonic() + 30
    while len(seen) < 50 and time.monotonic() < deadline:
        assert acl.rt.process_report(1) in (0, 507012)
    assert seen == list(range(50))
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_subscriptions_are_one_thread_per_stream(stream: int) -> None:
    """107011 and 107012 of `CbSubscribe` ([C] subscribe.cc); 107015 without a subscription ([C] CallbackLaunch)."""
    me = threading.get_ident()
    second, _ = acl.rt.create_stream()
    assert acl.rt.unsubscribe_report(me, stream) == 107011
    assert acl.rt.launch_callback(print, None, BLOCK, stream) == 107015
    assert acl.rt.subscribe_report(me, stream) == 0
    assert acl.rt.subscribe_report(me, stream) == 107011
    assert acl.rt.subscribe_report(me + 64, stream) == 107011
    assert acl.rt.unsubscribe_report(me + 64, stream) == 107012
    assert acl.rt.subscribe_report(me, second) == 0
    assert acl.rt.launch_callback(print, None, 2, stream) == 100000
    assert [acl.rt.unsubscribe_report(me, each) for each in (stream, second)] == [0, 0]
    assert acl.rt.destroy_stream(second) == 0


def test_a_thread_serves_several_streams_and_one_device(stream: int) -> None:
    """Streams of one device only (docs `aclrtSubscribeReport`; [C] CheckForInsert: 107012)."""
    me = threading.get_ident()
    own, _ = acl.rt.get_context()
    seen: list[str] = []
    other, _ = acl.rt.create_stream()
    assert [acl.rt.subscribe_report(me, each) for each in (stream, other, 0)] == [0, 0, 0]
    for name, each in (("a", stream), ("b", other), ("c", 0)):
        assert acl.rt.launch_callback(seen.append, name, BLOCK, each) == 0
    while len(seen) < 3:
        assert acl.rt.process_report(WAIT_MS) == 0
    assert sorted(seen) == ["a", "b", "c"]
    count, _ = acl.rt.get_device_count()
    if count > 1:
        assert acl.rt.set_device(1) == 0
        far, _ = acl.rt.create_stream()
        assert acl.rt.subscribe_report(me, far) == 107012
        assert acl.rt.launch_callback(print, None, BLOCK, stream) == 107003
        assert [acl.rt.destroy_stream(far), acl.rt.reset_device(1), acl.rt.set_context(own)] == [0, 0, 0]
    assert [acl.rt.unsubscribe_report(me, each) for each in (stream, other, 0)] == [0, 0, 0]
    assert acl.rt.destroy_stream(other) == 0


def test_unsubscribing_gives_up_what_was_not_run(stream: int) -> None:
    """Nothing waits for ever for a thread that is not there any more (emulator)."""
    me = threading.get_ident()
    seen: list[int] = []
    assert acl.rt.subscribe_report(me, stream) == 0
    for number in range(3):
        assert acl.rt.launch_callback(seen.append, number, BLOCK, stream) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0
    assert acl.rt.synchronize_stream_with_timeout(stream, WAIT_MS) == 0
    assert seen == []
    assert acl.rt.subscribe_report(me, stream) == 0
    assert acl.rt.launch_callback(seen.append, 7, BLOCK, stream) == 0
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen == [7]
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_a_waiting_thread_learns_that_it_serves_nothing_any_more(stream: int) -> None:
    """A wait without end ends with 107012 when the last stream is unsubscribed (emulator)."""
    codes: list[int] = []
    ready, called = threading.Event(), threading.Event()

    def serve() -> None:
        assert ready.wait(10)
        codes.extend((acl.rt.process_report(-1), acl.rt.process_report(-1)))

    thread = threading.Thread(target=serve)
    thread.start()
    assert thread.ident is not None
    assert acl.rt.subscribe_report(thread.ident, stream) == 0
    ready.set()
    assert acl.rt.launch_callback(lambda _: called.set(), None, BLOCK, stream) == 0
    assert called.wait(10)
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.unsubscribe_report(thread.ident, stream) == 0
    thread.join(10)
    assert codes == [0, 107012]


def test_what_a_callback_raises_comes_out_of_process_report(stream: int) -> None:
    """The binding leaves it set and returns a code, which CPython makes a SystemError of ([B] LaunchCallFunc)."""
    me = threading.get_ident()
    seen: list[int] = []

    def fail(data: object) -> None:
        raise KeyError(data)

    assert acl.rt.subscribe_report(me, stream) == 0
    assert acl.rt.launch_callback(fail, "lost", BLOCK, stream) == 0
    with pytest.raises(SystemError, match="returned a result with an exception set") as caught:
        acl.rt.process_report(WAIT_MS)
    assert isinstance(caught.value.__cause__, KeyError)
    assert acl.rt.launch_callback(seen.append, 1, BLOCK, stream) == 0
    assert acl.rt.process_report(WAIT_MS) == 0
    assert seen == [1]
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_process_report_lets_other_threads_run(stream: int) -> None:
    """The GIL is released while it waits (facts §17)."""
    me = threading.get_ident()
    assert acl.rt.subscribe_report(me, stream) == 0
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    assert acl.rt.process_report(200) == 507012
    ended = time.monotonic()
    stop.set()
    thread.join()
    assert len([moment for moment in ticks if began < moment < ended]) >= 5
    assert acl.rt.unsubscribe_report(me, stream) == 0


def test_a_subscribed_stream_can_be_destroyed(device: int, serving: Serving) -> None:
    """Its subscription ends with it ([C] the stream's destructor deletes it)."""
    for _ in range(3):
        stream, ret = acl.rt.create_stream()
        assert ret == 0
        assert acl.rt.subscribe_report(serving.thread, stream) == 0
        assert acl.rt.launch_callback(lambda _: None, None, BLOCK, stream) == 0
        assert acl.rt.synchronize_stream(stream) == 0
        assert acl.rt.destroy_stream(stream) == 0
    assert 507012 in serving.codes or 107012 in serving.codes or 0 in serving.codes


@pytest.mark.usefixtures("emulator")
def test_a_client_killed_with_callbacks_pending_harms_nobody(
    run_python: Callable[..., str], device: int, stream: int
) -> None:
    """A killed client frees what it held, a stream that waits for its callback included (emulator)."""
    before, _ = acl.rt.get_stream_available_num()
    program = """
import acl, os, signal, threading
acl.rt.set_device(0)
stream, _ = acl.rt.create_stream()
assert acl.rt.subscribe_report(threading.get_ident(), stream) == 0
for _ in range(3):
    assert acl.rt.launch_callback(print, None, 1, stream) == 0
assert acl.rt.memset_async(acl.rt.malloc(64, 0)[0], 64, 1, 64, stream) == 0
print(acl.rt.get_stream_available_num()[0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) < before
    deadline = time.monotonic() + 60
    while acl.rt.get_stream_available_num()[0] != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert acl.rt.get_stream_available_num() == (before, 0)
    assert acl.rt.synchronize_stream(stream) == 0


@pytest.mark.usefixtures("emulator")
def test_leaving_the_device_gives_up_callbacks_that_nobody_runs(run_python: Callable[..., str]) -> None:
    """`reset_device` waits for work, but not for what can never happen (emulator)."""
    program = """
import acl, threading
acl.rt.set_device(0)
stream, _ = acl.rt.create_stream()
print(acl.rt.subscribe_report(threading.get_ident(), stream), acl.rt.launch_callback(print, None, 1, stream))
print(acl.rt.reset_device(0), acl.rt.process_report(5))
"""
    assert run_python(program).splitlines() == ["0 0", "0 107012"]


def test_a_started_thread_is_not_a_thread_of_threading(device: int) -> None:
    """A raw thread: no context, not listed, its id that of `threading.get_ident()` (facts §7, [B] thread.cpp)."""
    found: list[Any] = []

    def look(data: Any) -> None:
        found.append(data)
        found.append(sys._current_frames().keys() - {thread.ident for thread in threading.enumerate()})
        found.append(acl.rt.get_context())
        found.append(threading.get_ident())

    tid, ret = acl.util.start_thread(look, ["a", "list"])
    assert ret == 0
    assert acl.util.stop_thread(tid) == 0
    assert found[0] == ["a", "list"]
    assert tid in found[1]
    assert found[2:] == [(0, 107002), tid]


def test_none_means_no_argument() -> None:
    """`fn()` when the argument is None, else `fn(args)` ([B] thread.cpp)."""
    seen: list[Any] = []
    for target, argument in ((lambda: seen.append("none"), None), (seen.append, ()), (seen.append, 0)):
        tid, ret = acl.util.start_thread(target, argument)
        assert ret == 0
        assert acl.util.stop_thread(tid) == 0
    assert seen == ["none", (), 0]


def test_start_thread_checks_its_arguments() -> None:
    """Two arguments, the first callable, else TypeError ([B] thread.cpp)."""
    with pytest.raises(TypeError):
        acl.util.start_thread(print)
    with pytest.raises(TypeError, match="parameter must be callable"):
        acl.util.start_thread(7, None)
    with pytest.raises(TypeError, match="parameter must be callable"):
        acl.rt.launch_callback(7, None, 0, 0)
    with pytest.raises(TypeError):
        acl.util.stop_thread("1")


def test_what_a_thread_raises_comes_out_of_stop_thread(capfd: pytest.CaptureFixture[str]) -> None:
    """RuntimeError with type and text; the traceback is printed in the thread ([B] thread.cpp)."""

    def fail(data: object) -> None:
        raise ValueError(f"no {data}")

    tid, ret = acl.util.start_thread(fail, "good")
    assert ret == 0
    with pytest.raises(RuntimeError, match=r"^exception=ValueError,msg=thread call failed;$"):
        acl.util.stop_thread(tid)
    printed = capfd.readouterr().err
    assert "Traceback" in printed
    assert "ValueError: no good" in printed


@pytest.mark.usefixtures("emulator")
def test_a_thread_that_is_not_there_is_not_joined() -> None:
    """Error 3 (ESRCH); the C library may crash instead (emulator)."""
    tid, _ = acl.util.start_thread(print, "")
    assert acl.util.stop_thread(tid) == 0
    assert acl.util.stop_thread(tid) == 3
    assert acl.util.stop_thread(12345) == 3


def test_a_thread_cannot_join_itself() -> None:
    """Error 35 (EDEADLK) of `pthread_join`."""
    codes: list[int] = []
    ready = threading.Event()

    def join_itself() -> None:
        assert ready.wait(10)
        codes.append(acl.util.stop_thread(threading.get_ident()))

    tid, _ = acl.util.start_thread(join_itself, None)
    ready.set()
    assert acl.util.stop_thread(tid) in (0, 3)
    assert codes[0] in (35, 3)


def test_stop_thread_lets_other_threads_run() -> None:
    """The GIL is released while it joins (facts §17)."""
    go = threading.Event()
    tid, _ = acl.util.start_thread(lambda: go.wait(10), None)
    threading.Timer(0.05, go.set).start()
    assert acl.util.stop_thread(tid) == 0


@pytest.mark.parametrize("install", [False, True])
def test_interrupts_end_the_process_after_start_thread(install: bool) -> None:
    """`signal(SIGINT, NULL)` until Python code installs a handler again (facts §7, [B] thread.cpp)."""
    program = f"""
import acl, os, signal, sys, time
tid, _ = acl.util.start_thread(lambda: None, None)
acl.util.stop_thread(tid)
if {install}:
    signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, env=os.environ)
    assert done.returncode == (7 if install else -signal.SIGINT)


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_a_failed_task_is_described(stream: int) -> None:
    """`set_exception_info_callback` and the accessors ([B] rt_synchronize.cpp, [C] callback.cpp)."""
    seen: list[tuple[int, ...]] = []
    infos: list[int] = []

    def note(info: int) -> None:
        infos.append(info)
        seen.append(describe(info))

    def describe(info: int) -> tuple[int, ...]:
        return (
            acl.rt.get_task_id_from_exception_info(info),
            acl.rt.get_stream_id_from_exception_info(info),
            acl.rt.get_thread_id_from_exception_info(info),
            acl.rt.get_device_id_from_exception_info(info),
            acl.rt.get_error_code_from_exception_info(info),
        )

    freed, _ = acl.rt.malloc(64, 0)
    host, _ = acl.rt.malloc_host(64)
    assert acl.rt.free(freed) == 0
    assert acl.rt.set_exception_info_callback(note) == 0
    number, _ = acl.rt.stream_get_id(stream)
    assert acl.rt.synchronize_stream(stream) == 0
    assert seen == []
    assert acl.rt.memcpy_async(freed, 64, host, 64, H2D, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert seen == [(1, number, threading.get_native_id(), 0, 507013)]
    assert describe(infos[0]) == describe(0) == (0xFFFF_FFFF,) * 5
    assert acl.rt.synchronize_stream(stream) == 0
    assert len(seen) == 1
    assert acl.rt.set_exception_info_callback(None) == 0
    assert acl.rt.memcpy_async(freed, 64, host, 64, H2D, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert len(seen) == 1
    with pytest.raises(TypeError, match=r"acl\.rt\.set_exception_info_callback args parse failed"):
        acl.rt.set_exception_info_callback(7)
    assert acl.rt.set_exception_info_callback() == 0
    assert acl.rt.free_host(host) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_an_exception_callback_that_raises_is_not_called_again(
    stream: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """[B] InfoCallback drops the function when its call fails; the emulator also shows why."""
    calls: list[int] = []

    def fail(info: int) -> None:
        calls.append(info)
        raise ValueError("not today")

    freed, _ = acl.rt.malloc(64, 0)
    host, _ = acl.rt.malloc_host(64)
    assert acl.rt.free(freed) == 0
    assert acl.rt.set_exception_info_callback(fail) == 0
    for _ in range(2):
        assert acl.rt.memcpy_async(freed, 64, host, 64, H2D, stream) == 0
        assert acl.rt.synchronize_stream(stream) == 507013
    assert len(calls) == 1
    assert "ValueError: not today" in capfd.readouterr().err
    assert acl.rt.free_host(host) == 0

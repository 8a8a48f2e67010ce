"""One builder at a time: by the kernel in a folder, by a lease elsewhere."""

import json
import runpy
import signal
import threading
import time
from pathlib import Path

import pytest

from ascend_serve.artifacts import locks
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.locks import LEASE_S, FileLock, Lease, held, held_if_free
from ascend_serve.artifacts.store import Store

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY = t["KEY"]


class Objects(dict):
    """An object store in a dict."""

    read = dict.get
    write = dict.__setitem__

    def create(self, name, data):
        return self.setdefault(name, data) is data

    def remove(self, name):
        self.pop(name, None)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def objects():
    return Objects()


@pytest.fixture
def clock():
    return Clock()


def test_a_file_lock_is_held_once_and_leaves_no_file(tmp_path):
    path = tmp_path / "locks/a.lock"
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert not path.exists()
    assert second.try_acquire()
    first.release()  # releasing twice gives nothing back that is another's
    assert not FileLock(path).try_acquire()
    second.release()


def test_a_file_lock_that_lost_its_name_is_not_taken_for_one(tmp_path, monkeypatch):
    """Between open and lock, the last holder released, which removes the name."""
    path = tmp_path / "a.lock"
    real = locks.fcntl.flock

    def flock(descriptor, how):
        real(descriptor, how)
        path.unlink()

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    assert not FileLock(path).try_acquire()


def test_a_waiter_is_told_once_and_comes_next(tmp_path, monkeypatch):
    first, told, pauses = FileLock(tmp_path / "a.lock"), [], []
    assert first.try_acquire()

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            first.release()

    monkeypatch.setattr(locks, "pause", pause)
    with held(FileLock(tmp_path / "a.lock"), lambda: told.append("waiting")):
        assert not FileLock(tmp_path / "a.lock").try_acquire()
    assert (told, len(pauses)) == (["waiting"], 3)


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path):
    code = (
        "from ascend_serve.artifacts.store import Store\n"
        "with Store(sys.argv[1]).building(sys.argv[2]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = t["run_python"](code, tmp_path, KEY)
    assert holder.stdout.readline() == "held\n"
    lock = Store(tmp_path)._backing.lock(KEY)
    assert not lock.try_acquire()
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=60)
    assert lock.try_acquire()
    lock.release()


def test_an_exception_in_a_build_gives_the_lock_back(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt), store.building(KEY):
        raise KeyboardInterrupt
    with store.building(KEY):
        pass


def test_stores_elsewhere_lock_by_lease(tmp_path):
    store = Store(f"elsewhere://{tmp_path}/store", Cache(tmp_path / "cache", 1))
    with store.building(KEY):
        assert (tmp_path / f"store/building/{KEY}.json").exists()
        assert not store._backing.lock(KEY).try_acquire()
    assert not (tmp_path / f"store/building/{KEY}.json").exists()


def test_a_lease_is_held_once_and_given_back(objects, clock):
    first, second = Lease(objects, "a", clock=clock), Lease(objects, "a", clock=clock)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert objects == {}
    assert second.try_acquire()
    first.release()
    assert "a" in objects
    second.release()


def test_a_lease_that_is_renewed_is_never_broken(objects, clock):
    holder, waiter = Lease(objects, "a", clock=clock), Lease(objects, "a", clock=clock)
    assert holder.try_acquire()
    for _ in range(10):
        clock.now += LEASE_S * 0.9
        assert holder.renew()
        assert not waiter.try_acquire()
    holder.release()
    assert not holder.renew()
    assert objects == {}


def test_a_lease_that_is_not_renewed_is_broken_in_time_and_not_before(objects, clock, caplog):
    holder, waiter = Lease(objects, "a", clock=clock), Lease(objects, "a", clock=clock)
    assert holder.try_acquire()
    assert not waiter.try_acquire()
    clock.now += LEASE_S
    assert not waiter.try_acquire()
    clock.now += 0.1
    assert waiter.try_acquire()
    assert "taken over" in caplog.text
    assert not holder.renew()
    holder.release()
    assert "a" in objects  # it is the waiter's now
    waiter.release()
    assert objects == {}


def test_a_lease_from_long_ago_is_broken_at_sight(objects, clock):
    objects["a"] = json.dumps({"owner": "dead", "renewed": time.time() - 7200}).encode()
    lease = Lease(objects, "a", clock=clock)
    assert lease.try_acquire()
    lease.release()


def test_a_lease_that_cannot_be_read_is_broken_too(objects, clock):
    objects["a"] = b'{"owner": "de'
    lease = Lease(objects, "a", clock=clock)
    assert not lease.try_acquire()
    clock.now += LEASE_S + 1
    assert lease.try_acquire()
    lease.release()


def test_a_lease_renews_itself(objects, monkeypatch):
    monkeypatch.setattr(locks, "_RENEW_S", 0.001)
    lease = Lease(objects, "a")
    assert lease.try_acquire()
    first, deadline = objects["a"], time.monotonic() + 20
    while objects["a"] == first and time.monotonic() < deadline:
        pass
    assert objects["a"] != first
    lease.release()
    assert objects == {}


def hold(lock):
    with held(lock):
        pass


def hold_if_free(lock):
    with held_if_free(lock) as is_held:
        assert is_held


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("use", [hold, hold_if_free])
def test_an_interrupt_at_any_step_leaves_no_file_lock(tmp_path, use):
    path, step = tmp_path / "a.lock", 1
    while t["interrupted_at"]([locks], step, lambda: use(FileLock(path))):
        next_one = FileLock(path)
        assert next_one.try_acquire(), f"still held after an interrupt at step {step}"
        next_one.release()
        step += 1
    assert step > 50


@pytest.mark.parametrize("use", [hold, hold_if_free])
def test_an_interrupt_at_any_step_leaves_no_lease_that_is_renewed(objects, clock, use, monkeypatch):
    monkeypatch.setattr(locks, "_RENEW_S", 0.001)
    step = 1
    while t["interrupted_at"]([locks], step, lambda: use(Lease(objects, "a", clock=clock))):
        renewing = [thread for thread in threading.enumerate() if thread.name == "lease a"]
        if "a" in objects:  # it was interrupted while it was given back: nobody renews it
            del objects["a"]
        for thread in renewing:
            thread.join(20)
            assert not thread.is_alive(), f"renewed after an interrupt at step {step}"
        step += 1
    assert step > 50


def test_a_lease_that_nobody_refers_to_is_not_renewed(objects, monkeypatch):
    monkeypatch.setattr(locks, "_RENEW_S", 0.001)
    assert Lease(objects, "forgotten").try_acquire()
    for thread in threading.enumerate():
        if thread.name == "lease forgotten":
            thread.join(20)
            assert not thread.is_alive()
    assert "forgotten" in objects  # until it is broken


def test_a_lock_that_was_never_taken_gives_nothing_back(objects, clock, tmp_path):
    for holder, other in (
        (FileLock(tmp_path / "a"), FileLock(tmp_path / "a")),
        (Lease(objects, "a", clock=clock), Lease(objects, "a", clock=clock)),
    ):
        with held(holder):
            with held_if_free(other) as is_held:
                assert not is_held
            other.release()
            with held_if_free(other) as is_held:
                assert not is_held
        with held_if_free(other) as is_held:
            assert is_held

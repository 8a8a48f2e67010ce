"""A node's copies: whole, bounded, and shared by threads and processes."""

import hashlib
import os
import runpy
import threading
import time
from pathlib import Path

import pytest

from ascend_serve.artifacts import locks
from ascend_serve.artifacts.cache import GRACE_S, Cache
from ascend_serve.artifacts.files import is_whole
from ascend_serve.artifacts.manifest import ArtifactFile, set_digest
from ascend_serve.artifacts.store import Store

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, manifest_of, model_files = t["KEY"], t["manifest_of"], t["model_files"]


@pytest.fixture
def yielding(monkeypatch):
    """Threads that wait for a lock let each other run; nothing here depends on how long."""
    monkeypatch.setattr(locks, "pause", lambda _: threading.Event().wait(0.001))


def content_of(name, size):
    return (name.encode() * size)[:size]


def set_of(*names, size=100):
    return [ArtifactFile(name, hashlib.sha256(content_of(name, size)).hexdigest(), size) for name in names]


class Origin:
    """Where files are fetched from; counts, and fails when told to."""

    def __init__(self):
        self.fetched = []
        self.fail_at = None

    def __call__(self, file, to):
        if file.name == self.fail_at:
            raise OSError(28, "No space left on device")
        self.fetched.append(file.name)
        to.write_bytes(content_of(file.name, file.size_bytes))


@pytest.fixture
def origin():
    return Origin()


def unused_for(cache, files, seconds):
    past = time.time() - seconds
    os.utime(cache.folder / "sets" / set_digest(files), (past, past))


def held_bytes(cache):
    return sum(path.stat().st_size for path in (cache.folder / "sets").rglob("*") if path.is_file())


def test_a_set_is_fetched_once(tmp_path, origin):
    cache, files = Cache(tmp_path, 1000), set_of("net.om", "weight/w1")
    folder = cache.fetch(files, origin)
    assert cache.fetch(files, origin) == folder
    assert origin.fetched == ["net.om", "weight/w1"]
    assert all(is_whole(folder / file.name, file) for file in files)
    assert sorted(t["files_under"](tmp_path)) == [
        f"sets/{folder.name}/net.om",
        f"sets/{folder.name}/weight/w1",
    ]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"?" * 100), Path.unlink])
def test_a_damaged_copy_is_dropped_and_fetched_again(tmp_path, origin, damage):
    cache, files = Cache(tmp_path, 1000), set_of("net.om", "weight/w1")
    damage(cache.fetch(files, origin) / "weight/w1")
    folder = cache.fetch(files, origin)
    assert all(is_whole(folder / file.name, file) for file in files)
    assert len(origin.fetched) == 4
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_fetch_that_ended_early_goes_on_where_it_was(tmp_path, origin):
    cache, files = Cache(tmp_path, 1000), set_of("a", "b", "c")
    origin.fail_at = "c"
    with pytest.raises(OSError, match="No space"):
        cache.fetch(files, origin)
    origin.fail_at = None
    folder = cache.fetch(files, origin)
    assert origin.fetched == ["a", "b", "c"]
    assert t["files_under"](folder) == ["a", "b", "c"]


def test_a_half_file_of_a_killed_fetch_is_fetched_again(tmp_path, origin):
    cache, files = Cache(tmp_path, 1000), set_of("a")
    half = tmp_path / "partial" / set_digest(files) / "a"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"a" * 99)
    assert is_whole(cache.fetch(files, origin) / "a", files[0])


def test_the_least_recently_used_goes_first(tmp_path, origin):
    cache, sets = Cache(tmp_path, 300), [set_of(name) for name in "abcd"]
    for age, files in zip((3, 2, 1), sets, strict=False):
        cache.fetch(files, origin)
        unused_for(cache, files, GRACE_S * 2 + age)
    cache.fetch(sets[0], origin)  # used now
    cache.fetch(sets[3], origin)
    assert held_bytes(cache) == 300
    for files in (sets[0], sets[2], sets[3]):
        cache.fetch(files, origin)
    assert origin.fetched == ["a", "b", "c", "d"]
    cache.fetch(sets[1], origin)
    assert origin.fetched[-1] == "b"


def test_what_was_asked_for_just_now_stays_even_over_the_limit(tmp_path, origin):
    cache = Cache(tmp_path, 100)
    folders = [cache.fetch(set_of(name), origin) for name in "abc"]
    assert all(folder.is_dir() for folder in folders)


def test_a_set_larger_than_the_limit_is_usable_and_takes_the_place_of_all_else(tmp_path, origin):
    cache, small, large = Cache(tmp_path, 150), set_of("a"), set_of("b", size=1000)
    cache.fetch(small, origin)
    unused_for(cache, small, GRACE_S * 2)
    folder = cache.fetch(large, origin)
    assert is_whole(folder / "b", large[0])
    assert held_bytes(cache) == 1000


def test_room_promised_to_another_fetch_counts(tmp_path, origin):
    """While `b` is on its way, `c` must not take the room that `b` was promised, but that of `a`."""
    cache, a, c = Cache(tmp_path, 200), set_of("a"), set_of("c")
    # One fetch inside another needs a lock of its own, and sets share them by the start of their digest.
    b = next(files for n in range(99) if set_digest(files := set_of(f"b{n}"))[:2] != set_digest(c)[:2])
    cache.fetch(a, origin)
    unused_for(cache, a, GRACE_S * 2)

    def slow(file, to):
        assert (tmp_path / "sets" / set_digest(a)).exists()
        cache.fetch(c, origin)
        origin(file, to)

    cache.fetch(b, slow)
    assert not (tmp_path / "sets" / set_digest(a)).exists()
    assert held_bytes(cache) == 200


def test_an_empty_promise_of_a_full_disk_does_not_stop_others(tmp_path, origin):
    promise = tmp_path / "partial" / f"{set_digest(set_of('b'))}.bytes"
    promise.parent.mkdir()
    promise.touch()
    files = set_of("a")
    assert is_whole(Cache(tmp_path, 1000).fetch(files, origin) / "a", files[0])


def test_leftovers_of_killed_fetches_go(tmp_path, origin):
    cache = Cache(tmp_path, 1000)
    partial = tmp_path / "partial"
    (partial / "dead").mkdir(parents=True)
    (partial / "dead/a.part").write_bytes(b"x")
    (partial / "dead.bytes").write_text("900")
    (partial / "evicted-1").mkdir()
    (partial / "young").mkdir()
    (partial / "young.bytes").write_text("5")
    for path in (partial / "dead", partial / "dead.bytes"):
        os.utime(path, (1, 1))
    cache.fetch(set_of("a"), origin)
    assert sorted(path.name for path in partial.iterdir()) == ["young", "young.bytes"]


def test_threads_that_want_the_same_set_fetch_it_once(tmp_path, origin, yielding):
    cache, files, got = Cache(tmp_path, 1000), set_of("a", "b"), []
    barrier = threading.Barrier(6)

    def fetch():
        barrier.wait()
        got.append(cache.fetch(files, origin))

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    assert len(set(got)) == 1
    assert origin.fetched == ["a", "b"]


def test_threads_that_want_many_sets_keep_the_bound(tmp_path, origin, yielding, monkeypatch):
    """Without grace, whatever they do, no more than the limit and what is on its way is ever there."""
    monkeypatch.setattr("ascend_serve.artifacts.cache.GRACE_S", -1.0)
    cache, sets, faults = Cache(tmp_path, 500), [set_of(f"s{number}") for number in range(12)], []

    def fetch(start):
        for step in range(24):
            files = sets[(start + step) % len(sets)]
            try:
                cache.fetch(files, origin)
            except OSError as error:
                faults.append(error)

    threads = [threading.Thread(target=fetch, args=(start,)) for start in (0, 4, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert held_bytes(cache) <= 500


def test_processes_that_fetch_at_once_all_get_whole_files(tmp_path):
    files = model_files(tmp_path / "made", b"m" * 100_000)
    url = f"elsewhere://{tmp_path}/store"
    Store(url, Cache(tmp_path / "cache", 1 << 20)).publish(files, manifest_of(files))
    code = (
        "from pathlib import Path\n"
        "from ascend_serve.artifacts.cache import Cache\n"
        "from ascend_serve.artifacts.files import sha256\n"
        "from ascend_serve.artifacts.store import Store\n"
        "artifact = Store(sys.argv[1], Cache(Path(sys.argv[2]), 1 << 20)).get(sys.argv[3])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(sha256(artifact.fetch()) == artifact.manifest.om.sha256)\n"
    )
    readers = [t["run_python"](code, url, tmp_path / "node", KEY) for _ in range(3)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        reader.stdin.write("go\n")
        reader.stdin.flush()
    assert [reader.communicate(timeout=60)[0] for reader in readers] == ["True\n"] * 3


def test_a_damaged_original_stays_out_of_the_cache(tmp_path):
    files = model_files(tmp_path / "made")
    artifact = Store(f"elsewhere://{tmp_path}/store", Cache(tmp_path / "cache", 1 << 20)).publish(
        files, manifest_of(files)
    )
    original = Path(artifact.location.removeprefix("elsewhere://"))
    original.write_bytes(b"MODEL")
    with pytest.raises(Exception, match="damaged since"):
        artifact.fetch()
    original.write_bytes(b"model")
    assert artifact.fetch().read_bytes() == b"model"

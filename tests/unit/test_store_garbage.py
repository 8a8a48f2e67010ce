"""What a store no longer needs, and what it never gives away."""

import errno
import os
import runpy
import time
from pathlib import Path

import fsspec
import pytest

from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Failure, Store

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, OTHER_KEY, manifest_of, model_files = t["KEY"], t["OTHER_KEY"], t["manifest_of"], t["model_files"]
DAY_S = 86_400


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def put(store, tmp_path, key=KEY, content=b"model", days=0, **changes):
    files = model_files(tmp_path / key[:6], content)
    artifact = store.publish(files, manifest_of(files, key, **changes))
    t["age"](tmp_path / "store" / key[:2] / key, days * DAY_S)
    return artifact


def what(garbage):
    return sorted((thing.kind, thing.key) for thing in garbage)


def test_old_artifacts_go_and_young_ones_stay(store, tmp_path):
    put(store, tmp_path, days=40)
    young = put(store, tmp_path, OTHER_KEY, days=20)
    shown = store.collect_garbage(older_than_s=30 * DAY_S, dry_run=True)
    assert what(shown) == [("artifact", KEY)]
    assert store.get(KEY) is not None
    assert store.collect_garbage(older_than_s=30 * DAY_S) == shown
    assert store.get(KEY) is None
    assert young.fetch().is_file()
    assert not (tmp_path / "store" / "ab" / KEY).exists()


def test_in_a_folder_the_age_counts_from_the_last_use(store, tmp_path):
    artifact = put(store, tmp_path, days=40)
    artifact.fetch()
    assert store.collect_garbage(older_than_s=30 * DAY_S) == []


def test_a_use_that_may_not_be_noted_is_a_use_all_the_same(store, tmp_path, monkeypatch):
    artifact = put(store, tmp_path)

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert artifact.fetch().read_bytes() == b"model"


def test_elsewhere_it_counts_from_publication(tmp_path):
    store = Store(f"elsewhere://{tmp_path}/store", Cache(tmp_path / "cache", 1 << 20))
    artifact = put(store, tmp_path, days=40)
    artifact.fetch()
    assert what(store.collect_garbage(older_than_s=30 * DAY_S)) == [("artifact", KEY)]
    assert t["files_under"](tmp_path / "store") == []


def test_what_is_to_be_kept_stays(store, tmp_path):
    put(store, tmp_path, days=40)
    assert store.collect_garbage(older_than_s=0, max_bytes=0, keep={KEY}) == []


def test_the_oldest_go_until_the_rest_fits(store, tmp_path):
    for number, key in enumerate((KEY, OTHER_KEY, "ef" + "2" * 62)):
        put(store, tmp_path, key, content=b"x" * 10_000, days=9 - number)
    size = max(garbage.size_bytes for garbage in store.collect_garbage(older_than_s=0, dry_run=True))
    assert what(store.collect_garbage(older_than_s=99 * DAY_S, max_bytes=2 * size)) == [("artifact", KEY)]
    assert store.collect_garbage(older_than_s=99 * DAY_S, max_bytes=2 * size) == []


def test_what_is_being_built_stays(store, tmp_path):
    put(store, tmp_path, days=40)
    with store.building(KEY):
        assert store.collect_garbage(older_than_s=0) == []
    assert what(store.collect_garbage(older_than_s=0)) == [("artifact", KEY)]


def test_files_that_no_manifest_names_go_after_a_day(store, tmp_path):
    artifact = put(store, tmp_path)
    folder = tmp_path / "store/ab" / KEY
    for name in ("0123456789abcdef/net.om", "0123456789abcdef/weight/w1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"orphan")
    assert store.collect_garbage(older_than_s=30 * DAY_S) == []
    t["age"](folder, 2 * DAY_S)
    found = store.collect_garbage(older_than_s=30 * DAY_S)
    assert [(thing.kind, thing.what, thing.size_bytes) for thing in found] == [
        ("orphan", f"ab/{KEY}/0123456789abcdef", 12)
    ]
    assert artifact.fetch().is_file()


def test_half_written_files_and_forgotten_locks_go_after_a_day(store, tmp_path):
    root = tmp_path / "store"
    for name in ("partial/x.part", f"building/{KEY}.lock"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"?")
    assert store.collect_garbage(older_than_s=0) == []
    t["age"](root, 2 * DAY_S)
    assert what(store.collect_garbage(older_than_s=0)) == [("lock", KEY), ("partial", "")]
    assert t["files_under"](root) == []


def test_old_failures_go(store, tmp_path):
    (tmp_path / "log").write_text("no")
    store.keep_failure(
        KEY, tmp_path / "log", lambda path: Failure("no", None, None, None, None, None, path, "now", {})
    )
    assert store.collect_garbage(older_than_s=DAY_S) == []
    t["age"](tmp_path / "store", 2 * DAY_S)
    assert what(store.collect_garbage(older_than_s=DAY_S)) == [("failure", KEY)]
    assert store.failure(KEY) is None


def test_a_bank_stays_as_long_as_an_artifact_was_built_with_it(store, tmp_path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/a").write_text("1")
    store.keep_bank("bank1", tmp_path / "tuned")
    put(store, tmp_path, details={"bank": "bank1"})
    t["age"](tmp_path / "store/banks", 40 * DAY_S)
    assert store.collect_garbage(older_than_s=30 * DAY_S) == []
    store.remove(KEY)
    assert what(store.collect_garbage(older_than_s=30 * DAY_S)) == [("bank", "bank1")]
    assert store.bank("bank1") is None


def test_the_files_of_a_replaced_bank_go(store, tmp_path):
    (tmp_path / "tuned").mkdir()
    for content in "12":
        (tmp_path / "tuned/a").write_text(content)
        bank = store.keep_bank("bank1", tmp_path / "tuned")
    t["age"](tmp_path / "store/banks", 2 * DAY_S)
    assert what(store.collect_garbage(older_than_s=30 * DAY_S)) == [("orphan", "bank1")]
    assert (bank.fetch() / "a").read_text() == "2"


def test_what_an_older_version_left_goes_by_age_and_what_is_foreign_stays(store, tmp_path, caplog):
    old = tmp_path / "store/ab" / KEY
    old.mkdir(parents=True)
    (old / "manifest.json").write_text('{"schema": 1}')
    (old / "model.om").write_bytes(b"old")
    foreign = tmp_path / "store/README"
    foreign.write_text("ours")
    assert store.collect_garbage(older_than_s=DAY_S) == []
    assert "schema 1" in caplog.text
    t["age"](tmp_path / "store", 2 * DAY_S)
    assert what(store.collect_garbage(older_than_s=DAY_S)) == [("artifact", KEY)]
    assert t["files_under"](tmp_path / "store") == ["README"]


def test_a_time_in_the_future_is_young(store, tmp_path):
    put(store, tmp_path)
    ahead = time.time() + 9 * DAY_S
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (ahead, ahead))
    assert store.collect_garbage(older_than_s=0) == []


@pytest.fixture(params=[errno.ENOTEMPTY, errno.EISDIR])
def racing(request, tmp_path, monkeypatch):
    """A filesystem that has folders, in one of which a publisher writes whenever it is removed; two old artifacts."""
    store = Store(f"elsewhere://{tmp_path}/store", Cache(tmp_path / "cache", 1 << 20))
    for key in (KEY, OTHER_KEY):
        put(store, tmp_path, key, days=40)
    elsewhere = fsspec.get_filesystem_class("elsewhere")
    real = elsewhere.rm

    def rm(self, path, **options):
        if path.endswith(f"/ab/{KEY}"):
            raise OSError(request.param, os.strerror(request.param), path)
        real(self, path, **options)

    monkeypatch.setattr(elsewhere, "rm", rm)
    return store


def test_what_cannot_be_removed_is_told_and_does_not_hold_up_the_rest(racing):
    told = []
    removed = racing.collect_garbage(
        older_than_s=30 * DAY_S, refused=lambda thing, error: told.append((thing.key, str(error)))
    )
    assert what(removed) == [("artifact", OTHER_KEY)]
    ((key, error),) = told
    assert key == KEY
    assert f"{racing.url}/ab/{KEY} cannot be removed while somebody writes to it: try again" in error


def test_what_cannot_be_removed_is_raised_when_the_rest_is_done(racing):
    with pytest.raises(OSError, match="while somebody writes to it: try again"):
        racing.collect_garbage(older_than_s=30 * DAY_S)
    assert racing.get(OTHER_KEY) is None

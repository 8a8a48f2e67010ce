"""The road of object stores, `s3://` through s3fs, against a server of its own on this machine."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ascend_serve.artifacts import locks
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.locks import Lease, held_if_free
from ascend_serve.artifacts.store import Failure, Store
from ascend_serve.errors import ArtifactError
from tests.serve.tools import free_port
from tests.unit.store_tools import KEY, OTHER_KEY, files_under, manifest_of, model_files, run_python

pytestmark = pytest.mark.serve

START_S = 30.0
DAY_S = 86_400.0
BUCKET = "models"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server; what finds it there is set as for any other, in variables of AWS."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "anybody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_CONFIG_FILE", os.devnull)
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
            s3 = fsspec.filesystem("s3")
            s3.mkdir(BUCKET)
            yield f"s3://{BUCKET}"
            fsspec.get_filesystem_class("s3").clear_instance_cache()
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return f"{server}/{request.node.name.partition('[')[0]}"


@pytest.fixture
def store(url: str, tmp_path: Path) -> Store:
    return Store(url, Cache(tmp_path / "cache", 1 << 20))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return model_files(tmp_path / "made")


def objects(url: str) -> list[str]:
    """Names below a prefix, as S3 itself has them."""
    s3 = fsspec.filesystem("s3")
    s3.invalidate_cache()
    root = url.removeprefix("s3://")
    return sorted(name.removeprefix(f"{root}/") for name in s3.find(root))


def overwritten(url: str, data: bytes) -> None:
    fsspec.filesystem("s3").pipe_file(url, data)


def test_what_is_published_is_found_and_fetched_once(
    store: Store, url: str, files: Any, tmp_path: Path
) -> None:
    assert (store.get(KEY), store.exists(), list(store.manifests())) == (None, False, [])
    artifact = store.publish(files, manifest_of(files))
    assert artifact.location.startswith(f"{url}/ab/{KEY}/")
    digest = artifact.location.split("/")[-2]
    assert objects(url) == [
        f"ab/{KEY}/{digest}/net.om",
        f"ab/{KEY}/{digest}/weight/w1",
        f"ab/{KEY}/manifest.json",
    ]
    other = Store(url, Cache(tmp_path / "node", 1 << 20))
    assert other.exists()
    found = other.get_whole(KEY)
    assert found == artifact
    assert list(other.manifests()) == [artifact.manifest]
    om = found.fetch()
    assert om.is_relative_to(tmp_path / "node")
    assert (om.read_bytes(), (om.parent / "weight/w1").read_bytes()) == (b"model", b"weights of model")
    overwritten(found.location, b"MODEL")  # what was fetched is whole, so it is not fetched again
    assert found.fetch().read_bytes() == b"model"


def test_of_two_writers_the_first_wins(store: Store, url: str, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def write(number: int) -> Any:
        made = model_files(tmp_path / f"made{number}", b"model %d" % number)
        barrier.wait()
        return store.publish(made, manifest_of(made, created=str(number)))

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(write, range(4)))
    kept = Store(url, Cache(tmp_path / "node", 1 << 20)).get(KEY)
    assert got == [kept] * 4
    assert kept is not None
    assert kept.manifest is not None
    assert kept.fetch().read_bytes() == f"model {kept.manifest.created}".encode()


def test_a_name_is_created_once(store: Store) -> None:
    backing = store._backing
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: backing.create("name", b"%d" % number), range(8)))
    assert made.count(True) == 1
    assert backing.read("name") == b"%d" % made.index(True)


def test_a_lease_of_a_killed_process_is_taken_over(
    store: Store, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "from ascend_serve.artifacts.store import Store\n"
        "with Store(sys.argv[1]).building(sys.argv[2]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = run_python(code, url, KEY)
    try:
        assert holder.stdout.readline() == "held\n"
        assert objects(url) == [f"building/{KEY}.json"]
        now = 0.0
        lease = Lease(store._backing, f"building/{KEY}.json", clock=lambda: now)
        assert not lease.try_acquire()
    finally:
        holder.kill()
        holder.communicate()
    now += locks.LEASE_S
    assert not lease.try_acquire()
    now += 0.1
    with held_if_free(lease) as is_held:
        assert is_held
        assert "taken over" in caplog.text
        with held_if_free(store.lock(KEY)) as too:
            assert not too
    assert objects(url) == []


def test_a_lease_is_renewed_while_it_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_RENEW_S", 0.01)
    with store.building(KEY):
        first, deadline = store._backing.read(f"building/{KEY}.json"), time.monotonic() + START_S
        while store._backing.read(f"building/{KEY}.json") == first:
            assert time.monotonic() < deadline
    assert store._backing.read(f"building/{KEY}.json") is None


@pytest.mark.parametrize("damage", [b"MODEL", b"mode", b""])
def test_a_damaged_original_is_refused(store: Store, files: Any, damage: bytes) -> None:
    artifact = store.publish(files, manifest_of(files))
    overwritten(artifact.location, damage)
    with pytest.raises(ArtifactError, match=rf"net\.om has .*damaged since.*artifacts rm {KEY[:12]}"):
        artifact.fetch()
    store.remove(KEY)


def test_what_is_cut_off_or_gone_counts_as_absent_and_is_replaced(store: Store, files: Any) -> None:
    damages: list[Callable[[str], None]] = [
        lambda url: overwritten(url, b"mode"),
        lambda url: fsspec.filesystem("s3").rm_file(url),
    ]
    for damage in damages:
        artifact = store.publish(files, manifest_of(files))
        damage(artifact.location)
        assert store.get_whole(KEY) is None
        again = store.publish(files, manifest_of(files))
        assert store.get_whole(KEY) == again
        assert again.fetch().read_bytes() == b"model"
        store.remove(KEY)


def test_failures_and_banks_are_kept_and_removed(store: Store, url: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("E10016: no")
    store.keep_failure(
        KEY, tmp_path / "log", lambda path: Failure("no", None, None, None, None, None, path, "now", {})
    )
    ((key, failure),) = store.failures()
    assert (key, failure.log_path) == (KEY, f"{url}/failed/{KEY}/atc.log")
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/a").write_text("1")
    bank = store.keep_bank(KEY, tmp_path / "tuned")
    assert store.bank(KEY) == bank
    assert (bank.fetch() / "a").read_text() == "1"
    store.remove(KEY)
    assert (store.failure(KEY), store.bank(KEY), objects(url)) == (None, None, [])


def test_garbage_goes_and_the_rest_stays(
    store: Store, url: str, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = store.publish(files, manifest_of(files))
    store.publish(files, manifest_of(files, OTHER_KEY))
    overwritten(f"{url}/ab/{KEY}/0123456789abcdef/net.om", b"orphan")
    assert store.collect_garbage(older_than_s=30 * DAY_S) == []
    later = time.time() + 2 * DAY_S
    monkeypatch.setattr("ascend_serve.artifacts.store.time.time", lambda: later)
    removed = store.collect_garbage(older_than_s=DAY_S, keep={KEY})
    assert sorted((thing.kind, thing.key) for thing in removed) == [("artifact", OTHER_KEY), ("orphan", KEY)]
    digest = artifact.location.split("/")[-2]
    assert objects(url) == [
        f"ab/{KEY}/{digest}/net.om",
        f"ab/{KEY}/{digest}/weight/w1",
        f"ab/{KEY}/manifest.json",
    ]


def test_artifacts_are_copied_there_and_back(store: Store, url: str, files: Any, tmp_path: Path) -> None:
    here = Store(tmp_path / "here")
    manifest = here.publish(files, manifest_of(files)).manifest
    assert here.copy_to(store, [KEY]) == [manifest]
    assert here.copy_to(store, [KEY]) == []
    back = Store(tmp_path / "back")
    assert store.copy_to(back, [KEY]) == [manifest]
    assert back.get(KEY).fetch().read_bytes() == b"model"
    assert files_under(back.url) == files_under(here.url)


def test_a_bucket_that_is_not_there_is_no_store_and_is_told_when_written_to(
    server: str, files: Any, tmp_path: Path
) -> None:
    store = Store("s3://no-such-bucket/prefix", Cache(tmp_path / "cache", 1 << 20))
    assert (store.get(KEY), store.exists()) == (None, False)
    with pytest.raises(OSError, match="bucket"):
        store.publish(files, manifest_of(files))

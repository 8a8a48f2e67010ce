import os
import pickle
import runpy
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.store import Failure, Store, ready_made, sha256
from ascend_serve.errors import ArtifactError, ArtifactMissing, ConfigError, NotAnOm
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))
KEY = "ab" + "0" * 62
SPEC = ModelSpec(
    "net",
    (TensorSpec("x", DataType.FP32, (-1, 3)),),
    (TensorSpec("y", DataType.INT64, (-1,)),),
    Gears.of([4, 1]),
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def om(tmp_path):
    path = tmp_path / "net.om"
    path.write_bytes(w["gear_model"]())
    return path


def manifest_of(om, key=KEY):
    return Manifest(
        key,
        "Ascend310P3",
        Toolchain("tools", "1"),
        sha256(om),
        om.stat().st_size,
        SPEC,
        {"name": "net"},
        1.5,
        "now",
    )


def files(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_manifests_round_trip(om):
    manifest = manifest_of(om)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema": 1}', b"\xff"])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(ArtifactError, match="not a manifest"):
        Manifest.from_json(data)


def test_a_manifest_of_another_schema_is_refused_by_number(om):
    with pytest.raises(ArtifactError, match="schema 2"):
        Manifest.from_json(manifest_of(om).to_json().replace(b'"schema": 1', b'"schema": 2'))


def test_an_empty_store_has_nothing_and_writes_nothing(store):
    assert store.get(KEY) is None
    assert store.failure(KEY) is None
    assert not store.root.exists()


def test_what_is_published_is_found_and_whole(store, om):
    published = store.publish(om, manifest_of(om))
    found = store.get(KEY)
    assert found == published
    assert found.verify().read_bytes() == om.read_bytes()
    assert (found.spec, found.soc, found.toolchain) == (SPEC, "Ascend310P3", Toolchain("tools", "1"))
    assert files(store) == [f"ab/{KEY}/manifest.json", f"ab/{KEY}/model.om"]
    assert pickle.loads(pickle.dumps(found)) == found


def test_of_two_writers_the_first_wins(store, om):
    first = store.publish(om, manifest_of(om))
    second = store.publish(om, replace(manifest_of(om), created="later"))
    assert second == first
    assert len(files(store)) == 2


def test_many_writers_at_once_leave_one_artifact(store, om):
    barrier = threading.Barrier(6)
    got = []

    def write(number):
        barrier.wait()
        got.append(store.publish(om, replace(manifest_of(om), created=str(number))))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(map(id, got)) != set()
    assert all(artifact == store.get(KEY) for artifact in got)
    assert len(files(store)) == 2


def test_a_failed_write_leaves_nothing(store, om, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.publish(om, manifest_of(om))
    assert files(store) == []
    assert list((store.root / "partial").iterdir()) == []


def test_bytes_that_changed_on_the_way_are_not_published(store, om):
    with pytest.raises(ArtifactError, match="changed while"):
        store.publish(om, replace(manifest_of(om), sha256="0" * 64))
    assert files(store) == []


def test_a_damaged_file_is_never_handed_out(store, om):
    artifact = store.publish(om, manifest_of(om))
    data = bytearray(artifact.path.read_bytes())
    data[-1] ^= 1
    artifact.path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="damaged since"):
        artifact.verify()
    artifact.path.unlink()
    with pytest.raises(ArtifactMissing, match=r"model\.om on this node.*compile again"):
        artifact.verify()


def test_a_damaged_manifest_is_named(store, om):
    artifact = store.publish(om, manifest_of(om))
    artifact.path.with_name("manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest\.json.*Remove"):
        store.get(KEY)


def test_failures_are_kept_replaced_and_forgotten(store, om, tmp_path):
    log = tmp_path / "log"
    log.write_text("E10016: no")

    def describe(path):
        return Failure("no", "E10016", None, path, "now", {"atc": "/x"})

    kept = store.keep_failure(KEY, log, describe)
    assert store.failure(KEY) == kept
    assert Path(kept.log_path).read_text() == "E10016: no"
    log.write_text("E10031: no")
    store.keep_failure(KEY, log, lambda path: replace(describe(path), code="E10031"))
    assert store.failure(KEY).code == "E10031"
    assert Path(kept.log_path).read_text() == "E10031: no"
    assert store.get(KEY) is None
    store.publish(om, manifest_of(om))
    assert store.failure(KEY) is None


def test_ready_made_files_describe_themselves(om):
    artifact = ready_made(om, "served")
    assert artifact.manifest is None
    assert (artifact.soc, artifact.spec.name, artifact.spec.gears.sizes) == ("Ascend310P3", "served", (1, 4))
    assert artifact.verify() == om
    om.unlink()
    with pytest.raises(ArtifactMissing, match=r"net\.om on this node: all nodes must see it .* a copy$"):
        artifact.verify()


def test_ready_made_files_that_cannot_be_served_are_named(tmp_path, om):
    with pytest.raises(ArtifactMissing, match=r"gone\.om"):
        ready_made(tmp_path / "gone.om", "served")
    with pytest.raises(ArtifactMissing):
        ready_made(tmp_path, "served")
    with pytest.raises(ConfigError, match="batch gears"):
        ready_made(om, "served", batched=False)
    om.write_bytes(om.read_bytes()[:-1])
    with pytest.raises(NotAnOm, match=r"net\.om: cut off"):
        ready_made(om, "served")

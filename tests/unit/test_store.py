"""What every store does, whatever it is kept in."""

import pickle
import runpy
import uuid
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Bank, Failure, Store, ready_made
from ascend_serve.errors import ArtifactError, ArtifactMissing, ConfigError, NotAnOm

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, OTHER_KEY, SPEC = t["KEY"], t["OTHER_KEY"], t["SPEC"]
manifest_of, model_files = t["manifest_of"], t["model_files"]


@pytest.fixture(params=["folder", "elsewhere", "memory"])
def store(request, tmp_path):
    roots = {
        "folder": str(tmp_path / "store"),
        "elsewhere": f"elsewhere://{tmp_path}/store",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return Store(roots[request.param], Cache(tmp_path / "cache", 1 << 20))


@pytest.fixture
def folder_store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def files(tmp_path):
    return model_files(tmp_path / "made")


def test_an_empty_store_has_nothing(store):
    assert store.get(KEY) is None
    assert store.failure(KEY) is None
    assert store.bank(KEY) is None
    assert list(store.manifests()) == []
    assert list(store.failures()) == []
    assert store.collect_garbage(older_than_s=0) == []
    store.remove(KEY)
    store.forget_failure(KEY)


def test_an_empty_folder_store_writes_nothing_by_being_asked(folder_store):
    assert folder_store.get(KEY) is None
    assert list(folder_store.manifests()) == []
    assert not Path(folder_store.url).exists()


def test_what_is_no_store_is_told_and_not_taken_for_an_empty_one(tmp_path):
    file = tmp_path / "file"
    file.write_text("no store")
    with pytest.raises(NotADirectoryError, match="file"):
        list(Store(file).manifests())


def test_what_is_published_is_found_and_whole(store, files):
    published = store.publish(files, manifest_of(files))
    found = store.get(KEY)
    assert found == published
    path = found.fetch()
    assert path.name == "net.om"
    assert path.read_bytes() == b"model"
    assert (path.parent / "weight/w1").read_bytes() == b"weights of model"
    assert (found.spec, found.soc, found.toolchain) == (SPEC, "Ascend310P3", found.manifest.toolchain)
    assert found.location.startswith(store.url)
    assert list(store.manifests()) == [found.manifest]


def test_an_artifact_travels_in_few_bytes_and_still_fetches(store, files):
    artifact = store.publish(files, manifest_of(files))
    data = pickle.dumps(artifact)
    assert len(data) < 4000
    there = pickle.loads(data)
    assert there == artifact
    assert there.fetch().read_bytes() == b"model"


def test_a_folder_store_hands_out_files_in_place(folder_store, files):
    artifact = folder_store.publish(files, manifest_of(files))
    assert str(artifact.fetch()) == artifact.location
    names = t["files_under"](folder_store.url)
    digest = Path(artifact.location).parent.name
    assert names == [
        f"ab/{KEY}/{digest}/net.om",
        f"ab/{KEY}/{digest}/weight/w1",
        f"ab/{KEY}/manifest.json",
    ]


def test_the_first_writer_wins(store, files, tmp_path):
    first = store.publish(files, manifest_of(files))
    others = model_files(tmp_path / "again", b"other bytes")
    second = store.publish(others, manifest_of(others, created="later"))
    assert second == first
    assert second.fetch().read_bytes() == b"model"


def test_what_is_not_served_says_why(store, files):
    artifact = store.publish(files, manifest_of(files, spec=None, unservable="it has image gears"))
    with pytest.raises(ConfigError, match=r"net\.om cannot be served: it has image gears"):
        _ = artifact.spec
    assert artifact.fetch().read_bytes() == b"model"


def test_bytes_that_changed_on_the_way_are_not_published(store, files):
    manifest = manifest_of(files)
    files["net.om"].write_bytes(b"MODEL")
    with pytest.raises(ArtifactError, match="changed while"):
        store.publish(files, manifest)
    assert store.get(KEY) is None


@pytest.mark.parametrize("kind", ["folder", "elsewhere"])
@pytest.mark.parametrize("damage", [b"MODEL", b"mode", b""])
def test_a_damaged_original_is_never_handed_out(tmp_path, files, kind, damage):
    url = str(tmp_path / "store") if kind == "folder" else f"elsewhere://{tmp_path}/store"
    artifact = Store(url, Cache(tmp_path / "cache", 1 << 20)).publish(files, manifest_of(files))
    original = Path(artifact.location.removeprefix("elsewhere://"))
    original.write_bytes(damage)
    with pytest.raises(ArtifactError, match=rf"net\.om has .*damaged since.*artifacts rm {KEY[:12]}"):
        artifact.fetch()
    original.unlink()
    with pytest.raises(ArtifactMissing, match=r"net\.om.*compile or import"):
        artifact.fetch()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"mode"), Path.unlink])
@pytest.mark.parametrize("kind", ["folder", "elsewhere"])
@pytest.mark.parametrize("again", [b"model", b"other"])
def test_what_is_cut_off_or_gone_counts_as_absent_and_is_replaced(
    tmp_path, files, kind, damage, again, caplog
):
    url = str(tmp_path / "store") if kind == "folder" else f"elsewhere://{tmp_path}/store"
    store = Store(url, Cache(tmp_path / "cache", 1 << 20))
    artifact = store.publish(files, manifest_of(files))
    assert store.get_whole(KEY) == artifact
    damage(Path(artifact.location.removeprefix("elsewhere://")))
    assert store.get(KEY) == artifact
    assert store.get_whole(KEY) is None
    assert f"{artifact.location} is taken for absent" in caplog.text
    others = model_files(tmp_path / "again", again)
    replaced = store.publish(others, manifest_of(others, created="later"))
    assert replaced.manifest.created == "later"
    assert store.get_whole(KEY) == replaced
    assert replaced.fetch().read_bytes() == again


def test_damage_that_changes_no_size_is_found_when_it_is_fetched(folder_store, files):
    artifact = folder_store.publish(files, manifest_of(files))
    Path(artifact.location).write_bytes(b"MODEL")
    assert folder_store.get_whole(KEY) == artifact
    with pytest.raises(ArtifactError, match=f"artifacts rm {KEY[:12]}"):
        artifact.fetch()


def test_a_store_that_lasts_is_none_of_one_process(tmp_path):
    for url in ("memory://a", "simplecache::memory://a"):
        with pytest.raises(ConfigError, match="lives in the memory of one process"):
            Store.lasting(url)
    assert Store.lasting(f"elsewhere://{tmp_path}/a").url == f"elsewhere://{tmp_path}/a"
    assert Store.lasting(tmp_path / "memory").url == str(tmp_path / "memory")


def test_a_store_exists_once_something_is_in_it(store, files):
    assert not store.exists()
    store.publish(files, manifest_of(files))
    assert store.exists()


def test_a_damaged_manifest_is_named_and_can_be_removed(folder_store, files, caplog):
    artifact = folder_store.publish(files, manifest_of(files))
    kept = model_files(Path(files["net.om"]).parent / "kept", b"kept")
    other = folder_store.publish(kept, manifest_of(kept, OTHER_KEY))
    (Path(artifact.location).parents[1] / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=rf"manifest\.json.*artifacts rm {KEY}"):
        folder_store.get(KEY)
    assert list(folder_store.manifests()) == [other.manifest]
    assert "left out" in caplog.text
    folder_store.remove(KEY)
    assert folder_store.publish(files, manifest_of(files)).fetch().read_bytes() == b"model"


def test_a_manifest_of_another_key_is_refused(folder_store, files):
    folder_store.publish(files, manifest_of(files))
    there = Path(folder_store.url)
    (there / "cd" / OTHER_KEY).mkdir(parents=True)
    (there / "ab" / KEY / "manifest.json").rename(there / "cd" / OTHER_KEY / "manifest.json")
    with pytest.raises(ArtifactError, match="manifest of another key"):
        folder_store.get(OTHER_KEY)


@pytest.mark.parametrize("key", ["", "..", "a/b", "ab/../../x", "key.json", "k" * 200])
def test_what_cannot_be_a_key_is_refused(store, key):
    with pytest.raises(ConfigError, match="no key of a store"):
        store.get(key)


def test_removed_is_gone_and_may_come_again(store, files):
    artifact = store.publish(files, manifest_of(files))
    store.remove(KEY)
    assert store.get(KEY) is None
    assert store.publish(files, manifest_of(files)) == artifact


def test_what_is_being_built_is_not_removed(store, files):
    store.publish(files, manifest_of(files))
    with store.building(KEY), pytest.raises(ArtifactError, match="being built"):
        store.remove(KEY)
    store.remove(KEY)
    assert store.get(KEY) is None


def test_artifacts_are_found_as_people_name_them(store, files):
    manifest = store.publish(files, manifest_of(files)).manifest
    other = store.publish(files, manifest_of(files, OTHER_KEY, soc="Ascend910B3")).manifest
    assert store.find("ab0") == store.find(KEY) == store.find("net@Ascend310P3") == manifest
    assert store.find("cd") == store.find("net@Ascend910B3") == other
    with pytest.raises(ConfigError, match=r"'net' means 2 artifacts.*ab0000000000 .*cd1111111111"):
        store.find("net")
    with pytest.raises(ConfigError, match="did you mean 'net@Ascend310P3'"):
        store.find("net@Ascend310P")
    with pytest.raises(ConfigError, match="'' means no artifact: give the beginning of its key"):
        store.find(
            ""
        )  # as of a shell variable that is not set, which must not mean the only artifact there is


def test_failures_are_kept_replaced_and_forgotten(store, files, tmp_path):
    log = tmp_path / "log"
    log.write_text("E10016: no")

    def describe(path):
        return Failure("no", "E10016", "Conv2D", "conv1", None, None, path, "now", {"atc": "/x"}, "net@S")

    kept = store.keep_failure(KEY, log, describe)
    assert store.failure(KEY) == kept
    assert list(store.failures()) == [(KEY, kept)]
    assert kept.log_path == f"{store.url}/failed/{KEY}/atc.log"
    log.write_text("E10031: no")
    store.keep_failure(KEY, log, lambda path: replace(describe(path), code="E10031"))
    assert store.failure(KEY).code == "E10031"
    assert store._backing.read(f"failed/{KEY}/atc.log") == b"E10031: no"
    assert store.get(KEY) is None
    store.publish(files, manifest_of(files))
    assert store.failure(KEY) is None


def test_a_failure_that_cannot_be_read_is_none(folder_store, tmp_path, caplog):
    (tmp_path / "log").write_text("x")
    folder_store.keep_failure(
        KEY, tmp_path / "log", lambda path: Failure("no", None, None, None, None, None, path, "now", {})
    )
    (Path(folder_store.url) / "failed" / KEY / "failure.json").write_text('{"cause": 1}')
    assert folder_store.failure(KEY) is None
    assert "cannot be read" in caplog.text


def test_knowledge_banks_are_kept_whole_and_replaced(store, tmp_path):
    tuned = tmp_path / "tuned"
    (tuned / "Ascend310P3").mkdir(parents=True)
    (tuned / "Ascend310P3/a.json").write_text("1")
    first = store.keep_bank("bank1", tuned)
    assert store.bank("bank1") == first
    assert (first.fetch() / "Ascend310P3/a.json").read_text() == "1"
    assert isinstance(pickle.loads(pickle.dumps(first)), Bank)
    (tuned / "Ascend310P3/a.json").write_text("2")
    second = store.keep_bank("bank1", tuned)
    assert store.bank("bank1").digest == second.digest != first.digest
    assert (store.bank("bank1").fetch() / "Ascend310P3/a.json").read_text() == "2"
    with pytest.raises(ConfigError, match="no file in"):
        store.keep_bank("bank1", tmp_path / "nothing")


def test_a_damaged_bank_is_named_and_can_be_removed(folder_store, tmp_path):
    key = "ba" * 32
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/a").write_text("1")
    bank = folder_store.keep_bank(key, tmp_path / "tuned")
    (bank.fetch() / "a").write_text("2")
    with pytest.raises(
        ArtifactError, match=f"damaged since; run .*artifacts rm {key}` .*tune the model again"
    ):
        bank.fetch()
    (Path(folder_store.url) / f"banks/{key}/bank.json").write_text("[]")
    with pytest.raises(ArtifactError, match=rf"bank\.json is damaged.*artifacts rm {key}.*tune"):
        folder_store.bank(key)
    folder_store.remove(key)
    assert folder_store.bank(key) is None
    assert t["files_under"](folder_store.url) == []


def test_a_bank_that_is_cut_off_counts_as_absent_and_is_replaced(folder_store, tmp_path, caplog):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/a").write_text("1")
    bank = folder_store.keep_bank("bank1", tmp_path / "tuned")
    (bank.fetch() / "a").write_text("")
    assert folder_store.bank("bank1") is None
    assert "banks/bank1 is taken for absent" in caplog.text
    folder_store.keep_bank("bank1", tmp_path / "tuned")
    assert folder_store.bank("bank1") == bank
    assert (bank.fetch() / "a").read_text() == "1"


def test_a_store_is_a_folder_or_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("here").url == str(tmp_path / "here")
    assert Store(f"file://{tmp_path}/there").url == str(tmp_path / "there")
    assert Store("memory://a/b/").url == "memory://a/b"
    assert pickle.loads(pickle.dumps(Store("here"))).url == str(tmp_path / "here")
    with pytest.raises(ConfigError, match="give a URL as text"):
        Store(Path("s3://bucket/prefix"))


def test_a_url_that_nothing_speaks_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"nosuch://x: Protocol not known"):
        Store("nosuch://x", Cache(tmp_path, 1)).get(KEY)


def test_a_missing_driver_says_what_to_install(tmp_path, monkeypatch):
    import fsspec.core

    def missing(_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ConfigError, match=r"s3://b/p needs .*Install s3fs.*'ascend-serve\[s3\]'"):
        Store("s3://b/p", Cache(tmp_path, 1)).get(KEY)


def test_what_a_driver_raises_becomes_an_os_error_with_the_url(tmp_path, monkeypatch):
    class OddError(Exception):
        pass

    def cat_file(*_, **__):
        raise OddError("no route")

    monkeypatch.setattr(fsspec.get_filesystem_class("elsewhere"), "cat_file", cat_file)
    with pytest.raises(OSError, match=r"elsewhere:///.* cannot be used: OddError: no route"):
        Store(f"elsewhere://{tmp_path}", Cache(tmp_path, 1)).get(KEY)


def test_ready_made_files_describe_themselves(tmp_path):
    om = tmp_path / "net.om"
    om.write_bytes(t["om_writer"]["gear_model"]())
    artifact = ready_made(om, "served")
    assert artifact.manifest is None
    assert (artifact.soc, artifact.spec.name, artifact.spec.gears.sizes) == ("Ascend310P3", "served", (1, 4))
    assert pickle.loads(pickle.dumps(artifact)).fetch() == om
    om.unlink()
    with pytest.raises(ArtifactMissing, match=r"net\.om on this node: all nodes must see it .* a copy$"):
        artifact.fetch()


def test_ready_made_files_that_cannot_be_served_are_named(tmp_path):
    om = tmp_path / "net.om"
    om.write_bytes(t["om_writer"]["gear_model"]())
    with pytest.raises(ArtifactMissing, match=r"gone\.om"):
        ready_made(tmp_path / "gone.om", "served")
    with pytest.raises(ArtifactMissing):
        ready_made(tmp_path, "served")
    with pytest.raises(ConfigError, match="batch gears"):
        ready_made(om, "served", batched=False)
    om.write_bytes(om.read_bytes()[:-1])
    with pytest.raises(NotAnOm, match=r"net\.om: cut off"):
        ready_made(om, "served")

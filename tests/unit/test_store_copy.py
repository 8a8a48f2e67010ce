"""Push and pull: between folders and what lies behind URLs, resumed where they ended."""

import runpy
from pathlib import Path

import fsspec
import pytest

from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ArtifactError, ArtifactMissing

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, OTHER_KEY, manifest_of, model_files = t["KEY"], t["OTHER_KEY"], t["manifest_of"], t["model_files"]


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "folder")
    for key, content in ((KEY, b"one"), (OTHER_KEY, b"two")):
        files = model_files(tmp_path / content.decode(), content)
        store.publish(files, manifest_of(files, key))
    return store


@pytest.fixture
def remote(tmp_path):
    return Store(f"elsewhere://{tmp_path}/remote", Cache(tmp_path / "cache", 1 << 20))


def test_push_and_pull_bring_everything_along(folder, remote, tmp_path):
    said = []
    pushed = folder.copy_to(
        remote, [KEY, OTHER_KEY], lambda manifest, is_new: said.append((manifest.key, is_new))
    )
    assert [manifest.key for manifest in pushed] == [KEY, OTHER_KEY]
    assert said == [(KEY, True), (OTHER_KEY, True)]
    other = Store(tmp_path / "other")
    assert remote.copy_to(other, [OTHER_KEY]) == [folder.get(OTHER_KEY).manifest]
    path = other.get(OTHER_KEY).fetch()
    assert path.read_bytes() == b"two"
    assert (path.parent / "weight/w1").read_bytes() == b"weights of two"


def test_what_is_there_is_not_copied_again(folder, remote, monkeypatch):
    folder.copy_to(remote, [KEY])

    def refuse(*_, **__):
        raise AssertionError("sent again")

    monkeypatch.setattr(fsspec.get_filesystem_class("elsewhere"), "put_file", refuse)
    said = []
    assert folder.copy_to(remote, [KEY], lambda manifest, is_new: said.append(is_new)) == []
    assert said == [False]


def test_a_push_that_broke_off_goes_on_file_by_file(folder, remote, monkeypatch):
    elsewhere = fsspec.get_filesystem_class("elsewhere")
    real, sent = elsewhere.put_file, []

    def put_file(self, source, target, **options):
        if len(sent) == 3:
            raise OSError(104, "Connection reset by peer")
        sent.append(Path(source).read_bytes())
        real(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "put_file", put_file)
        with pytest.raises(OSError, match="reset by peer"):
            folder.copy_to(remote, [KEY, OTHER_KEY])
    assert sent == [b"one", b"weights of one", b"two"]
    assert remote.get(KEY) is not None
    assert remote.get(OTHER_KEY) is None

    again = []
    monkeypatch.setattr(
        elsewhere,
        "put_file",
        lambda self, source, target, **options: (
            again.append(Path(source).read_bytes()),
            real(self, source, target, **options),
        ),
    )
    assert [manifest.key for manifest in folder.copy_to(remote, [KEY, OTHER_KEY])] == [OTHER_KEY]
    assert again == [b"weights of two"]
    assert remote.get(OTHER_KEY).fetch().read_bytes() == b"two"


def test_a_copy_that_is_cut_off_there_is_copied_again(folder, remote):
    folder.copy_to(remote, [KEY])
    Path(remote.get(KEY).location.removeprefix("elsewhere://")).write_bytes(b"on")
    assert folder.copy_to(remote, [KEY]) == [folder.get(KEY).manifest]
    assert remote.get(KEY).fetch().read_bytes() == b"one"


def test_a_damaged_artifact_is_not_copied(folder, remote):
    folder.get(KEY).fetch().write_bytes(b"ONE")
    with pytest.raises(ArtifactError, match="damaged since"):
        folder.copy_to(remote, [KEY])
    assert remote.get(KEY) is None


def test_a_key_that_is_not_there_is_named(folder, remote):
    folder.remove(KEY)
    with pytest.raises(ArtifactMissing, match=KEY):
        folder.copy_to(remote, [KEY])

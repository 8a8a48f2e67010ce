"""Writers that meet, die and run out of room; what they leave, and that none of it is ever served."""

import os
import runpy
import signal
import threading
from pathlib import Path

import fsspec
import pytest

from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Store

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, manifest_of, model_files, files_under = t["KEY"], t["manifest_of"], t["model_files"], t["files_under"]
DAY_S = 86_400


@pytest.fixture(params=["folder", "elsewhere"])
def url(request, tmp_path):
    return str(tmp_path / "store") if request.param == "folder" else f"elsewhere://{tmp_path}/store"


def open_store(url, tmp_path):
    return Store(url, Cache(tmp_path / "cache", 1 << 20))


@pytest.mark.parametrize("same_bytes", [True, False])
def test_threads_that_publish_at_once_agree(url, tmp_path, same_bytes):
    barrier = threading.Barrier(6)
    got = []

    def write(number):
        made = model_files(tmp_path / f"made{number}", b"model" if same_bytes else b"model %d" % number)
        barrier.wait()
        got.append(open_store(url, tmp_path).publish(made, manifest_of(made, created=str(number))))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    kept = open_store(url, tmp_path).get(KEY)
    number = kept.manifest.created
    assert kept.fetch().read_bytes() == (b"model" if same_bytes else f"model {number}".encode())
    if not url.startswith("elsewhere"):  # there, the last one wins, and an earlier one has seen itself
        assert got == [kept] * 6


PUBLISH = """
from pathlib import Path
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Store
url, folder, content = sys.argv[1], Path(sys.argv[2]), sys.argv[3].encode()
files = tools.model_files(folder / content.decode(), content)
store = Store(url, Cache(folder / "cache", 1 << 20))
manifest = tools.manifest_of(files, details={"writer": content.decode()})
"""


def test_processes_that_publish_at_once_agree(url, tmp_path):
    code = (
        PUBLISH
        + "print('ready', flush=True)\n"
        + "sys.stdin.readline()\n"
        + "print(store.publish(files, manifest).manifest.details['writer'])\n"
    )
    writers = [t["run_python"](code, url, tmp_path, f"writer{number}") for number in range(3)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outputs = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], outputs
    kept = open_store(url, tmp_path).get(KEY)
    winner = kept.manifest.details["writer"]
    assert kept.fetch().read_bytes() == winner.encode()
    if not url.startswith("elsewhere"):
        assert {output.strip() for output, _ in outputs} == {winner}


@pytest.mark.parametrize("when", ["create", "put"])
def test_a_writer_killed_on_the_way_leaves_nothing_that_is_served(url, tmp_path, when):
    """Killed before its manifest is there (`create`), or before its second file is (`put`)."""
    code = PUBLISH + (
        "import os, signal\n"
        "backing, done = store._backing, []\n"
        f"real = type(backing).{when}\n"
        "def hooked(*arguments):\n"
        "    if str(arguments[1]).endswith('manifest.json') or done:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    done.extend([1] * ({when!r} == 'put'))\n"
        "    return real(*arguments)\n"
        f"type(backing).{when} = hooked\n"
        "with store.building(manifest.key):\n"
        "    store.publish(files, manifest)\n"
    )
    writer = t["run_python"](code, url, tmp_path, "killed")
    _, told = writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL, told
    store = open_store(url, tmp_path)
    assert store.get(KEY) is None
    left = files_under(tmp_path / "store")
    assert any(name.endswith("net.om") for name in left)

    files = model_files(tmp_path / "next", b"next")
    artifact = store.publish(files, manifest_of(files))
    assert artifact.fetch().read_bytes() == b"next"

    assert store.collect_garbage(older_than_s=9 * DAY_S) == []
    for lease in (tmp_path / "store/building").glob("*.json"):
        lease.write_text('{"owner": "killed", "renewed": 0}')
    t["age"](tmp_path / "store", 2 * DAY_S)
    gone = store.collect_garbage(older_than_s=9 * DAY_S)
    assert {garbage.kind for garbage in gone} == {"orphan", "lock"}
    assert artifact.fetch().read_bytes() == b"next"
    digest = Path(artifact.location).parent.name
    assert files_under(tmp_path / "store") == [
        f"ab/{KEY}/{digest}/net.om",
        f"ab/{KEY}/{digest}/weight/w1",
        f"ab/{KEY}/manifest.json",
    ]


def test_the_next_writer_of_the_same_bytes_goes_on_where_a_killed_one_ended(tmp_path):
    store = Store(tmp_path / "store")
    files = model_files(tmp_path / "made")
    manifest = manifest_of(files)
    store._backing.put(files["net.om"], f"ab/{KEY}", manifest.files, manifest.files[0])
    (left,) = (tmp_path / "store").rglob("net.om")
    os.utime(left, (1, 1))
    number = left.stat().st_ino
    artifact = store.publish(files, manifest)
    assert artifact.fetch().stat().st_ino == number
    assert left.stat().st_mtime > DAY_S  # or it would be collected as the killed writer's


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    files = model_files(tmp_path / "made")
    manifest = manifest_of(files)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.publish(files, manifest)
    assert files_under(tmp_path / "store") == []
    assert store.publish(files, manifest).fetch().read_bytes() == b"model"


@pytest.mark.parametrize("room_bytes", [0, 3, 5, 12])
def test_a_full_disk_elsewhere_leaves_no_half_file(tmp_path, monkeypatch, room_bytes):
    filling = fsspec.get_filesystem_class("filling")
    monkeypatch.setattr(filling, "room_bytes", room_bytes)
    store = open_store(f"filling://{tmp_path}/store", tmp_path)
    files = model_files(tmp_path / "made")
    manifest = manifest_of(files)
    with pytest.raises(OSError, match="No space"):
        store.publish(files, manifest)
    assert store.get(KEY) is None
    whole = [name for name in files_under(tmp_path / "store") if not name.endswith("net.om")]
    assert whole == []  # the first file may be there whole: the next try goes on from it
    monkeypatch.setattr(filling, "room_bytes", 1000)
    assert store.publish(files, manifest).fetch().read_bytes() == b"model"


def test_a_filesystem_without_hard_links_still_keeps_the_first(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path / "store")
    files = model_files(tmp_path / "made")
    first = store.publish(files, manifest_of(files, created="first"))
    assert store._backing.create(f"ab/{KEY}/manifest.json", b"{}") is False
    assert store.get(KEY) == first

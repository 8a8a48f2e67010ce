"""Cost times beside an artifact: kept, found again, gone with it, and never a reason not to start."""

import os
import runpy
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.artifacts import times as cost_times
from ascend_serve.artifacts.artifact import Artifact
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.measured import MeasuredTimes
from ascend_serve.spec.timing import Stages, Timing
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, SPEC, manifest_of, model_files = t["KEY"], t["SPEC"], t["manifest_of"], t["model_files"]

SOC = "Ascend310P3"
CANN = Toolchain("CANN", "8.0.RC3")
TIMES = {
    (0, 1): Timing(Stages(0.02, 1.3, 0.01), 0.05, 9),
    (0, 4): Timing(Stages(0.08, 2.6, 0.02), 0.06, 9),
}


@pytest.fixture(autouse=True)
def node(monkeypatch, tmp_path):
    """A node whose cache is a folder of this test."""
    monkeypatch.setenv("ASCEND_SERVE_CACHE", str(tmp_path / "node"))


@pytest.fixture(params=["folder", "remote"])
def store(request, tmp_path):
    if request.param == "folder":
        return Store(tmp_path / "store")
    return Store(f"elsewhere://{tmp_path / 'store'}", Cache(tmp_path / "copies", 1 << 20))


@pytest.fixture
def published(store, tmp_path) -> Artifact:
    files = model_files(tmp_path / "made")
    return store.publish(files, manifest_of(files))


@pytest.fixture
def ready_made(tmp_path) -> Artifact:
    om = tmp_path / "models" / "net.om"
    om.parent.mkdir()
    om.write_bytes(b"model")
    return Artifact(str(om), SOC, CANN, SPEC)


def kept_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.json") if "costs" in path.name]


# --- in a store ----------------------------------------------------------------------------------


def test_what_was_never_measured_is_none(published):
    assert cost_times.read(published, SOC, CANN) is None


def test_what_one_replica_kept_another_finds(store, published):
    cost_times.write(published, SOC, CANN, TIMES)
    assert cost_times.read(store.get(KEY), SOC, CANN) == TIMES


def test_the_last_one_stays(published):
    cost_times.write(published, SOC, CANN, TIMES)
    later = {key: Timing(timing.stages, timing.spread_ms, 500) for key, timing in TIMES.items()}
    cost_times.write(published, SOC, CANN, later)
    assert cost_times.read(published, SOC, CANN) == later


@pytest.mark.parametrize(
    ("soc", "toolchain"), [("Ascend310P1", CANN), (SOC, Toolchain("CANN", "7.0")), ("Ascend310P3/", CANN)]
)
def test_each_kind_of_device_has_its_own(published, soc, toolchain):
    cost_times.write(published, SOC, CANN, TIMES)
    assert cost_times.read(published, soc, toolchain) is None


def test_names_that_become_the_same_file_are_told_apart(published):
    cost_times.write(published, "A/B", CANN, TIMES)
    assert cost_times.read(published, "A_B", CANN) is None


def test_the_artifact_is_as_whole_as_before(store, published):
    cost_times.write(published, SOC, CANN, TIMES)
    assert published.fetch().read_bytes() == b"model"
    assert store.get_whole(KEY) == published


def test_garbage_collection_leaves_them_and_takes_them_with_the_artifact(store, published, tmp_path):
    cost_times.write(published, SOC, CANN, TIMES)
    [kept] = kept_under(tmp_path / "store")
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (1.0e9, 1.0e9))
    assert store.collect_garbage(older_than_s=1e12) == []
    assert kept.exists()
    store.collect_garbage(older_than_s=86_400)
    assert not kept.exists()


def test_a_store_that_cannot_be_written_leaves_them_in_the_nodes_cache(
    store, published, monkeypatch, tmp_path
):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "write_beside", refuse)
        cost_times.write(published, SOC, CANN, TIMES)
    assert kept_under(tmp_path / "store") == []
    assert cost_times.read(store.get(KEY), SOC, CANN) == TIMES


# --- a ready-made file ---------------------------------------------------------------------------


def test_a_ready_made_file_has_them_beside_it(ready_made, tmp_path):
    assert cost_times.read(ready_made, SOC, CANN) is None
    cost_times.write(ready_made, SOC, CANN, TIMES)
    assert cost_times.read(ready_made, SOC, CANN) == TIMES
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "net.om",
        "net.om.costs.Ascend310P3.CANN_8.0.RC3.json",
    ]


def test_in_a_folder_of_others_they_go_to_the_nodes_cache(ready_made, monkeypatch, tmp_path):
    scratch_file = cost_times.scratch_file

    def refuse(folder):
        if folder == tmp_path / "models":
            raise PermissionError(13, "Permission denied")
        return scratch_file(folder)

    monkeypatch.setattr(cost_times, "scratch_file", refuse)
    cost_times.write(ready_made, SOC, CANN, TIMES)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["net.om"]
    assert cost_times.read(ready_made, SOC, CANN) == TIMES


def test_times_from_before_the_file_was_replaced_are_of_another_model(ready_made):
    cost_times.write(ready_made, SOC, CANN, TIMES)
    later = Path(ready_made.location).stat().st_mtime + 10
    os.utime(ready_made.location, (later, later))
    assert cost_times.read(ready_made, SOC, CANN) is None


def test_where_nothing_can_be_written_the_caller_hears_of_it(ready_made, monkeypatch):
    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cost_times, "scratch_file", refuse)
    with pytest.raises(OSError, match="No space left"):
        cost_times.write(ready_made, SOC, CANN, TIMES)


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b'{"schema": 1}', b"null"])
def test_a_damaged_file_is_named(published, tmp_path, content):
    cost_times.write(published, SOC, CANN, TIMES)
    [kept] = kept_under(tmp_path / "store")
    kept.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"costs\.Ascend310P3.* is damaged: not a file of measured times"):
        cost_times.read(published, SOC, CANN)
    cost_times.write(published, SOC, CANN, TIMES)
    assert cost_times.read(published, SOC, CANN) == TIMES


@pytest.mark.parametrize("other", [{(0, 1): TIMES[0, 1]}, TIMES | {(1, 1): TIMES[0, 1]}, {}])
def test_times_of_other_gears_are_of_another_model(published, other):
    cost_times.write(published, SOC, CANN, other)
    with pytest.raises(ArtifactError, match=r"compiled for \[\(0, 1\), \(0, 4\)\]: it is of another model"):
        cost_times.read(published, SOC, CANN)


whole = st.integers(0, 2**31)
timings = st.builds(
    Timing,
    st.builds(Stages, *[st.floats(0, 1e6, allow_nan=False)] * 3),
    st.floats(0, 1e6, allow_nan=False),
    whole,
)


@given(st.text(), st.text(), st.dictionaries(st.tuples(whole, st.integers(1, 2**31)), timings, max_size=8))
def test_what_is_written_is_read_again(soc, toolchain, times):
    told = MeasuredTimes(soc, toolchain, times)
    assert MeasuredTimes.from_json(told.to_json()) == told


def damaged(**changes):
    entry = {"bucket": 0, "gear": 1, "copy_in_ms": 0.0, "compute_ms": 1.0, "copy_out_ms": 0.0}
    entry |= {"spread_ms": 0.0, "runs": 1}
    told = {"schema": 1, "soc": SOC, "toolchain": "CANN", "times": [entry]}
    for key, value in changes.items():
        (told if key in told else entry)[key] = value
    return orjson.dumps(told)


def test_the_file_of_the_next_tests_is_right_without_their_changes():
    assert MeasuredTimes.from_json(damaged()).times == {(0, 1): Timing(Stages(0.0, 1.0, 0.0), 0.0, 1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "of schema 2; this version reads 1"),
        ({"soc": 310}, "soc and toolchain are text"),
        ({"times": {}}, "times is a list"),
        ({"times": [7]}, "an entry of measured times has bucket, gear, runs, copy_in_ms"),
        ({"extra": 1}, "an entry of measured times has"),
        ({"gear": 0}, "gear is 0; it is a whole number of at least 1"),
        ({"bucket": True}, "bucket is True; it is a whole number"),
        ({"runs": 1.5}, r"runs is 1\.5; it is a whole number"),
        ({"compute_ms": -1}, "compute_ms is -1; it is a number of milliseconds of at least 0"),
        ({"copy_in_ms": None}, "copy_in_ms is None; it is a number of milliseconds"),
        ({"spread_ms": "1"}, "spread_ms is '1'; it is a number of milliseconds"),
    ],
)
def test_what_cannot_be_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        MeasuredTimes.from_json(damaged(**changes))


def test_a_gear_stands_once():
    entry = orjson.loads(damaged())["times"][0]
    with pytest.raises(ConfigError, match="bucket 0, gear 1 twice"):
        MeasuredTimes.from_json(damaged(times=[entry, entry]))

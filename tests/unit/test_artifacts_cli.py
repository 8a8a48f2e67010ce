"""`ascend-serve artifacts …`, one behaviour each."""

import json
import runpy
from pathlib import Path

import fsspec
import pytest
import yaml
from click.testing import CliRunner

from ascend_serve.artifacts.store import Failure, Store
from ascend_serve.cli.amounts import age, size
from ascend_serve.cli.artifacts import command
from ascend_serve.errors import ConfigError
from ascend_serve.spec.text import shown_size

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
KEY, OTHER_KEY, manifest_of, model_files = t["KEY"], t["OTHER_KEY"], t["manifest_of"], t["model_files"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def filled(store, tmp_path):
    files = model_files(tmp_path / "made")
    gears = {"gears": {"kind": "image", "groups": [[224, 224], [448, 448]]}}
    store.publish(files, manifest_of(files))
    store.publish(
        files,
        manifest_of(
            files,
            OTHER_KEY,
            soc="Ascend910B3",
            spec=None,
            unservable="image gears",
            details=gears,
            created="2027",
        ),
    )
    return store


@pytest.fixture
def run(store):
    def run(*arguments):
        return CliRunner().invoke(command, ["--store", store.url, *arguments], catch_exceptions=False)

    return run


def test_ls_shows_a_line_each_the_newest_first(run, filled):
    lines = run("ls").stdout.splitlines()
    assert lines[0].split() == ["key", "name", "soc", "toolchain", "size", "created", "origin", "gears"]
    assert lines[1].startswith("cd1111111111  net   Ascend910B3  tools 1")
    assert lines[1].endswith("image 224x224, 448x448")
    assert lines[2].startswith("ab0000000000  net   Ascend310P3  tools 1    21 B")


def test_ls_has_one_order_for_what_is_of_the_same_time(run, filled, tmp_path):
    files = model_files(tmp_path / "more")
    for key, name, soc in (
        ("ef" * 32, "net", "Ascend310P3"),
        ("aa" * 32, "net", "Ascend310"),
        ("zz" * 32, "a", "S"),
    ):
        filled.publish(files, manifest_of(files, key, name=name, soc=soc))
    assert [line[:2] for line in run("ls").stdout.splitlines()[1:]] == ["cd", "zz", "aa", "ab", "ef"]


def test_ls_tells_a_store_that_is_not_there_from_an_empty_answer(run, store, filled, tmp_path):
    assert run("ls", "--name", "other").stderr == ""
    for url in (str(tmp_path / "nowhere"), f"elsewhere://{tmp_path}/nowhere"):
        result = CliRunner().invoke(command, ["--store", url, "ls"], catch_exceptions=False)
        assert result.stderr == f"note: there is no store at {url} yet\n"
        assert (result.exit_code, result.stdout.split()[:2]) == (0, ["key", "name"])


def test_a_store_that_ends_with_the_command_is_refused(run, filled):
    for arguments in (("push", "memory://x", "--all"), ("pull", "simplecache::memory://x", "--all")):
        with pytest.raises(
            ConfigError, match=r"memory://x lives in the memory of one process.* give a folder"
        ):
            run(*arguments)
    with pytest.raises(ConfigError, match="lives in the memory"):
        CliRunner().invoke(command, ["--store", "memory://x", "ls"], catch_exceptions=False)


def test_ls_filters_and_speaks_json(run, filled):
    told = json.loads(run("ls", "--soc", "Ascend310P3", "--json").stdout)
    assert [manifest["key"] for manifest in told] == [KEY]
    assert json.loads(run("ls", "--name", "other", "--json").stdout) == []


def test_show_tells_all_in_yaml_and_json(run, filled):
    told = yaml.safe_load(run("show", "net@Ascend310P3").stdout)
    assert told["location"] == filled.get(KEY).location
    assert told["recipe"] == {"name": "net"}
    assert json.loads(run("show", "ab0", "--json").stdout) == json.loads(filled.get(KEY).manifest.to_json())
    with pytest.raises(ConfigError, match=r"no artifact 'zz' in .*; known: net@Ascend310P3, net@Ascend910B3"):
        run("show", "zz")


def test_where_nothing_is_one_hears_why(run, store, tmp_path):
    note = f"note: there is no store at {store.url} yet"
    assert run("push", str(tmp_path / "other"), "--all").stderr.startswith(note)
    with pytest.raises(ConfigError, match=r"no artifact 'zz' in .*; the store is empty"):
        run("rm", "zz")


def test_ls_refuses_a_soc_that_nothing_could_be_for(run, filled):
    with pytest.raises(ConfigError, match=r"unknown SoC 'Ascend310p3' \(nearest: .*Ascend310P3"):
        run("ls", "--soc", "Ascend310p3")


def test_rm_removes_what_is_named_and_by_whole_key_what_is_damaged(run, filled):
    assert run("rm", "net@Ascend310P3").stdout == "removed ab0000000000\n"
    assert filled.get(KEY) is None
    (Path(filled.url) / "cd" / OTHER_KEY / "manifest.json").write_text("{")
    assert run("rm", OTHER_KEY).stdout == "removed cd1111111111\n"
    assert filled.get(OTHER_KEY) is None


def test_import_says_where_it_went_and_why_it_is_not_served(run, store, tmp_path):
    om = tmp_path / "vendor.om"
    om.write_bytes(t["om_writer"]["static_model"]([("x", 0, (-1, 3))], [("y", 0, (-1, 2))], soc=""))
    result = run("import", str(om), "--soc", "Ascend310", "--name", "mine")
    (manifest,) = store.manifests()
    assert result.stdout.startswith(f"imported {manifest.key[:12]} mine@Ascend310: {store.url}/")
    assert "not served as it is" in result.stderr
    assert manifest.soc == "Ascend310"


def test_push_and_pull_copy_what_is_named_or_all(run, filled, tmp_path):
    other = str(tmp_path / "other")
    result = run("push", other, "ab0")
    assert result.stdout == "copied: ab0000000000 net@Ascend310P3\n"
    assert result.stderr == f"1 of 1 copied to {other}, 21 B\n"
    again = run("push", other, "--all")
    assert "there already: ab0000000000" in again.stdout
    assert "copied: cd1111111111" in again.stdout
    filled.remove(KEY)
    assert run("pull", other, KEY).stdout == "copied: ab0000000000 net@Ascend310P3\n"
    assert filled.get(KEY).fetch().read_bytes() == b"model"
    for arguments in (("push", other), ("push", other, "ab0", "--all")):
        with pytest.raises(ConfigError, match="or give --all"):
            run(*arguments)


def test_what_is_damaged_is_told_at_the_end_and_the_rest_is_copied(run, filled, tmp_path):
    filled.get(OTHER_KEY).fetch().write_bytes(b"MODEL")
    other = str(tmp_path / "other")
    result = run("push", other, "--all")
    assert result.exit_code == 1
    assert result.stdout == "copied: ab0000000000 net@Ascend310P3\n"
    counted, left = result.stderr.splitlines()
    assert counted == f"1 of 2 copied to {other}, 21 B"
    assert left.startswith("not copied: cd1111111111 net@Ascend910B3: ")
    assert "damaged since" in left
    assert "artifacts rm cd1111111111" in left


def test_what_somebody_writes_to_is_told_at_the_end_and_the_rest_is_removed(filled, tmp_path, monkeypatch):
    url = f"elsewhere://{tmp_path}/store"
    t["age"](tmp_path / "store", 100 * 86_400)
    elsewhere = fsspec.get_filesystem_class("elsewhere")
    real = elsewhere.rm

    def rm(self, path, **options):
        if KEY in path:
            raise OSError(39, "Directory not empty", path)
        real(self, path, **options)

    monkeypatch.setattr(elsewhere, "rm", rm)

    def run(*arguments):
        return CliRunner().invoke(command, ["--store", url, *arguments], catch_exceptions=False)

    for arguments in (("gc", "--yes"), ("rm", KEY, OTHER_KEY)):
        result = run(*arguments)
        assert result.exit_code == 1
        assert OTHER_KEY[:12] in result.stdout
        *_, left = result.stderr.splitlines()
        assert left.startswith("not removed: ab")
        assert f"{url}/ab/{KEY} cannot be removed while somebody writes to it: try again" in left
        assert t["files_under"](tmp_path / "store" / "cd") == []
        filled.publish(files := model_files(tmp_path / "again"), manifest_of(files, OTHER_KEY))


def test_gc_shows_first_and_removes_when_told(run, filled, tmp_path):
    t["age"](tmp_path / "store", 100 * 86_400)
    shown = run("gc", "--keep", "cd")
    assert f"artifact  ab/{KEY}" in shown.stdout
    assert "would be removed" in shown.stderr
    assert filled.get(KEY) is not None
    done = run("gc", "--keep", "cd", "--yes")
    assert "1 things" in done.stderr
    assert filled.get(KEY) is None
    assert filled.get(OTHER_KEY) is not None
    assert run("gc", "--older-than", "200d", "--max-size", "1B", "--yes").stderr.startswith("1 things")


def test_failures_are_listed(run, store, tmp_path):
    (tmp_path / "log").write_text("no")

    def describe(path):
        return Failure("no such op", "E10016", None, None, None, None, path, "2026", {}, "net@Ascend310P3")

    store.keep_failure(KEY, tmp_path / "log", describe)
    line = run("failures").stdout.splitlines()[1]
    assert line.split()[:4] == ["ab0000000000", "net@Ascend310P3", "2026", "E10016"]
    (told,) = json.loads(run("failures", "--json").stdout)
    assert (told["key"], told["cause"]) == (KEY, "no such op")


@pytest.mark.parametrize("told", [KEY[:12], "net@Ascend310P3"])
def test_rm_forgets_a_failure_by_what_the_list_shows(run, store, tmp_path, told):
    (tmp_path / "log").write_text("no")

    def describe(path):
        return Failure("no such op", None, None, None, None, None, path, "2026", {}, "net@Ascend310P3")

    store.keep_failure(KEY, tmp_path / "log", describe)
    assert run("rm", told).stdout == f"removed {KEY[:12]}\n"
    assert list(store.failures()) == []


def test_rm_means_the_artifact_where_a_failure_has_the_same_target(run, filled, tmp_path):
    (tmp_path / "log").write_text("no")
    filled.keep_failure(
        "ef" * 32,
        tmp_path / "log",
        lambda path: Failure("no", None, None, None, None, None, path, "2026", {}, "net@Ascend310P3"),
    )
    assert run("rm", "net@Ascend310P3").stdout == f"removed {KEY[:12]}\n"
    assert [key for key, _ in filled.failures()] == ["ef" * 32]


def test_the_store_of_the_environment_is_the_default(filled, monkeypatch):
    monkeypatch.setenv("ASCEND_SERVE_STORE", filled.url)
    assert KEY[:12] in CliRunner().invoke(command, ["ls"], catch_exceptions=False).stdout


def test_sizes_and_ages_have_units():
    assert [size("1"), size("2KiB"), size("1.5 GiB"), size("3MB")] == [1, 2048, 3 << 29, 3_000_000]
    assert [age("30d"), age("1.5h"), age("2w")] == [2_592_000, 5400, 1_209_600]
    assert [shown_size(n) for n in (0, 1023, 1024, 3 << 29)] == ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]


@pytest.mark.parametrize(
    ("option", "wrong"), [("--older-than", "30"), ("--older-than", "x"), ("--max-size", "1 PiB")]
)
def test_a_wrong_amount_names_the_units(run, option, wrong):
    result = run("gc", option, wrong)
    assert result.exit_code == 2
    assert "give a number with a unit (" in result.stderr

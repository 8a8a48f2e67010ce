import sys
from pathlib import Path

import pytest

from ascend_serve import env
from ascend_serve.compiling import toolchain
from ascend_serve.compiling.toolchain import check_one_kind, find_atc, fingerprint
from ascend_serve.errors import ToolchainMismatch, ToolMissing
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit


def program(path, says="usage"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Every place atc is looked for, in order, all empty."""
    root, path, scripts = tmp_path / "cann", tmp_path / "path", tmp_path / "venv" / "bin"
    monkeypatch.setenv("ASCEND_HOME_PATH", str(root))
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("ASCEND_SERVE_ATC", raising=False)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda _: str(scripts))
    return [root / "bin" / "atc", root / "compiler" / "bin" / "atc", path / "atc", scripts / "atc"]


def test_the_places_are_searched_in_order(places):
    for place in reversed(places):
        program(place)
        assert find_atc() == place


def test_an_explicit_setting_is_the_only_place(places, tmp_path, monkeypatch):
    program(places[0])
    set_one = program(tmp_path / "mine" / "atc-8")
    assert find_atc(set_one) == set_one
    monkeypatch.setenv("ASCEND_SERVE_ATC", str(set_one))
    assert find_atc() == set_one
    monkeypatch.setenv("ASCEND_SERVE_ATC", str(tmp_path / "gone"))
    with pytest.raises(ToolMissing, match="gone, which is no program"):
        find_atc()


def test_a_missing_atc_names_every_place(places):
    with pytest.raises(ToolMissing) as caught:
        find_atc()
    for word in ("$ASCEND_HOME_PATH", str(places[0].parents[1]), "PATH", str(places[3].parent), "set_env.sh"):
        assert word in str(caught.value)


def test_the_fingerprint_tells_releases_apart_and_not_folders(tmp_path):
    def install(name, help_text="options", version="8.0.0"):
        atc = program(tmp_path / name / "bin" / "atc", help_text)
        info = tmp_path / name / "compiler" / "version.info"
        info.parent.mkdir()
        info.write_text(f"Version={version}\ninstall_path=/opt/{name}\n")
        return fingerprint(atc)

    first = install("a")
    assert install("b") == first
    assert install("c", help_text="more options") != first
    assert install("d", version="8.1.0") != first


def test_an_atc_near_the_root_of_the_filesystem_has_a_fingerprint(monkeypatch):
    def run(arguments, *, cwd, log, timeout_s):
        log.write_text("usage")
        return 0

    monkeypatch.setattr(toolchain, "run", run)
    assert len(fingerprint(Path("/etc"))) == 64


def test_one_kind_of_tools(monkeypatch):
    monkeypatch.setattr(env, "acl_installed", lambda: True)
    monkeypatch.setattr(env, "acl_distribution", lambda: ("some-acl", "2"))
    check_one_kind(Toolchain("some-acl", "1"), Path("/x/atc"))
    with pytest.raises(ToolchainMismatch, match=r"/x/atc is of CANN 8.*some-acl 2.*ASCEND_SERVE_ATC"):
        check_one_kind(Toolchain("CANN", "8"), Path("/x/atc"))
    monkeypatch.setattr(env, "acl_installed", lambda: False)
    check_one_kind(Toolchain("CANN", "8"), Path("/x/atc"))

import ast
import inspect
import sys
from pathlib import Path

import pytest

from ascend_serve import env
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An import path of one empty folder."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.delitem(sys.modules, "acl", raising=False)
    env.acl_distribution.cache_clear()
    yield tmp_path
    env.acl_distribution.cache_clear()


def package(folder):
    (folder / "acl").mkdir(parents=True)
    (folder / "acl" / "__init__.py").write_text("raise SystemExit('acl was imported')\n")
    return folder


def distribution(site, record, name="some_acl", version="1.2"):
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{line},,\n" for line in record))


def test_no_acl_at_all(site):
    assert not env.acl_installed()
    assert env.acl_distribution() is None


def test_an_installed_acl_names_its_distribution_without_being_imported(site):
    package(site)
    distribution(site, ["acl/__init__.py"])
    distribution(site, ["other/__init__.py"], name="another")
    assert env.acl_installed()
    assert env.acl_distribution() == ("some_acl", "1.2")
    assert "acl" not in sys.modules


def test_an_editable_install_is_found_through_its_path_file(site, monkeypatch):
    source = package(site / "checkout" / "emulation")
    (site / "_outer.pth").write_text(f"{site}/checkout\n")
    (site / "_inner.pth").write_text(f"{source}\n")
    distribution(site, ["_outer.pth"], name="outer")
    distribution(site, ["_inner.pth"], name="inner")
    monkeypatch.setattr(sys, "path", [str(site), str(source)])
    assert env.acl_distribution() == ("inner", "1.2")


def test_an_acl_in_front_of_the_installed_one_belongs_to_nobody(site, monkeypatch):
    package(site)
    distribution(site, ["acl/__init__.py"])
    front = package(site / "cann" / "python")
    monkeypatch.setattr(sys, "path", [str(front), str(site)])
    assert env.acl_installed()
    assert env.acl_distribution() is None


def test_what_lies_under_canns_root_is_canns(site, monkeypatch):
    package(site)
    distribution(site, ["acl/__init__.py"])
    monkeypatch.setenv("ASCEND_HOME_PATH", str(site))
    assert env.acl_distribution() is None


def test_defaults_and_settings(monkeypatch, tmp_path):
    for variable in env.VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    assert env.store_url() == str(Path.home() / ".cache" / "ascend_serve" / "artifacts")
    assert env.cache_folder() == Path.home() / ".cache" / "ascend_serve" / "cache"
    assert env.cache_limit_bytes() == 20 << 30
    assert (env.explicit_atc(), env.cann_root(), env.ray_address()) == (None, None, None)
    assert (env.search_path(), env.build_influences()) == ("", {})
    monkeypatch.setenv("ASCEND_SERVE_STORE", "~/store")
    monkeypatch.setenv("ASCEND_SERVE_ATC", "/x/atc")
    monkeypatch.setenv("TUNE_BANK_PATH", "/bank")
    assert env.store_url() == "~/store"
    assert env.explicit_atc() == "/x/atc"
    assert env.build_influences() == {"TUNE_BANK_PATH": "/bank"}


def test_the_size_of_the_cache_is_a_whole_number(monkeypatch):
    monkeypatch.setenv("ASCEND_SERVE_CACHE_BYTES", "1000")
    assert env.cache_limit_bytes() == 1000
    monkeypatch.setenv("ASCEND_SERVE_CACHE_BYTES", "1 GB")
    with pytest.raises(ConfigError, match="'1 GB': give a whole number of bytes"):
        env.cache_limit_bytes()


def test_every_variable_that_is_read_stands_in_the_table():
    listed = {variable.name for variable in env.VARIABLES}
    assert len(listed) == len(env.VARIABLES)
    assert all(variable.meaning.endswith(".") for variable in env.VARIABLES)
    tree = ast.parse(inspect.getsource(env))
    read = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "os.environ.get"
        and isinstance(node.args[0], ast.Constant)
    }
    assert read
    assert read <= listed

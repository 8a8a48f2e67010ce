"""Models whose weights lie in files (GE: file_constant_utils.cc; docs: CLI_options/--external_weight.md)."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import acl
import numpy as np
import pytest

from tests.contract.models import Loaded, compiled

pytestmark = pytest.mark.contract

NETWORK = """net (float[2,4] x) => (float[2,3] y)
<float[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3] b = {1,2,3}> { h = MatMul(x, w) y = Add(h, b) }"""
X = np.arange(8, dtype=np.float32).reshape(2, 4)
Y = X @ np.arange(1, 13, dtype=np.float32).reshape(4, 3) + np.array([1, 2, 3], np.float32)
FROM_MEMORY = 3
LOAD_TYPE, ADDRESS, BYTES, WEIGHT_PATH = 1, 3, 4, 14


@pytest.fixture(scope="module", params=["1", "2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return compiled(folder, "net", NETWORK, "--input_shape=x:2,4", f"--external_weight={request.param}")


@pytest.fixture
def om(made: Path, tmp_path: Path) -> Path:
    """A copy of the model and its weights, which the test may move and damage."""
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / made.name


@pytest.fixture
def config(device: int) -> Iterator[int]:
    handle = acl.mdl.create_config_handle()
    yield handle
    assert acl.mdl.destroy_config_handle(handle) == 0


def check(model: int) -> None:
    loaded = Loaded(model)
    loaded.put(0, X)
    assert loaded.run() == 0
    assert np.allclose(loaded.take((2, 3)), Y)
    loaded.close()


def free_bytes() -> int:
    return max(acl.rt.get_mem_info(kind)[0] for kind in (0, 1))


def load_from_memory(config: int, om: Path, folder: str) -> tuple[int, int]:
    content, path = om.read_bytes(), folder.encode() + b"\0"
    for attribute, value in (
        (LOAD_TYPE, FROM_MEMORY),
        (ADDRESS, acl.util.bytes_to_ptr(content)),
        (BYTES, len(content)),
        (WEIGHT_PATH, acl.util.bytes_to_ptr(path)),
    ):
        assert acl.mdl.set_config_opt(config, attribute, value) == 0
    found: tuple[int, int] = acl.mdl.load_with_config(config)
    return found


def test_a_file_finds_its_weights_beside_it(device: int, om: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(om.parent)
    model, ret = acl.mdl.load_from_file(om.name)
    assert ret == 0, acl.get_recent_err_msg()
    check(model)


def test_a_link_finds_them_beside_the_file(device: int, om: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.om"
    link.parent.mkdir()
    link.symlink_to(om)
    model, ret = acl.mdl.load_from_file(str(link))
    assert ret == 0, acl.get_recent_err_msg()
    check(model)


def test_memory_finds_them_where_the_configuration_says(config: int, om: Path, tmp_path: Path) -> None:
    moved = om.parent / "moved"
    (om.parent / "weight").rename(moved)
    model, ret = load_from_memory(config, om, str(moved))
    assert ret == 0, acl.get_recent_err_msg()
    check(model)


def test_memory_alone_looks_in_the_working_directory(
    device: int, om: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GetExternalWeightDirFromOmPath: without a path of the model the names of the files stay as they are."""
    content = om.read_bytes()
    assert acl.mdl.load_from_mem(acl.util.bytes_to_ptr(content), len(content))[1] != 0
    monkeypatch.chdir(om.parent / "weight")
    model, ret = acl.mdl.load_from_mem(acl.util.bytes_to_ptr(content), len(content))
    assert ret == 0, acl.get_recent_err_msg()
    check(model)


@pytest.mark.usefixtures("emulator")
def test_a_missing_file_of_weights(device: int, om: Path) -> None:
    weight = sorted((om.parent / "weight").iterdir())[0]
    weight.unlink()
    before = free_bytes()
    assert acl.mdl.load_from_file(str(om)) == (0, 500002)
    assert "E13001" in acl.get_recent_err_msg()
    assert free_bytes() == before


@pytest.mark.usefixtures("emulator")
def test_a_file_of_weights_that_is_too_short(device: int, om: Path) -> None:
    for weight in (om.parent / "weight").iterdir():
        weight.write_bytes(weight.read_bytes()[:8])
    assert acl.mdl.load_from_file(str(om)) == (0, 500002)
    assert "E19999: weight" in acl.get_recent_err_msg()


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    "damage",
    [
        {"file": "no\0file"},
        {"file": ""},
        {"offset": -1},
        {"length": -1},
        {"length": 1 << 62},
        {"offset": 4, "length": 4},
    ],
)
def test_a_damaged_place_of_a_weight_fails_the_load(
    device: int, om: Path, damage: dict[str, int | str]
) -> None:
    from ascend_emulator.om import read_om, write_om

    model = read_om(om.read_bytes())
    first, *others = model.file_constants
    damaged = replace(model, file_constants=(replace(first, **damage), *others))
    om.write_bytes(write_om(damaged))
    loaded, ret = acl.mdl.load_from_file(str(om))
    assert loaded == 0
    assert ret in (500002, 545001)


@pytest.mark.usefixtures("emulator")
def test_weights_take_memory_of_the_card_though_the_file_asks_for_none(device: int, om: Path) -> None:
    work, weights, ret = acl.mdl.query_size(str(om))
    assert (weights, ret) == (0, 0)
    before = free_bytes()
    model, ret = acl.mdl.load_from_file(str(om))
    assert ret == 0
    assert before - free_bytes() == work + 12 * 4 + 3 * 4
    assert acl.mdl.unload(model) == 0
    assert free_bytes() == before


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("path", ["x" * 5000, "none"])
def test_a_path_of_weights_that_is_none(config: int, om: Path, path: str) -> None:
    model, ret = load_from_memory(config, om, path)
    assert model == 0
    assert ret == (500002 if path == "none" else 100000)

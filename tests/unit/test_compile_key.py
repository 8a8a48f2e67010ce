"""What makes another artifact of the same model, and that a build keeps to the key it began with."""

import runpy
import shutil
import stat
from pathlib import Path

import pytest

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.toolchain import find_atc
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc

pytestmark = pytest.mark.unit

NETS = runpy.run_path(str(Path(__file__).with_name("onnx_nets.py")))
SOC = "Ascend310P3"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"network")
    return tmp_path


def key_of(folder, **settings):
    recipe = CompileRecipe.parse({"name": "net", "source": str(folder / "net.onnx")} | settings)
    return artifact_key(recipe, resolve_soc(SOC), "tools", {})


def test_what_atc_does_anyway_may_be_said(folder):
    assert key_of(folder, mode=0, framework="onnx") == key_of(folder)


def test_a_file_or_folder_of_an_extra_argument_counts_by_its_content(folder):
    for name in ("a", "b"):
        (folder / name / "tables").mkdir(parents=True)
        (folder / name / "tables/one").write_text("1")
    first, other = ({"extra_args": [f"--odd_dir={folder / name}"]} for name in ("a", "b"))
    key = key_of(folder, **first)
    assert key_of(folder, **other) == key
    (folder / "b/tables/one").write_text("2")
    assert key_of(folder, **other) != key


def test_what_passed_other_bounds_or_none_is_another_artifact(folder):
    inputs = folder / "data.npz"
    inputs.write_bytes(b"one")
    verified = {"verify": {"min_cosine": 0.9, "inputs": str(inputs)}}
    keys = [
        key_of(folder),
        key_of(folder, verify={}),
        key_of(folder, verify={"min_cosine": 0.9}),
        key_of(folder, **verified),
    ]
    moved = shutil.copy(inputs, folder / "moved.npz")
    assert key_of(folder, verify={"min_cosine": 0.9, "inputs": str(moved)}) == keys[-1]
    inputs.write_bytes(b"two")
    keys.append(key_of(folder, **verified))
    assert len(set(keys)) == len(keys)
    inputs.unlink()
    with pytest.raises(ConfigError, match=r"verify\.inputs names .*data\.npz, which does not exist"):
        key_of(folder, **verified)


def test_a_model_that_changes_while_it_is_compiled_is_not_published(tmp_path):
    """A build may wait for another for long, and has its key from before: what it compiles then is another model."""
    recipe = NETS["recipe_of"](tmp_path, NETS["CHAIN"], inputs={"image": [-1, 8, 2, 2]}, gears=[1, 2])
    meddler = tmp_path / "atc"
    meddler.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --help ] || printf "\\022\\004test" >> {recipe.source}\n'
        f'exec {find_atc(None)} "$@"\n'
    )
    meddler.chmod(meddler.stat().st_mode | stat.S_IXUSR)
    store = Store(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"net@Ascend310P3: .*changed while it was compiled"):
        compile_target(recipe, SOC, store, atc=meddler)
    assert list(store.manifests()) == []
    assert list(store.failures()) == []

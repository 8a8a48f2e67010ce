"""Bring your own: a compiled file becomes an artifact."""

import runpy
from pathlib import Path

import pytest

from ascend_serve.artifacts.importing import import_om
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ArtifactMissing, ConfigError, NotAnOm

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def written(tmp_path, data, name="vendor.om"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def with_external_weights(told_by):
    """A model that says of its weights in its command line, or in its graph."""
    inputs, outputs = [("x", 0, (1, 3))], [("y", 0, (1, 2))]
    option = "--external_weight=1 " if told_by == "command" else ""
    attrs = [
        ("soc_version", "Ascend310P3"),
        ("atc_cmdline", f"atc --model=m.onnx {option}--soc_version=Ascend310P3"),
    ]
    ops = [w["op"]("w", "FileConstant", [("location", "weight/weight_ab12")])] if told_by == "graph" else []
    definition = w["model_def"](attrs, ops)
    return w["container"]([[(8, w["summary"](inputs, outputs)), (0, definition), (1, b"w")]])


def test_a_model_with_gears_tells_everything_itself(store, tmp_path):
    om = written(tmp_path, w["gear_model"]())
    artifact = import_om(store, om)
    manifest = artifact.manifest
    assert (manifest.name, manifest.soc, manifest.origin) == ("vendor", "Ascend310P3", "imported")
    assert [file.name for file in manifest.files] == ["vendor.om"]
    assert artifact.spec.gears.sizes == (1, 4)
    assert str(artifact.toolchain) == "CANN 7.6.0"
    assert (manifest.recipe, manifest.verification) == ({}, None)
    assert (manifest.details["gears"]["kind"], manifest.details["gears"]["groups"]) == ("batch", [[4], [1]])
    assert artifact.fetch().read_bytes() == om.read_bytes()
    assert store.get(manifest.key) == artifact


def test_a_static_model_is_batched_as_told(store, tmp_path):
    om = written(tmp_path, w["static_model"]([("x", 0, (4, 3))], [("y", 0, (4, 2))]))
    assert import_om(store, om).spec.gears.sizes == (4,)
    single = import_om(store, om, batched=False)
    assert single.spec.gears.sizes == (1,)
    assert len(list(store.manifests())) == 2


def test_the_same_again_is_the_same_artifact_and_another_name_another(store, tmp_path):
    om = written(tmp_path, w["gear_model"]())
    first = import_om(store, om)
    assert import_om(store, om) == first
    (tmp_path / "elsewhere").mkdir()
    assert import_om(store, om.rename(tmp_path / "elsewhere/vendor.om")) == first
    named = import_om(store, tmp_path / "elsewhere/vendor.om", name="net-2")
    assert named.manifest.key != first.manifest.key
    assert named.spec.name == "net-2"
    assert named.fetch().name == "net-2.om"


def test_a_file_that_does_not_tell_its_soc_needs_to_be_told(store, tmp_path):
    om = written(tmp_path, w["static_model"]([("x", 0, (1, 3))], [("y", 0, (1, 2))], soc=""))
    with pytest.raises(ConfigError, match="does not tell the SoC"):
        import_om(store, om)
    with pytest.raises(ConfigError, match="nearest: Ascend310"):
        import_om(store, om, soc="Ascend31")
    assert import_om(store, om, soc="Ascend310").soc == "Ascend310"


def test_another_soc_than_the_files_own_is_refused(store, tmp_path):
    om = written(tmp_path, w["gear_model"]())
    assert import_om(store, om, soc="Ascend310P3").soc == "Ascend310P3"
    with pytest.raises(ConfigError, match="compiled for Ascend310P3, not for Ascend910B3"):
        import_om(store, om, soc="Ascend910B3")


def test_what_cannot_be_served_is_kept_with_the_reason(store, tmp_path):
    om = written(tmp_path, w["static_model"]([("x", 0, (-1, 3))], [("y", 0, (-1, 2))]))
    artifact = import_om(store, om)
    assert "open shapes" in artifact.manifest.unservable
    with pytest.raises(ConfigError, match="open shapes"):
        _ = artifact.spec
    assert artifact.fetch().is_file()


def test_a_folder_of_weights_that_is_empty_is_named(store, tmp_path):
    om = written(tmp_path, w["gear_model"]())
    with pytest.raises(ArtifactMissing, match=r"no file in .*none, where the weights of"):
        import_om(store, om, companions=tmp_path / "none")


@pytest.mark.parametrize("told_by", ["command", "graph"])
def test_external_weights_come_along(store, tmp_path, told_by):
    om = written(tmp_path, with_external_weights(told_by))
    with pytest.raises(ArtifactMissing, match=r"external weights.*no file in"):
        import_om(store, om)
    (tmp_path / "weight").mkdir()
    (tmp_path / "weight/weight_ab12").write_bytes(b"1234")
    artifact = import_om(store, om)
    assert [file.name for file in artifact.manifest.files] == ["vendor.om", "weight/weight_ab12"]
    assert (artifact.fetch().parent / "weight/weight_ab12").read_bytes() == b"1234"
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "weight").rename(elsewhere)
    assert import_om(store, om, companions=elsewhere) == artifact


def test_a_folder_called_weight_is_nothing_to_a_model_without_any(store, tmp_path):
    om = written(tmp_path, w["gear_model"]())
    (tmp_path / "weight").mkdir()
    (tmp_path / "weight/other").write_bytes(b"1234")
    assert len(import_om(store, om).manifest.files) == 1


def test_what_is_no_model_is_refused_by_name(store, tmp_path):
    with pytest.raises(NotAnOm, match=r"vendor\.om: "):
        import_om(store, written(tmp_path, b"PK\3\4"))
    with pytest.raises(ArtifactMissing, match=r"gone\.om"):
        import_om(store, tmp_path / "gone.om")
    with pytest.raises(ConfigError, match="cannot name a model"):
        import_om(store, written(tmp_path, w["gear_model"]()), name="a/b")
    assert not (tmp_path / "store").exists()

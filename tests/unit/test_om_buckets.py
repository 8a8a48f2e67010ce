"""Compiled models with gears of image sizes or of any dims: how they are served, and what manifests keep of it."""

import runpy
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from ascend_serve.artifacts.artifact import ready_made
from ascend_serve.artifacts.importing import import_om
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.om.reading import read_om
from ascend_serve.artifacts.om.report import differences, report
from ascend_serve.artifacts.om.text import sections
from ascend_serve.artifacts.store import Store
from ascend_serve.errors import ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))
t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
HIDDEN = ("ascend_mbatch_shape_data", 3, (4,))


def model(inputs, outputs, gears, gear_dims, **told):
    """A model as current ATC writes it; `gear_dims` are outputs' shapes as `gear,output,d0,…`."""
    summary = w["summary"]([*inputs, HIDDEN], outputs, gears, gear_dims, told.pop("order", ()))
    attrs = [("soc_version", "Ascend310P3")]
    return w["container"]([[(8, summary), (0, w["model_def"](attrs, told.pop("ops", ())))]], **told)


def images(gear_dims=("0,0,2,9,4,6", "1,0,2,9,2,3", "-1,1,2,5")):
    """Two images at once, of two sizes; the first output is as large as they are."""
    return model(
        [("image", 4, (2, 3, -1, -1)), ("scale", 0, (2, 1))],
        [("net:0:map", 0, (2, 9, 4, 6)), ("net:1:score", 1, (2, 5))],
        [(4, 6), (2, 3)],
        gear_dims,
    )


def words(order=("mask", "ids")):
    """Batch and length of two inputs, which the user gave in another order than the model's."""
    gears = [(4, 16, 4, 16), (1, 64, 1, 64), (1, 16, 1, 16)]
    dims = [f"{gear},0,{n},{length},8" for gear, (n, length, *_) in enumerate(gears)]
    return model(
        [("ids", 9, (-1, -1)), ("mask", 9, (-1, -1))],
        [("net:0:hidden", 0, (4, 16, 8))],
        gears,
        dims,
        order=order,
    )


def test_image_gears_are_buckets_of_the_fixed_batch():
    spec = read_om(images()).model_spec("net")
    assert (spec.batched, spec.free, spec.gears) == (True, True, Gears((2,)))
    assert [(tensor.name, tensor.shape) for tensor in (*spec.inputs, *spec.outputs)] == [
        ("image", (-1, 3, -1, -1)),
        ("scale", (-1, 1)),
        ("map", (-1, 9, -1, -1)),
        ("score", (-1, 5)),
    ]
    assert spec.buckets == (
        Bucket(Gears((2,)), {"image": (3, 2, 3), "scale": (1,), "map": (9, 2, 3), "score": (5,)}),
        Bucket(Gears((2,)), {"image": (3, 4, 6), "scale": (1,), "map": (9, 4, 6), "score": (5,)}),
    )


def test_dims_gears_share_buckets_that_differ_in_rows():
    spec = read_om(words()).model_spec("net")
    assert [
        (bucket.gears.sizes, bucket.shapes["ids"], bucket.shapes["hidden"]) for bucket in spec.buckets
    ] == [
        ((1, 4), (16,), (16, 8)),
        ((1,), (64,), (64, 8)),
    ]


def test_sizes_that_do_not_fit_the_open_axes_are_not_guessed_at():
    om = read_om(model([("x", 0, (-1, 80))], [("net:0:text", 3, (7,))], [(100, 1), (200, 1)], ["-1,0,7"]))
    with pytest.raises(ConfigError, match="does not tell the shape of 'x'"):
        om.model_spec("net")  # two sizes for one open axis


@pytest.mark.parametrize("batched", [None, False])
def test_a_model_that_is_not_batched_takes_whole_tensors(batched):
    gears = [(1, 100, 1), (1, 200, 1)]
    om = read_om(model([("x", 0, (-1, -1, -1))], [("net:0:text", 3, (7,))], gears, ["-1,0,7"]))
    spec = om.model_spec("net", batched)
    assert (spec.batched, spec.gears) == (False, Gears((1,)))
    assert [spec.shape_at("x", bucket, 1) for bucket in (0, 1)] == gears
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == ((1, -1, 1), (7,))
    with pytest.raises(ConfigError, match=r"cannot be batched: .*x .*text .*set batched to false"):
        om.model_spec("net", batched=True)


def test_a_batched_model_can_be_said_not_to_be():
    spec = read_om(words()).model_spec("net", batched=False)
    assert [bucket.gears.sizes for bucket in spec.buckets] == [(1,)] * 3
    assert spec.inputs[0].shape == (-1, -1)
    assert not spec.inputs[0].batched


def test_outputs_whose_shapes_the_file_does_not_tell_are_not_guessed():
    om = read_om(images(gear_dims=("0,0,2,9,4,6", "-1,1,2,5")))
    with pytest.raises(ConfigError, match="does not tell the shape of 'map' at each of its gears"):
        om.model_spec("net")


def test_aipp_that_is_set_for_each_run_is_not_served():
    data = w["op"](
        "image",
        "Data",
        [("index", 0), ("_data_related_aipp_mode", "dynamic_aipp")],
        [w["desc"](4, (2, 3, 4, 6))],
    )
    om = read_om(model([("image", 4, (2, 3, 4, 6))], [("y", 0, (2, 5))], (), (), ops=[data]))
    with pytest.raises(
        ConfigError, match=r"AIPP that is set for each run \(image\); compile it with static AIPP"
    ):
        om.model_spec("net")


def test_images_are_sent_as_they_lie_in_memory():
    """NV12 has half as many rows again, for the colours."""
    data = model(
        [("image", 4, (-1, 8, 6, 3), (-1, 12, 6, 1))],
        [("net:0:y", 0, (4, 2))],
        [1, 4],
        ["0,0,1,2", "1,0,4,2"],
    )
    spec = read_om(data).model_spec("net")
    assert (spec.inputs[0].shape, spec.gears.sizes) == ((-1, 12, 6, 1), (1, 4))
    static = read_om(w["static_model"]([("image", 4, (2, 8, 6, 3), (2, 12, 6, 1))], [("y", 0, (2, 5))]))
    assert static.model_spec("net").inputs[0].shape == (-1, 12, 6, 1)


def test_image_gears_of_images_that_lie_otherwise_are_not_guessed_at():
    sizes = [("image", 4, (1, -1, -1, 3), (1, -1, -1, 1))]
    om = read_om(model(sizes, [("net:0:y", 0, (1, 2))], [(4, 4), (8, 6)], ["-1,0,1,2"]))
    with pytest.raises(
        ConfigError,
        match=r"images for 'image' lie in memory as \[1, -1, -1, 1\].* with the input_format RGB888_U8",
    ):
        om.model_spec("net")


@pytest.mark.parametrize("batched", [None, False])
def test_manifests_keep_buckets(tmp_path, batched):
    spec = read_om(words()).model_spec("net", batched)
    manifest = replace(t["manifest_of"](t["model_files"](tmp_path)), spec=spec)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_manifests_of_models_with_one_bucket_are_as_before(tmp_path):
    told = orjson.loads(t["manifest_of"](t["model_files"](tmp_path)).to_json())
    assert told["spec"].keys() == {"name", "inputs", "outputs", "gears"}
    assert all(tensor.keys() == {"name", "datatype", "shape"} for tensor in told["spec"]["inputs"])


def test_an_import_is_not_taken_for_one_from_when_it_could_not_be_served(tmp_path):
    store = Store(tmp_path / "store")
    path = tmp_path / "net.om"
    path.write_bytes(images())
    artifact = import_om(store, path)
    assert artifact.spec.free
    assert import_om(store, path).manifest == artifact.manifest


def test_an_artifact_tells_the_order_in_which_gears_count(tmp_path):
    path = tmp_path / "net.om"
    path.write_bytes(words())
    assert ready_made(path, "net").input_order == ("mask", "ids")
    artifact = import_om(Store(tmp_path / "store"), path)
    assert artifact.input_order == ("mask", "ids")
    # As manifests were before.
    older = replace(artifact.manifest, details={}, recipe={"inputs": {"ids": [-1, -1], "mask": [-1, -1]}})
    assert replace(artifact, manifest=older).input_order == ("ids", "mask")
    assert replace(artifact, manifest=replace(older, recipe={})).input_order == ()
    partly = replace(older, recipe={"inputs": {"mask": [-1, -1], "another": [1]}})
    assert replace(artifact, manifest=partly).input_order == ("mask", "ids")


def test_a_report_tells_how_a_model_is_served():
    served = report(read_om(words()))["serving"]
    assert served["batched"] is True
    assert served["buckets"][0] == {
        "gears": [1, 4],
        "inputs": {"ids": [16], "mask": [16]},
        "outputs": {"hidden": [16, 8]},
    }
    refused = report(read_om(w["static_model"]([("x", 0, (-1, 3))], [("y", 0, (-1, 2))])))["serving"]
    assert (refused["batched"], refused["buckets"]) == (None, [])
    assert "open shapes" in refused["reason"]


def shown(data: bytes) -> list[tuple[str, str]]:
    return [row for part in sections(report(read_om(data))) if part.title == "Serving" for row in part.rows]


def test_people_read_how_a_model_is_served():
    assert shown(words()) == [
        ("a run takes", "rows of several requests"),
        ("1, 4 rows of", "ids [16], mask [16] -> hidden [16, 8]"),
        ("1 row of", "ids [64], mask [64] -> hidden [64, 8]"),
    ]
    assert shown(w["static_model"]([("x", 0, (3,))], [("y", 0, (2, 5))])) == [
        ("a run takes", "one request"),
        ("shapes", "x [3] -> y [2, 5]"),
    ]
    ((label, reason),) = shown(images(gear_dims=()))
    assert label == "not served"
    assert "does not tell the shape of 'map'" in reason


def test_how_models_are_served_is_no_difference_of_its_own():
    found = differences(read_om(images()), read_om(words()))
    assert not [item for item in found if item.field.startswith("serving")]

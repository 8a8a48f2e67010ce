"""Which builds a run consists of, and how large they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import SOCS
from compile_jobs.jobs import AUTO, Job, jobs_of

pytestmark = pytest.mark.unit

NAMES = st.lists(st.sampled_from(sorted(SOCS)), max_size=4)


def recipe(name="net", **settings):
    return CompileRecipe.parse({"name": name, "source": "/gone/net.onnx"} | settings)


def labels(jobs):
    return [job.label for job in jobs]


@given(asked=NAMES, automatic=st.booleans(), in_cluster=NAMES, targets=NAMES)
def test_each_recipe_is_wanted_for_what_was_asked_and_what_auto_stands_for(
    asked, automatic, in_cluster, targets
):
    recipes = [recipe("a", targets=targets), recipe("b", targets=targets)]
    socs = {*asked, *(in_cluster + targets if automatic else [])}
    told = [*asked, AUTO] if automatic else asked
    if not socs:
        with pytest.raises(ConfigError, match="recipe 'a': no SoC to compile for"):
            jobs_of(recipes, told, in_cluster)
        return
    jobs = labels(jobs_of(recipes, told, in_cluster))
    assert sorted(jobs) == sorted(f"{name}@{soc}" for name in "ab" for soc in socs)
    assert [label[0] for label in jobs] == ["a"] * len(socs) + ["b"] * len(socs)


def test_another_name_of_a_soc_is_the_same_target():
    assert labels(jobs_of([recipe()], ["Ascend910", "Ascend910A"], ())) == ["net@Ascend910A"]


def test_a_recipe_given_twice_is_built_once():
    assert labels(jobs_of([recipe(), recipe()], ["Ascend310P3"], ())) == ["net@Ascend310P3"]
    assert len(jobs_of([recipe(), recipe(precision="fp32")], ["Ascend310P3"], ())) == 2


def test_an_unknown_soc_is_named():
    with pytest.raises(ConfigError, match="unknown SoC 'Ascend310P9'"):
        jobs_of([recipe()], ["Ascend310P9"], ())


def test_memory_is_the_recipes_or_grows_with_all_files_of_the_model(tmp_path, external_model):
    size = sum(path.stat().st_size for path in external_model.parent.iterdir())
    assert size > 2 * external_model.stat().st_size  # most of it lies beside the model

    def memory(**settings):
        (job,) = jobs_of([recipe(**settings)], ["Ascend310P3"], ())
        return job.memory_bytes

    assert memory(source=str(external_model)) == (1 << 30) + 4 * size
    assert memory(source=str(external_model), memory_bytes=5) == 5
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(bytes(100))
    (folder / "variables/data").write_bytes(bytes(900))
    assert memory(source=str(folder)) == (1 << 30) + 4000
    (tmp_path / "net.prototxt").write_bytes(bytes(10))
    (tmp_path / "net.caffemodel").write_bytes(bytes(90))
    caffe = {"source": str(tmp_path / "net.prototxt"), "weight": str(tmp_path / "net.caffemodel")}
    assert memory(**caffe) == (1 << 30) + 400
    assert memory(source="/gone/net.onnx") == 1 << 30


def test_more_gears_are_more_work():
    shape = {"inputs": {"image": [-1, 3]}}
    works = [
        Job(recipe(**shape, gears=gears), "Ascend310P3", 100).expected_work for gears in ([1], [1, 2, 4])
    ]
    assert works == [100, 300]
    assert Job(recipe(), "Ascend310P3", 100).expected_work == 100


@pytest.fixture
def external_model(tmp_path):
    import numpy as np
    import onnx

    from tests.unit.onnx_nets import network

    model = network("net (float[N,64] image) => (float[N,64] y) <float[64,64] w> { y = MatMul(image, w) }")
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    path = tmp_path / "external" / "net.onnx"
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path

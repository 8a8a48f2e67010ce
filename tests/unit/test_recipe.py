import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe

pytestmark = pytest.mark.unit

BASE = {"name": "net", "source": "net.onnx"}
BATCHED = BASE | {"inputs": {"x": [-1, 3]}, "gears": [8, 1]}


def test_values_are_brought_into_normal_form():
    recipe = CompileRecipe.parse(BATCHED | {"targets": ["Ascend910", "Ascend310P3", "Ascend910A"]})
    assert recipe.gears == (1, 8)
    assert recipe.targets == ("Ascend910A", "Ascend310P3")
    assert recipe.batched
    assert not CompileRecipe.parse(BASE).batched


def test_recipes_travel_and_do_not_change():
    recipe = CompileRecipe.parse(BATCHED)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert CompileRecipe.parse(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([1], "a mapping of keys to values, not list"),
        (None, "not NoneType"),
        ({}, "'name' is missing.*'source' is missing"),
        (BASE | {"gear": [1]}, "unknown key 'gear'; did you mean 'gears'"),
        (BASE | {"xyzzy": 1}, "unknown key 'xyzzy'; known: extra_args, gears"),
        (BASE | {"name": "a.om"}, "name: .*'a.om'"),
        (BASE | {"precision": "fp61"}, "precision: .*'mixed'.*'fp61'"),
        (BASE | {"targets": ["Ascend310P9"]}, "unknown SoC 'Ascend310P9'"),
        (BASE | {"timeout_s": 0}, "timeout_s: .*greater than 0, not 0"),
        (BASE | {"inputs": {"x": [-1, 3]}}, "'x' has -1 at axis 0: give gears"),
        (BASE | {"gears": [1, 2]}, "gears need the inputs"),
        (BASE | {"inputs": {"x": [2, 3]}, "gears": [1, 2]}, "it is not for: x"),
        (BASE | {"inputs": {"x": [-1, 3], "y": []}, "gears": [1]}, "it is not for: y"),
        (BASE | {"inputs": {"x": [1, -1]}}, "only axis 0"),
        (BASE | {"inputs": {"x": [1, 0]}}, "at least 1"),
        (BASE | {"inputs": {"x": [1.5]}}, r"inputs\.x\.0"),
        (BASE | {"inputs": {"x;y": [1]}}, "separates inputs by ';'"),
        (BATCHED | {"gears": [2, 2]}, "each size may stand once"),
        (BATCHED | {"gears": [0]}, "at least 1"),
        (BATCHED | {"gears": ["4"]}, r"gears\.0.*'4'"),
        (BATCHED | {"gears": [True]}, r"gears\.0.*True"),
        (BATCHED | {"gears": list(range(1, 102))}, "at most 100"),
        (BATCHED | {"input_fp16_nodes": ["xx"]}, "'xx' is no input"),
        (BASE | {"extra_args": ["-sparsity=1"]}, "not of the form --option=value"),
        (BASE | {"extra_args": ["--sparsity"]}, "not of the form"),
        (BASE | {"extra_args": ["--soc_version=Ascend310P3"]}, "would set --soc_version"),
        (BASE | {"extra_args": ["--dynamic-batch=1,2"]}, "would set --dynamic_batch_size"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(settings, says):
    with pytest.raises(ConfigError, match=says) as caught:
        CompileRecipe.parse(settings, "net.yaml")
    assert str(caught.value).startswith("net.yaml: ")
    assert "\n" not in str(caught.value)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(CompileRecipe.model_fields)), VALUES, max_size=4))
def test_any_mapping_is_a_recipe_or_a_config_error(settings):
    try:
        recipe = CompileRecipe.parse(settings)
    except ConfigError:
        return
    assert CompileRecipe.parse(recipe.model_dump(mode="json")) == recipe

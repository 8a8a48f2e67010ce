import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe

pytestmark = pytest.mark.unit

BASE = {"name": "net", "source": "net.onnx"}
BATCHED = BASE | {"inputs": {"x": [-1, 3]}, "gears": [8, 1]}


def test_what_is_said_twice_counts_once_and_what_is_said_stays_as_it_is():
    recipe = CompileRecipe.parse(BATCHED | {"targets": ["Ascend910", "Ascend310P3", "Ascend910A"]})
    assert recipe.gears == (8, 1)
    assert recipe.targets == ("Ascend910", "Ascend310P3")


LENGTHS = {"inputs": {"x": [-1, 3]}, "dims_gears": [[4], [9]]}


@pytest.mark.parametrize(
    ("settings", "counts_rows"),
    [
        ({}, False),
        ({"batched": False}, False),
        (BATCHED, True),
        (BATCHED | {"batched": True}, True),
        (LENGTHS, None),
        (LENGTHS | {"batched": False}, False),
        (LENGTHS | {"batched": True}, True),
        ({"inputs": {"x": [1, 3, -1, -1]}, "image_gears": [[8, 8], [9, 9]]}, None),
    ],
)
def test_what_axis_0_counts_is_told_or_follows_from_the_gears(settings, counts_rows):
    assert CompileRecipe.parse(BASE | settings).counts_rows is counts_rows


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (BATCHED | {"batched": False}, "batched: false and gears exclude each other.*use dims_gears"),
        ({"batched": True}, "batched: true needs gears: write -1 at axis 0"),
    ],
)
def test_what_is_said_of_axis_0_must_fit_the_gears(settings, rule):
    with pytest.raises(ConfigError, match=rule):
        CompileRecipe.parse(BASE | settings)


def test_recipes_travel_and_do_not_change():
    recipe = CompileRecipe.parse(BATCHED)
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert again.said == recipe.said == (*BASE, "inputs", "gears")
    assert CompileRecipe.parse(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


def test_the_order_of_keys_makes_no_other_recipe():
    reordered = dict(reversed(BATCHED.items()))
    assert CompileRecipe.parse(reordered) == CompileRecipe.parse(BATCHED)
    assert CompileRecipe.parse(reordered).said == tuple(reordered)


@pytest.mark.parametrize(
    ("source", "framework"),
    [
        ("a/net.onnx", "onnx"),
        ("net.ONNX", "onnx"),
        ("net.pb", "tensorflow"),
        ("net.air", "mindspore"),
        ("models/saved", "saved_model"),
        ("models/saved/", "saved_model"),
        ("../v1.2/saved", "saved_model"),
    ],
)
def test_the_suffix_tells_the_framework(source, framework):
    assert CompileRecipe.parse(BASE | {"source": source}).framework_of() == framework


def test_the_framework_may_be_told():
    recipe = CompileRecipe.parse(BASE | {"source": "net.bin", "framework": "onnx"})
    assert recipe.framework_of() == "onnx"


def test_gears_fill_shapes_in_the_order_in_which_they_stand():
    recipe = CompileRecipe.parse(
        BASE | {"inputs": {"ids": [-1, -1], "k": [], "mask": [-1, 7]}, "dims_gears": [[1, 16, 1], [8, 64, 8]]}
    )
    assert list(recipe.gear_shapes()) == [
        {"ids": (1, 16), "k": (), "mask": (1, 7)},
        {"ids": (8, 64), "k": (), "mask": (8, 7)},
    ]
    assert (recipe.gear_kind, recipe.gear_sizes) == ("dims", ((1, 16, 1), (8, 64, 8)))


def test_batch_and_image_gears_hold_for_every_open_input():
    batch = CompileRecipe.parse(BASE | {"inputs": {"x": [-1, 3], "y": [5], "z": [-1]}, "gears": [2, 4]})
    assert list(batch.gear_shapes()) == [
        {"x": (2, 3), "y": (5,), "z": (2,)},
        {"x": (4, 3), "y": (5,), "z": (4,)},
    ]
    image = CompileRecipe.parse(
        BASE | {"inputs": {"a": [1, 3, -1, -1], "b": [2, 1, -1, -1]}, "image_gears": [[8, 9]]}
    )
    assert list(image.gear_shapes()) == [{"a": (1, 3, 8, 9), "b": (2, 1, 8, 9)}]


def test_open_shapes_and_ranges_are_taken_without_gears():
    recipe = CompileRecipe.parse(BASE | {"inputs": {"x": [-1, "1~4", 3], "y": ["2~-1"]}})
    assert recipe.inputs == {"x": (-1, "1~4", 3), "y": ("2~-1",)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([1], "a mapping of keys to values, not list"),
        (None, "not NoneType"),
        ({}, "'name' is missing.*'source' is missing"),
        (BASE | {"gear": [1]}, "unknown key 'gear'; did you mean 'gears'"),
        (BASE | {"xyzzy": 1}, "unknown key 'xyzzy'; known: ac_parallel_enable, aicore_num"),
        (
            BASE | {"tune": {"job": "x"}},
            r"'tune\.job_type' is missing.*'tune\.job'; known: extra_args, job_type",
        ),
        (BASE | {"name": "a.om"}, "name: .*'a.om'"),
        (BASE | {"source": "net.bin"}, "suffix that tells no framework"),
        (BASE | {"precision": "fp61"}, "precision: .*'mixed'.*'fp61'"),
        (BASE | {"targets": ["Ascend310P9"]}, "unknown SoC 'Ascend310P9'"),
        (BASE | {"timeout_s": 0}, "timeout_s: .*greater than 0, not 0"),
        (BASE | {"inputs": {"x": [1, 0]}}, "at least 1"),
        (BASE | {"inputs": {"x": [1.5]}}, r"inputs\.x\.0"),
        (BASE | {"inputs": {"x": ["3~"]}}, r"inputs\.x\.0"),
        (BASE | {"inputs": {"x;y": [1]}}, "separates inputs by ';'"),
        (BATCHED | {"gears": [2, 2]}, "each size may stand once"),
        (BATCHED | {"gears": [0]}, "at least 1"),
        (BATCHED | {"gears": ["4"]}, r"gears\.0.*'4'"),
        (BATCHED | {"gears": [True]}, r"gears\.0.*True"),
        (BATCHED | {"gears": list(range(1, 102))}, "at most 100"),
        (BASE | {"image_gears": [[1, 0]]}, "0 is not a size"),
        (BASE | {"image_gears": [[1, 2, 3]]}, r"image_gears\.0"),
        (BASE | {"dims_gears": [[1], [1]]}, "each gear may stand once"),
        (BASE | {"extra_args": ["-sparsity=1"]}, "not of the form --option=value"),
        (BASE | {"extra_args": ["--sparsity"]}, "not of the form"),
        (BASE | {"extra_args": ["--soc_version=Ascend310P3"]}, "--soc_version: use the field `targets`"),
        (BASE | {"extra_args": ["--dynamic-batch=1,2"]}, "--dynamic_batch_size: use the field `gears`"),
        (BASE | {"extra_args": ["--sparsity=1"]}, "use the field `sparsity`"),
        (BASE | {"extra_args": ["--om=a.om"]}, "modes that compile nothing"),
        (BASE | {"extra_args": ["--singleop=a.json"]}, "single operators with atc itself"),
        (BASE | {"mode": 1}, "mode: .*not 1"),
        (BASE | {"source": "a\0.onnx"}, r"source: 'a\\x00.onnx' holds a character"),
        (BASE | {"inputs": {"x\ud800": [1]}}, r"inputs: 'x\\ud800' holds a character"),
        (BASE | {"verify": {"inputs": "\0"}}, "verify: .* holds a character"),
        (BASE | {"inputs": {"x": [2**63]}}, "input 'x': 9223372036854775808 is no size"),
        (BASE | {"inputs": {"x": ["1~9223372036854775808"]}}, "input 'x': 9223372036854775808 is no size"),
        (BATCHED | {"gears": [1, 2**63]}, "gears: 9223372036854775808 is no size"),
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

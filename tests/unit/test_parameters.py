"""Parameters of a recipe's file: found, given, bound, and read as ATC reads what they are bound to."""

import pytest
import yaml

from ascend_serve.compiling.parameters import bind, split
from ascend_serve.compiling.recipes import load_recipe, parse_recipe
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit


def bound(text, **given):
    return bind(*split(yaml.safe_load(text)), given)


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        ("gears: ['${p}']", "4", [4]),
        ("gears: ['${p}']", "1,2,4", [1, 2, 4]),
        ("gears: [1, '${p}', 16]", "2,4", [1, 2, 4, 16]),
        ("gears: ${p}", "1,2,4", [1, 2, 4]),
        ("gears: ${p},${p}0", "3", [3, 30]),
        ("image_gears: ${p}", "8,8;16,16", [[8, 8], [16, 16]]),
        ("image_gears: [[8, '${p}'], ['${p}', 8]]", "16", [[8, 16], [16, 8]]),
        ("image_gears: [['${p}'], [9, 9]]", "7,8", [[7, 8], [9, 9]]),
        ("inputs: {x: ['${p}', 3, '1~4']}", "8", {"x": [8, 3, "1~4"]}),
        ("inputs: {x: ['${p}', 3]}", "1~8", {"x": ["1~8", 3]}),
        ("inputs: {x: ['1~${p}']}", "8", {"x": ["1~8"]}),
        ("inputs: {x: '${p}'}", "-1,3", {"x": [-1, 3]}),
        ("inputs: {x: '${p}'}", "", {"x": []}),
        ("inputs: ${p}", "x:1,3;y:", {"x": [1, 3], "y": []}),
        ("inputs: {'${p}:0': [1]}", "ids", {"ids:0": [1]}),
        ("deterministic: ${p}", "1", True),
        ("enable_single_stream: ${p}", "false", False),
        ("is_output_adjust_hw_layout: ['${p}']", "true,false", [True, False]),
        ("external_weight: ${p}", "2", 2),
        ("static_model_ops_lower_limit: ${p}", "5", 5),
        ("precision_mode_v2: ${p}", "fp16", "fp16"),
        ("framework: ${p}", "5", "onnx"),
        ("out_nodes: ['${p}:0']", "7", ["7:0"]),
        ("input_fp16_nodes: ['${p}']", "7", ["7"]),
        ("input_fp16_nodes: ${p}", "a;b", ["a", "b"]),
        ("targets: ['Ascend${p}']", "310P3", ["Ascend310P3"]),
        ("source: a/${p}_x.onnx", "7", "a/7_x.onnx"),
        ("source: ${p}", "7", "7"),
        ("num_cpus: ${p}", "1.5", 1.5),
        ("memory_bytes: ${p}", "1024", 1024),
        (
            "verify: {min_cosine: '${p}', inputs: 'd/${p}.npz'}",
            "0.9",
            {"min_cosine": 0.9, "inputs": "d/0.9.npz"},
        ),
        ("tune: {job_type: operator, reload: $p}", "true", {"job_type": "operator", "reload": True}),
        ("node_labels: {cann: $p}", "8.5", {"cann": "8.5"}),
        ("extra_args: ['--x=$p']", "1", ["--x=1"]),
    ],
)
def test_a_bound_text_is_read_as_its_field_wants_it(setting, text, value):
    found = bound(f"parameters: {{p: null}}\n{setting}", p=text)
    ((field, got),) = found.items()
    assert field == setting.partition(":")[0]
    assert got == value
    assert type(got) is type(value)


def test_an_option_bound_to_nothing_is_not_given():
    assert bound("parameters: {p: ''}\nlog: ${p}\nname: x") == {"name": "x"}


@pytest.mark.parametrize(("value", "text"), [("8", "8"), ("1.5", "1.5"), ("true", "true"), ("'008'", "008")])
def test_a_parameters_own_value_is_a_text(value, text):
    assert bound(f"parameters: {{p: {value}}}\nsource: ${{p}}") == {"source": text}


def test_what_is_given_wins_over_the_documents_value():
    assert bound("parameters: {p: 1}\ngears: [8, '$p']", p="2") == {"gears": [8, 2]}


def test_names_of_shells_arguments_are_names():
    assert bound("parameters: {1: 310P3}\ntargets: [Ascend$1, 'Ascend${1}']") == {
        "targets": ["Ascend310P3"] * 2
    }


def test_two_dollars_are_one_and_without_parameters_all_stay():
    assert bound("parameters: {}\nsource: a$$b$$$$") == {"source": "a$b$$"}
    assert bound("source: a$$b${c}") == {"source": "a$$b${c}"}


def test_a_name_is_made_fit():
    assert bound("parameters: {p: '1,8'}\nname: net_${p}") == {"name": "net_1_8"}


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        ("parameters: {bs: null, chip: null}\ngears: ['$bs']\nsource: $chip", {}, "--set bs=… --set chip=…"),
        ("parameters: {batch: 1}\nsource: ${bath}", {}, "did you mean 'batch'?"),
        ("parameters: {batch: 1}\nsource: $batch", {"bath": "2"}, "did you mean 'batch'?"),
        ("source: x", {"bs": "2"}, "no such parameter"),
        ("parameters: {bs: x}\ngears: [1, '$bs']", {}, "with bs=x: 'x' in 'x' is no whole number"),
        ("parameters: {bs: loud}\nlog: $bs", {}, "E10010"),
        ("parameters: [bs]\nsource: x", {}, "a mapping of names"),
        ("parameters: {bs: [1, 2]}\nsource: x", {}, "'1,4,8'"),
        ("parameters: {b-s: 1}\nsource: x", {}, "is no name"),
    ],
)
def test_wrong_parameters_say_what_to_give(text, given, words):
    with pytest.raises(ConfigError) as error:
        bound(text, **given)
    assert words in str(error.value)


def test_a_recipes_file_is_bound_when_it_is_loaded(tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(
        "parameters: {bs: 4, chip: null}\nname: net_${bs}\nsource: net.onnx\ntargets: ['Ascend${chip}']\n"
        "inputs: {x: ['${bs}', 3]}\n",
        encoding="utf-8",
    )
    recipe = load_recipe(file, {"chip": "310P3"})
    assert (recipe.name, recipe.targets, recipe.inputs) == ("net_4", ("Ascend310P3",), {"x": (4, 3)})
    with pytest.raises(ConfigError, match=r"net\.yaml: no value for parameter chip"):
        load_recipe(file)


def test_a_recipe_without_parameters_takes_none():
    with pytest.raises(ConfigError, match="no such parameter"):
        parse_recipe("name: x\nsource: x.onnx", given={"bs": "1"})

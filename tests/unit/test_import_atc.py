"""One of ATC's command lines as a recipe: values, what is wrong with it, and its text."""

import pytest
import yaml

from ascend_serve.compiling.atc import options
from ascend_serve.compiling.importing.import_atc import Change, import_atc, import_script, missing_files
from ascend_serve.compiling.importing.recipe_text import yaml_of
from ascend_serve.compiling.recipes import parse_recipe
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from tests.unit.imported_commands import made, said

pytestmark = pytest.mark.unit

_NET = {"model": "net.onnx", "framework": "5", "output": "out/net", "soc_version": "Ascend310P3"}


def imported(**options):
    """Import a command that compiles net.onnx; None leaves an option out."""
    given = {**_NET, **options}
    return import_atc(
        ["atc", *(f"--{option}={value}" for option, value in given.items() if value is not None)]
    )


def texts(found, severity):
    return [problem.text for problem in found.problems if problem.severity == severity]


def test_a_command_becomes_a_recipe_in_its_own_order():
    found = import_atc(
        [
            "/opt/bin/atc",
            "--soc_version=Ascend910B3",
            "-framework",
            "5",
            "--model=net.onnx",
            "--output",
            "out/net.v2",
            "--input-shape=ids:0:-1,128;mask:-1,128;n:",
            "--dynamic_dims=1,1;8,8",
            "--out_no=add:0;mul:1",
            "--mode=0",
            "--spars=1",
            "--enable_single_stream=false",
            "--op_debug_level=3",
        ]
    )
    assert list(found.settings.items()) == [
        ("name", "net_v2"),
        ("targets", ["Ascend910B3"]),
        ("framework", "onnx"),
        ("source", "net.onnx"),
        ("output", "out/net.v2"),
        ("inputs", {"ids:0": [-1, 128], "mask": [-1, 128], "n": []}),
        ("dims_gears", [[1, 1], [8, 8]]),
        ("out_nodes", ["add:0", "mul:1"]),
        ("mode", 0),
        ("sparsity", True),
        ("enable_single_stream", False),
        ("op_debug_level", 3),
    ]
    assert found.well_formed
    assert found.problems == ()
    assert made(found) == found.pairs


@pytest.mark.parametrize(
    ("option", "value", "field", "setting"),
    [
        ("input_shape", "x:1~4,3,-1", "inputs", {"x": ["1~4", 3, -1]}),
        ("input_fp16_nodes", "a;b", "input_fp16_nodes", ["a", "b"]),
        ("is_input_adjust_hw_layout", "true", "is_input_adjust_hw_layout", [True]),
        ("precision_mode", "must_keep_origin_dtype", "precision_mode", "must_keep_origin_dtype"),
        ("aicore_num", "24|48", "aicore_num", "24|48"),
        ("static_model_ops_lower_limit", "-1", "static_model_ops_lower_limit", -1),
        ("external_weight", "2", "external_weight", 2),
        ("virtual_type", "0", "virtual_type", False),
        ("insert_op_conf", "conf/aipp.cfg", "insert_op_conf", "conf/aipp.cfg"),
    ],
)
def test_each_kind_of_value_is_read_as_its_field_wants_it(option, value, field, setting):
    extra = {"input_fp16_nodes": "a"} if option == "is_input_adjust_hw_layout" else {}
    found = imported(**extra, **{option: value})
    assert found.settings[field] == setting
    assert found.recipe is not None
    assert made(found) == found.pairs


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"framework": None}, "E10007"),
        ({"framework": "2"}, "E10007"),
        ({"model": None}, "E10054"),
        ({"output": None}, "E10054"),
        ({"soc_version": None}, "E10054"),
        ({"soc_version": "ascend310p3"}, "Ascend310P3"),
        ({"soc_version": "Ascend910C9"}, "E20101"),
        ({"output": "out/"}, "E10022"),
        ({"log": "ERROR"}, "did you mean 'error'"),
        ({"log": "loud"}, "E10010"),
        ({"sparsity": "true"}, "E10006"),
        ({"virtual_type": "2"}, "E10001"),
        ({"enable_single_stream": "1"}, "E10005"),
        ({"is_output_adjust_hw_layout": "yes"}, "E10005"),
        ({"jit_compile": "3"}, "E10001"),
        ({"external_weight": "3"}, "E10006"),
        ({"static_model_ops_lower_limit": "few"}, "E10001"),
        ({"framework": "0", "model": "net.prototxt"}, "E10008"),
        ({"input_shape": "x:1.5,3"}, "E10002"),
        ({"input_shape": "1,3,224,224"}, "E10002"),
        ({"input_shape": "x:[1~4,3]"}, "x:1~4,3"),
        ({"input_shape": "x:0,3"}, "E10011"),
        ({"input_shape": "x:1;x:2"}, "'x' stands twice"),
        ({"input_shape": "x:1,3", "dynamic_batch_size": "1,4"}, "E10031"),
        ({"input_shape": "x:-1,3", "dynamic_batch_size": "4"}, "E10035"),
        ({"input_shape": "x:-1,3", "dynamic_batch_size": "1, 4"}, "E10003"),
        ({"input_shape": "x:-1,3", "dynamic_batch_size": "1,four"}, "E10003"),
        ({"input_shape": "x:1,3,-1,-1", "dynamic_image_size": "8,8;16"}, "E10020"),
        ({"input_shape": "x:-1,3", "dynamic_dims": "a;b"}, "E10003"),
        ({"dynamic_batch_size": "1,4"}, "E10004"),
        ({"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}, "E10056"),
        ({"auto_tune_mode": "RL"}, "E10001"),
        ({"input_format": "NHWC"}, "E10001"),
    ],
)
def test_what_atc_refuses_is_an_error_with_its_code_and_makes_no_recipe(options, code):
    found = imported(**options)
    assert [text for text in texts(found, "error") if code in text]
    assert found.recipe is None
    assert not found.well_formed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"soc_version": "Ascend910"}, "Ascend910A"),
        ({"soc_version": "Ascend910B"}, "first generation"),
        ({"output": "out/net.om"}, "net.om.om"),
        ({"output": "a.om.d/net"}, "first '.om'"),
        ({"framework": "3"}, "ends as onnx"),
        ({"input_shape_range": "x:[1~4,3]"}, "deprecated"),
        ({"om": "x.om"}, "left out"),
    ],
)
def test_what_is_legal_and_seldom_meant_is_a_warning(options, words):
    found = imported(**options)
    assert [text for text in texts(found, "warning") if words in text]
    assert found.recipe is not None
    assert found.well_formed


def test_a_cast_of_the_outputs_is_no_precision():
    (note,) = texts(imported(output_type="FP16"), "note")
    assert "makes nothing faster" in note


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["--mode=1", "--om=x.om", "--json=x.json"], "inspect MODEL --json"),
        (["--mode=3", "--model=x.onnx"], "preflight"),
        (["--mode=6", "--om=x.om"], "inspect MODEL"),
        (["--mode=5", "--om=x.txt", "--json=x.json"], "no counterpart"),
        (["--mode=30"], "nano"),
        (["--singleop=x.json"], "single operators"),
        (["--help"], "usage"),
        (["-h"], "usage"),
    ],
)
def test_commands_that_compile_nothing_make_no_recipe(words, verb):
    found = import_atc(["atc", *words])
    assert verb in texts(found, "error")[0]
    assert found.settings == {}
    assert yaml_of(found) == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--inpt_shape=x:1"], "did you mean --input_shape"),
        (["--mod=x"], "--mode or --model or --modify_mixlist"),
        (["--log"], "has no value"),
        (["stray"], "'stray' belongs to no option"),
        (["-m", "x"], "unknown option -m"),
        (["--", "--log=info"], "'--log=info' belongs to no option"),
    ],
)
def test_what_the_parser_refuses_is_named(words, told):
    found = import_atc(["atc", *(f"--{option}={value}" for option, value in _NET.items()), *words])
    assert [text for text in texts(found, "error") if told in text]


def test_of_two_the_last_holds():
    found = import_atc(
        ["--log=info", *(f"--{option}={value}" for option, value in _NET.items()), "--log=error"]
    )
    assert found.changes == (Change("log", "info", None),)
    assert "'info'" in texts(found, "warning")[0]
    assert not found.well_formed
    assert made(found) == said(found)


def test_an_empty_value_is_kept_and_means_nothing():
    found = imported(out_nodes="", input_shape="x:1,3", log="")
    assert found.well_formed
    assert found.changes == ()
    assert made(found) == said(found)
    assert (found.recipe.out_nodes, found.recipe.log) == ((), None)


@pytest.mark.parametrize(
    "spelt",
    [
        {"input_shape": "x: 1, 3;y:1,2;"},
        {"input_shape": " x:1,3 ; y:1,2"},
        {"input_shape": "x:-1,-1", "dynamic_dims": "1,3; 2,4;"},
        {"input_shape": "x:1,3", "input_fp16_nodes": "x;"},
    ],
)
def test_a_spelling_of_its_own_is_kept(spelt):
    found = imported(**spelt)
    assert found.well_formed
    assert found.changes == ()
    assert made(found) == said(found)


def test_a_spelling_is_dropped_when_the_field_is_changed():
    recipe = imported(input_shape="x: 1, 3").recipe
    changed = CompileRecipe(**(recipe.model_dump(include=recipe.said) | {"inputs": {"x": (2, 3)}}))
    assert dict(options(changed, "Ascend310P3", "m.onnx", "o"))["input_shape"] == "x:2,3"


def test_the_tutorial_command_is_told_all_that_is_wrong():
    found = imported(
        output="...",
        soc_version="Ascend910",
        input_shape="input_0:1,3,224,224",
        dynamic_batch_size="1,4,8,16",
        output_type="FP16",
    )
    told = "\n".join(problem.text for problem in found.problems)
    assert all(words in told for words in ("Ascend910A", "place of a path", "E10031", "makes nothing faster"))


@pytest.mark.parametrize("value", ["{chip_name}", "<chip_name>", "Ascend${chip name}"])
def test_places_for_values_are_recognised(value):
    assert [text for text in texts(imported(soc_version=value), "note") if "${chip_name}" in text]


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("a/b.c", "b_c"),
        ("_x", "x"),
        ("net.om", "net"),
        ("网络", "model"),
        ("x" * 70, "x" * 64),
        ("$1", "net"),
    ],
)
def test_the_name_is_the_outputs_made_fit(output, name):
    assert imported(output=output).settings["name"] == name


def test_a_script_keeps_its_variables():
    (found,) = import_script(
        "bs=4\natc --model=net.onnx --framework=5 --output=net_${bs} --soc_version=Ascend$1 "
        '--input_shape=\'a:1;\'"x:${bs},3" --dynamic_image_size="$sizes"'
    )
    assert found.parameters == {"bs": "4", "1": None, "sizes": None}
    assert found.settings["name"] == "net_${bs}"
    assert found.settings["targets"] == ["Ascend${1}"]
    assert found.settings["inputs"] == {"a": [1], "x": ["${bs}", 3]}
    assert found.settings["image_gears"] == "${sizes}"
    assert found.recipe is None
    assert found.well_formed
    assert "--set 1=" in texts(found, "note")[-1]


def test_a_script_whose_variables_are_known_has_a_recipe():
    (found,) = import_script(
        "bs=4 chip=310P3\natc --model=net.onnx --framework=5 --output=net_$bs --soc_version=Ascend$chip "
        "--input_shape=\"x:${bs},3\" --check_report='$bs'"
    )
    assert found.recipe is not None
    assert found.recipe.inputs == {"x": (4, 3)}
    assert found.recipe.check_report == "$bs"
    assert made(found, {"bs": "8", "chip": "910B3"}) == said(found, {"bs": "8", "chip": "910B3"})


def test_braces_that_a_shell_left_are_parameters_and_other_dollars_are_not():
    assert imported(output="net_${bs}").parameters == {"bs": None}
    found = imported(check_report="a$", input_shape="x$$:1")
    assert found.parameters == {}
    assert found.recipe is not None
    assert made(found) == found.pairs


def test_the_text_says_what_to_put_right_and_reads_back_as_the_recipe():
    (found,) = import_script(
        "atc --model=net.onnx --framework=5 --output=net --soc_version=Ascend910 \\ \n --log=info "
        '--input_shape="x:-1,3,8,8;y:-1" --dynamic_batch_size="1,8"'
    )
    text = yaml_of(found)
    assert text.splitlines()[0] == "# Imported from the ATC command in line 1."
    assert text.count("# warning: ") == 2
    assert "  x: [-1, 3, 8, 8]\n" in text
    assert "gears: [1, 8]\n" in text
    assert list(yaml.safe_load(text))[:2] == ["name", "source"]
    assert parse_recipe(text) == found.recipe


def test_the_text_of_a_template_asks_for_its_parameters():
    found = imported(output="net_${bs}", input_shape="x:${bs},3")
    text = yaml_of(found)
    assert "parameters: {bs: null}\n" in text
    assert parse_recipe(text, given={"bs": "2"}).inputs == {"x": (2, 3)}
    with pytest.raises(ConfigError, match="--set bs="):
        parse_recipe(text)


def test_files_that_are_not_there_are_noted(tmp_path):
    (tmp_path / "net.onnx").touch()
    found = imported(insert_op_conf="aipp.cfg")
    (note,) = missing_files(found, tmp_path)
    assert "aipp.cfg" in note.text
    assert note.severity == "note"

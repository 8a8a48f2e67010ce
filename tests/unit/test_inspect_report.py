"""What is said of a model, how two differ, and where one runs."""

import json
import re
import runpy
from pathlib import Path

import pytest

from ascend_serve.artifacts.om.fitness import Fitness, fitness
from ascend_serve.artifacts.om.reading import Om, read_om
from ascend_serve.artifacts.om.report import Difference, differences, dtype_name, report
from ascend_serve.artifacts.om.text import difference_lines, sections
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))


def static(**changed) -> Om:
    return read_om(w["static_model"]([("x", 0, (4, 3))], [("y", 0, (4, 2))], **changed))


def dynamic(soc="Ascend310P3", host=1, **attrs) -> Om:
    told = {
        "soc_version": soc,
        "host_env_os": "linux",
        "host_env_cpu": "aarch64",
        "opp_version": "7.6.0",
        **attrs,
    }
    content = w["libraries"](("liba.so", "", b"12"))
    definition = w["model_def"](list(told.items()))
    summary = w["summary"]([("x", 0, (-1, 3))], [("y", 0, (-1, 2))])
    return read_om(w["container"]([[(8, summary), (0, definition), (5, content)]], host=host, dynamic=1))


# --- the report -----------------------------------------------------------------------------------


def test_a_report_is_json_and_says_what_the_model_is():
    told = json.loads(json.dumps(report(read_om(w["gear_model"](gears=(4, 1)), deep=True))))
    assert (told["name"], told["soc"], told["architecture"], told["dynamic"]) == (
        "m",
        "Ascend310P3",
        2002,
        False,
    )
    assert told["made_by"]["is_cann"] is True
    assert told["made_by"]["version"] == told["made_by"]["atc_version"] == "7.6.0"
    assert told["command"] == {
        "line": "/opt/bin/atc.bin --model=m.onnx --soc_version=Ascend310P3",
        "program": "/opt/bin/atc.bin",
        "options": {"model": "m.onnx", "soc_version": "Ascend310P3"},
    }
    assert told["inputs"] == [
        {
            "name": "image",
            "dtype": "fp32",
            "format": "ND",
            "dims": [-1, 3, 2],
            "memory_dims": [],
            "ranges": [],
            "bytes": 0,
        }
    ]
    assert told["gears"] == {
        "kind": "batch",
        "groups": [[4], [1]],
        "input_order": [],
        "shapes": [
            {"gear": [4], "inputs": {"image": [4, 3, 2]}, "outputs": {"logits": [4, 10], "best:0": [4, 1]}},
            {"gear": [1], "inputs": {"image": [1, 3, 2]}, "outputs": {"logits": [1, 10], "best:0": [1, 1]}},
        ],
    }
    assert told["precision"] == {"option": "precision_mode", "value": "force_fp16", "given": False}
    assert (told["memory"]["working"], told["memory"]["weights"], told["memory"]["streams"]) == (
        4096,
        8,
        None,
    )
    assert told["file"]["generation"] == 4
    assert [part["type"] for part in told["file"]["sub_models"][0]["partitions"]][:2] == [
        "MODEL_INOUT_INFO",
        "MODEL_DEF",
    ]
    assert told["operators"]["types"]["Conv2D"] == 1


def test_a_bundle_has_a_report_for_each_model():
    told = report(read_om(w["bundle"](w["gear_model"](), w["gear_model"]())))
    assert [inner["name"] for inner in told["contained"]] == ["m", "m"]
    assert told["file"]["model_type"] == "bundle"


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "fp32"), (1, "fp16"), (9, "int64"), (27, "bf16"), (99, "type 99"), (-41, "graph type 41")],
)
def test_element_types_in_words(number, name):
    assert dtype_name(number) == name


def shown(om: Om) -> str:
    return "\n".join(
        line for part in sections(report(om)) for line in (part.title, *(": ".join(row) for row in part.rows))
    )


@pytest.mark.parametrize(
    ("om", "says"),
    [
        (read_om(w["gear_model"]()), "4: image [4, 3, 2] -> logits [4, 10], best:0 [4, 1]"),
        (
            read_om(w["gear_model"]()),
            "precision: precision_mode=force_fp16 (ATC's default: nothing was given)",
        ),
        (read_om(w["gear_model"](note=b"other-tools 1.2.3")), "tools: other-tools 1.2.3 (not CANN: "),
        (read_om(w["generation0"]()), "generation: 0: DDK 1.x of 2018/19"),
        (read_om(w["generation0"]()), "SoC: unknown: the file names none"),
        (static(soc="OPTG"), "SoC: OPTG (architecture unknown)"),
        (static(), "precision: unknown: the file has no command line"),
        (dynamic(), "shapes: open at run time"),
        (dynamic(), "host: linux aarch64, checked when it is loaded"),
        (dynamic(), "library: liba.so of CANN, 2 B"),
        (read_om(w["bundle"](w["gear_model"]())), "m: Gears"),
    ],
)
def test_people_are_told(om, says):
    assert says in shown(om)


def test_sections_without_a_word_are_left_out():
    assert "Gears" not in shown(static())
    assert "Image preprocessing (AIPP)" not in shown(static())


# --- differences ----------------------------------------------------------------------------------


def test_a_model_does_not_differ_from_itself():
    assert differences(read_om(w["gear_model"]()), read_om(w["gear_model"]())) == []


def test_the_order_of_gears_is_no_difference_but_their_sizes_are():
    fields = [
        item.field for item in differences(*(read_om(w["gear_model"](gears=g)) for g in ((1, 4), (4, 1))))
    ]
    assert not [field for field in fields if field.startswith(("gears", "inputs", "outputs"))]
    found = {
        item.field: item
        for item in differences(*(read_om(w["gear_model"](gears=g)) for g in ((1, 4), (1, 8))))
    }
    assert found["gears.sizes"] == Difference("gears.sizes", [[1], [4]], [[1], [8]])
    assert found["outputs.logits.dims"] == Difference("outputs.logits.dims", [4, 10], [8, 10])


def test_options_are_compared_one_by_one():
    def line(text):
        definition = w["model_def"]([("atc_cmdline", text)])
        return read_om(w["container"]([[(0, definition)]]))

    found = differences(line("atc --model=a --log=error"), line("atc --log=error --model=bc --check=1"))
    assert [item for item in found if item.field.startswith("command")] == [
        Difference("command.model", "a", "bc"),
        Difference("command.check", None, "1"),
    ]


def test_inputs_are_compared_by_name_and_their_order_counts():
    def of(*names):
        return read_om(w["static_model"]([(name, 0, (2,)) for name in names], [("y", 0, (2,))]))

    assert differences(of("a", "b"), of("b", "a")) == [Difference("inputs.(order)", ["a", "b"], ["b", "a"])]
    found = {item.field: item for item in differences(of("a"), of("a", "b"))}
    assert found["inputs.b"].a is None
    assert found["inputs.b"].b["dims"] == [2]


def test_sizes_of_partitions_and_of_the_file_are_compared():
    found = differences(static(), static(soc="Ascend310"))
    assert Difference("soc", "Ascend310P3", "Ascend310") in found
    assert Difference("architecture", 2002, None) in found
    assert {"file.bytes", "file.sub_models.0.MODEL_DEF"} <= {item.field for item in found}


def test_differences_are_lines():
    assert difference_lines(
        [Difference("soc", "Ascend310P3", None), Difference("gears.sizes", [[1]], [[2]])]
    ) == [
        "soc: Ascend310P3 | -",
        "gears.sizes: [[1]] | [[2]]",
    ]


# --- where it runs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("om", "soc", "verdict", "says"),
    [
        (static(), "Ascend310P3", "runs", "compiled for Ascend310P3"),
        (static(soc="Ascend910"), "Ascend910A", "runs", "compiled for Ascend910"),
        (static(soc="OPTG"), "OPTG", "runs", "compiled for OPTG"),
        (static(soc="Ascend910B1"), "Ascend910B4", "loads, unsupported", "share architecture 2201"),
        (static(soc="Ascend910B1"), "Ascend910_9392", "loads, unsupported", "compile it for Ascend910_9392"),
        (static(), "Ascend310P1", "loads, unsupported", "cores and the memory of Ascend310P3"),
        (static(), "Ascend910B4", "does not load", "architecture 2002; Ascend910B4 has 2201"),
        (static(soc="Ascend910B"), "Ascend910B1", "does not load", "1001"),
        (static(soc="Ascend310"), "Ascend310P3", "unknown", "not known to share"),
        (static(soc="Ascend310"), "Ascend310", "runs", "compiled for Ascend310"),
        (static(soc="Ascend999"), "Ascend310P3", "unknown", "not known to share"),
        (static(soc=""), "Ascend310P3", "unknown", "names no SoC"),
        (read_om(w["generation0"]()), "Ascend310P3", "does not load", r"DDK 1\.x"),
        (
            static(note=b"other-tools 1.2.3"),
            "Ascend310P3",
            "runs",
            "only with the runtime of other-tools 1.2.3",
        ),
        (dynamic(), "Ascend310P3", "runs", "only on hosts with linux aarch64"),
        (dynamic(host=0), "Ascend310P3", "runs", r"only with operator package \(opp\) 7\.6\.0"),
        (
            read_om(w["bundle"](w["gear_model"](), w["gear_model"](soc="Ascend910A"))),
            "Ascend310P3",
            "does not load",
            "'m'",
        ),
    ],
)
def test_the_verdict_and_its_reason(om, soc, verdict, says):
    found = fitness(om, soc)
    assert found.verdict == verdict
    assert re.search(says, found.reason), found.reason


def test_weights_in_files_are_a_condition():
    constant = w["op"]("c", "FileConstant", [("location", "weight/w")])
    definition = w["model_def"]([("soc_version", "Ascend310P3")], [constant])
    om = read_om(w["container"]([[(0, definition)]]))
    assert fitness(om, "Ascend310P3") == Fitness(
        "runs", "it was compiled for Ascend310P3; only with its weight files beside it (1)"
    )


def test_a_mistyped_soc_is_an_error_and_no_verdict():
    with pytest.raises(ConfigError, match="Ascend310P3"):
        fitness(static(), "ascend310p3")

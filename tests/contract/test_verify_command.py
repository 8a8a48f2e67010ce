"""`ascend-serve verify`, in this process, on whichever `acl` and `atc` are installed."""

import json

import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner

from ascend_serve.artifacts.store import Store
from ascend_serve.cli import main
from ascend_serve.errors import AclMissing
from ascend_serve.runtime import _acl

pytestmark = pytest.mark.contract

NETWORK = """
net (float[n,4] x) => (float[n,4] y) <float[1] two = {2}> { twice = Mul(x, two) huge = Exp(twice) y = Log(huge) }
"""


@pytest.fixture
def run(tmp_path):
    """Write a recipe and run the command on it, with a store of its own."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {NETWORK}')
    model.graph.node[1].name = "boom"
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=np.linspace(1, 8, 8).reshape(2, 4))

    def command(*arguments, **settings):
        plain = {"name": "net", "source": "net.onnx", "inputs": {"x": [-1, 4]}, "gears": [1, 4]}
        (tmp_path / "net.yaml").write_text(yaml.safe_dump(plain | settings))
        words = [
            "verify",
            str(tmp_path / "net.yaml"),
            "--store",
            str(tmp_path / "store"),
            *map(str, arguments),
        ]
        return CliRunner().invoke(main, words)

    return command


def test_a_table_tells_each_gear_and_output(run):
    result = run(precision="fp32")
    assert result.exit_code == 0, result.output
    header, one, four, verdict = result.stdout.splitlines()
    assert header.split() == ["gear", "output", "shape", "abs", "error", "rel", "error", "cosine", "top", "1"]
    assert one.split() == ["1", "y", "1,4", "0", "0", "1.000000", "1", "ok"]
    assert four.split()[:3] == ["4", "y", "4,4"]
    assert verdict.endswith("random values: within the bounds")


def test_a_passed_bound_is_status_1_and_stands_in_its_row(run):
    result = run("--max-abs-error", 0, "--gear", "4", precision="fp16")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    assert "is above 0" in result.stdout.splitlines()[1]
    assert result.stdout.splitlines()[-1].endswith("departs from its source")


def test_options_go_before_the_recipes_own_bounds(run, tmp_path):
    strict = {"precision": "fp16", "verify": {"max_abs_error": 0}}
    assert run(**strict).exit_code == 1
    assert not list(Store(tmp_path / "store").manifests())
    assert run("--max-abs-error", 1, **strict).exit_code == 0
    result = run("--min-cosine", 2)
    assert result.exit_code == 2
    assert "verify: min_cosine: Input should be less than or equal to 1" in result.stderr


def test_a_parameter_is_set(run):
    result = run("--set", "sizes=4", parameters={"sizes": None}, source="${sizes}.onnx")
    assert result.exit_code == 2
    assert "4.onnx does not exist" in result.stderr
    assert run("--set", "sizes").exit_code == 2


def test_the_report_is_json_when_asked_for(run, tmp_path):
    result = run("--json", "--inputs", tmp_path / "data.npz", "--bisect", precision="fp16")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["passed"] is False
    assert [report["gear"] for report in told["gears"]] == [[1], [4]]
    assert told["notes"][0] == "gear 1: input 'x': axis 0 cut from 2 to 1"
    assert (told["departure"]["node"], told["departure"]["op_type"]) == ("boom", "Exp")


def test_bisecting_names_the_operator_with_what_it_reads_and_gives(run, tmp_path):
    result = run("--inputs", tmp_path / "data.npz", "--bisect", precision="fp16")
    assert result.exit_code == 1
    assert "build 1: 'y' departs, looking at 2 of 2 tensors before it" in result.stderr
    lines = result.stdout.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("first to depart"))
    assert lines[begin] == "first to depart, at gear 4: Exp 'boom' (found with 1 build)"
    assert lines[begin + 2].split()[:2] == ["reads", "twice"]
    assert lines[begin + 3].split()[:2] == ["gives", "huge"]


def test_when_no_operator_can_be_named_it_says_why(run):
    result = run("--max-abs-error", 0, "--bisect", precision="fp16")
    assert result.exit_code == 1
    assert "no operator can be named after 1 build: 'y' is within the bounds" in result.stdout


def test_a_file_is_compared_without_compiling(run, tmp_path):
    assert run(precision="fp32").exit_code == 0
    (om,) = (tmp_path / "store").rglob("*.om")
    kept = om.rename(tmp_path / "kept.om")
    result = run("--om", kept, "--atc", "/nowhere")
    assert result.exit_code == 0, result.output
    assert not list((tmp_path / "store").rglob("*.om"))


def test_a_wrong_gear_is_refused_in_words(run):
    assert "write 8, or 224,224" in run("--gear", "8x").stderr
    result = run("--gear", "3")
    assert result.exit_code == 2
    assert result.stderr == "ascend-serve: gear 3: the model was compiled for 1, 4\n"


def test_without_acl_it_is_one_line(run, monkeypatch):
    def missing():
        raise AclMissing("No module named 'acl'")

    monkeypatch.setattr(_acl, "_acl", missing)
    result = run()
    assert result.exit_code == 2
    assert result.stderr.startswith("ascend-serve: The Python module 'acl' (pyACL) cannot be imported")
    assert result.stderr.count("\n") == 1

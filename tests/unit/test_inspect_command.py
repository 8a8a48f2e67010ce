"""The verb `inspect`: what is printed, and with which exit status."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ascend_serve.cli import main

pytestmark = pytest.mark.unit

w = runpy.run_path(str(Path(__file__).with_name("om_writer.py")))


@pytest.fixture
def inspect(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.om").write_bytes(w["gear_model"]())
    Path("same.om").write_bytes(w["gear_model"]())
    Path("b.om").write_bytes(w["gear_model"](soc="Ascend910B1"))
    Path("page.om").write_bytes(b"<html>please log in</html>")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["inspect", *arguments])

    return call


def test_a_file_is_shown_in_sections(inspect):
    result = inspect("a.om")
    assert result.exit_code == 0
    assert "Model\n  name       m\n  SoC        Ascend310P3 (architecture 2002)\n" in result.stdout
    assert "logits" in result.stdout
    assert "Operators" not in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_deep_counts_operators(inspect):
    result = inspect("a.om", "--deep")
    assert "Operators\n  types" in result.stdout
    assert "Conv2D 1" in result.stdout


def test_json_is_a_report(inspect):
    told = json.loads(inspect("a.om", "--json").stdout)
    assert told["soc"] == "Ascend310P3"
    assert "fitness" not in told


def test_a_soc_gets_a_verdict(inspect):
    assert "On Ascend310P1: loads, unsupported: " in inspect("a.om", "--soc", "Ascend310P1").stdout
    told = json.loads(inspect("a.om", "--json", "--soc=Ascend310P3").stdout)
    assert told["fitness"] == {
        "soc": "Ascend310P3",
        "verdict": "runs",
        "reason": "it was compiled for Ascend310P3",
    }


def test_two_files_that_differ_are_status_1(inspect):
    result = inspect("a.om", "b.om")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == ["soc: Ascend310P3 | Ascend910B1", "architecture: 2002 | 2201"]


def test_differences_as_json(inspect):
    found = json.loads(inspect("a.om", "b.om", "--json").stdout)
    assert found[0] == {"field": "soc", "a": "Ascend310P3", "b": "Ascend910B1"}


def test_two_files_that_are_the_same_are_status_0(inspect):
    result = inspect("a.om", "same.om")
    assert (result.exit_code, result.stdout) == (0, "the same in everything that is shown\n")
    assert inspect("a.om", "same.om", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["page.om"], "page.om: no offline model: it is a web page"),
        (["a.om", "page.om"], "page.om: no offline model"),
        (["missing.om"], "cannot read missing.om: No such file or directory: give the path of an .om file"),
        (["a.om", "."], "cannot read .: Is a directory: give"),
        (["a.om", "--soc=Ascend310P"], "unknown SoC 'Ascend310P'"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_and_status_2(inspect, arguments, says):
    result = inspect(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_verdict_is_about_one_file(inspect):
    result = inspect("a.om", "b.om", "--soc=Ascend310P3")
    assert result.exit_code == 2
    assert "leave OTHER out" in result.stderr

"""`ascend-serve import-atc`, one behaviour each."""

import re

import pytest
import yaml
from click.testing import CliRunner

from ascend_serve.cli.import_atc import command
from ascend_serve.errors import ConfigError

pytestmark = pytest.mark.unit

_ARGV = ["atc", "--model=net.onnx", "--framework=5", "--output=out/net", "--soc_version=Ascend310P3"]
_LINE = " ".join(_ARGV)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").touch()

    def invoke(*words, text=None):
        return CliRunner().invoke(command, [*map(str, words)], input=text, catch_exceptions=False)

    return invoke


@pytest.mark.parametrize("words", [["--", *_ARGV], _ARGV, ["--", *_ARGV[1:]], [_LINE]])
def test_a_command_line_goes_to_standard_output_as_yaml(run, words):
    result = run(*words)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == {
        "name": "net",
        "source": "net.onnx",
        "framework": "onnx",
        "output": "out/net",
        "targets": ["Ascend310P3"],
    }
    assert result.stderr == ""


def test_what_is_wrong_goes_to_standard_error_and_into_the_status(run):
    result = run("--", *_ARGV, "--log=LOUD", "--sparsity=1")
    assert result.exit_code == 1
    assert "error: --log: 'LOUD' is none of" in result.stderr
    assert "# error: --log: 'LOUD' is none of" in result.stdout
    assert yaml.safe_load(result.stdout)["sparsity"] is True


def test_a_file_that_is_not_there_is_noted_and_no_error(run):
    result = run("--", *_ARGV, "--insert_op_conf=aipp.cfg")
    assert result.exit_code == 0
    assert "note: insert_op_conf: there is no aipp.cfg" in result.stderr


def test_a_script_gives_a_document_for_each_command(run, tmp_path):
    script = tmp_path / "convert.sh"
    script.write_text(f"# two\n{_LINE}\n{_LINE}_2\n", encoding="utf-8")
    result = run(script)
    assert [document["targets"] for document in yaml.safe_load_all(result.stdout)] == [
        ["Ascend310P3"],
        ["Ascend310P3_2"],
    ]
    assert "line 3: error: --soc_version: unknown SoC 'Ascend310P3_2'" in result.stderr


def test_a_dash_reads_standard_input(run):
    assert yaml.safe_load(run("-", text=_LINE).stdout)["name"] == "net"


def test_a_text_without_commands_is_an_error(run):
    with pytest.raises(ConfigError, match="no line of it runs atc"):
        run("-", text="echo atc\n")


def test_a_command_that_compiles_nothing_gives_no_recipe(run):
    result = run("--", "atc", "--mode=6", "--om=net.om")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "ascend-serve inspect" in result.stderr


def test_a_file_is_written_once_and_replaced_when_forced(run, tmp_path):
    file = tmp_path / "net.yaml"
    assert run("--output", file, "--", *_ARGV).stdout == ""
    first = file.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="--force"):
        run("--output", file, "--", *_ARGV, "--sparsity=1")
    assert file.read_text(encoding="utf-8") == first
    run("--force", "--output", file, "--", *_ARGV, "--sparsity=1")
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["sparsity"] is True


def test_a_folder_takes_a_file_for_each_name(run, tmp_path):
    result = run("--output", tmp_path, "-", text=f"{_LINE}\n{_LINE} --output=${{x}}_b\n{_LINE}\n")
    assert result.exit_code == 0
    assert sorted(file.name for file in tmp_path.glob("*.yaml")) == ["net-2.yaml", "net.yaml", "x_b.yaml"]


def test_several_recipes_do_not_go_into_one_file(run, tmp_path):
    with pytest.raises(ConfigError, match="2 recipes and one file"):
        run("--output", tmp_path / "net.yaml", "-", text=f"{_LINE}\n{_LINE}\n")


def test_a_folder_that_is_not_there_is_made(run, tmp_path):
    run("--output", f"{tmp_path}/recipes/", "--", *_ARGV)
    run("--output", tmp_path / "more/of/them.yaml", "--", *_ARGV)
    assert (tmp_path / "recipes/net.yaml").is_file()
    assert (tmp_path / "more/of/them.yaml").is_file()


def test_a_file_that_cannot_be_read_is_named_with_what_to_give(run, tmp_path):
    for words in ([tmp_path / "gone.sh"], [tmp_path]):
        with pytest.raises(ConfigError, match=rf"cannot read {words[0]}: .*: give a file that holds"):
            run(*words)


@pytest.mark.parametrize("dashes", [["--"], []])
def test_a_mistyped_option_is_not_atcs(run, dashes):
    result = run("--outptu", "net.yaml", *dashes, *_ARGV)
    assert result.exit_code == 2
    assert "No such option '--outptu'" in result.stderr
    assert re.search(r"behind `atc`\. .*Did you mean.* .--output.", result.stderr)


def test_atcs_options_without_atc_are_refused_with_the_way_out(run):
    result = run(*_ARGV[1:])
    assert result.exit_code == 2
    assert "ATC's own options stand behind `--`" in result.stderr


def test_options_may_stand_behind_the_files_name(tmp_path):
    script = tmp_path / "convert.sh"
    script.write_text("atc --model=net.onnx --framework=5 --output=net --soc_version=Ascend310P3\n")
    written = tmp_path / "net.yaml"
    result = CliRunner().invoke(command, [str(script), "--output", str(written)])
    assert result.exit_code == 0, result.output
    assert "source: net.onnx" in written.read_text()


def test_options_behind_atc_are_atcs(tmp_path):
    told = ["atc", "--model=net.onnx", "--framework=5", "--output=net", "--soc_version=Ascend310P3"]
    result = CliRunner().invoke(command, told)
    assert result.exit_code == 0, result.output
    assert "output: net" in result.output

"""The emulated `aoe`: what it says, what it writes where, and that the model is the one `atc` makes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ascend_emulator import aoe, atc
from ascend_emulator.aoe.options import OPTIONS, SHARED
from ascend_emulator.atc.options import OPTIONS as ATC_OPTIONS
from ascend_emulator.om import read_om

from tests.unit import atc_runs
from tests.unit.atc_runs import GEARS, HEADER, NET, STATIC, code, save

pytestmark = pytest.mark.unit

folder = atc_runs.folder  # a fixture, by the name that tests ask for it

BASE = ["--model=net.onnx", "--framework=5", "--output=out/net"]
OPERATORS = [*BASE, "--job_type=2"]
IMAGE = (
    HEADER + " net (float[N,1,4,4] x, float[N,2] z) => (float[N,1,2,2] y, float[N,3] v)"
    " <float[1,1,3,3] k = {1,2,3,4,5,6,7,8,9}, float[2,3] w = {1,2,3,4,5,6}>"
    " { [conv] y = Conv(x, k) [fc] u = Gemm(z, w) [act] v = Relu(u) }"
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bank(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where banks go, on a node with cards of the default SoC."""
    for name in ("ASCEND_CACHE_PATH", "ASCEND_DEVICE_ID", "ASCEND_RT_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DEVICES", "SOC", "NODE", "RUN_MODE", "TIMING", "VALUES", "TIMES", "FAULTS"):
        monkeypatch.delenv(f"ASCEND_EMULATOR_{name}", raising=False)
    path = folder / "bank"
    path.mkdir()
    monkeypatch.setenv("TUNE_BANK_PATH", str(path))
    return path


@pytest.fixture
def run(bank: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    save(folder / "net.onnx", NET)

    def call(*arguments: str, tool: Callable[..., int] = aoe.main) -> tuple[int, str, str]:
        capsys.readouterr()
        status = tool(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


# --- the console ----------------------------------------------------------------------------------


def test_success_on_the_console(run: Run) -> None:
    status, out, err = run(*OPERATORS, *STATIC)
    assert (status, err) == (0, "")
    first, last = out.splitlines()
    assert re.fullmatch(r"\[Aoe\]<net_\d{8}_\d{9}> Tuning process finished\.", first)
    assert re.fullmatch(r"\[Aoe\]Aoe process finished,cost time \d+s\.", last)


def test_failure_on_the_console(run: Run, folder: Path, bank: Path) -> None:
    status, out, err = run(*OPERATORS, "--input_shape=z:2,4")
    assert (status, err) == (255, "")
    verdict, report, *_ = out.splitlines()
    assert verdict == "[Aoe]Aoe process failed, Try 'aoe --help' for more information"
    assert "(E10016): Op name z specified in --input_shape" in report
    assert "Aoe process finished" not in out
    assert files(bank) == []
    assert not (folder / "out" / "net.om").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--soc_version=Ascend310P3"], "ERROR: unknown command line flag 'soc_version'"),
        (["--precision_mode_v2=fp16"], "ERROR: unknown command line flag 'precision_mode_v2'"),
        (["--job_type"], "ERROR: flag '--job_type' is missing its argument"),
        (["-x", "1"], "ERROR: unknown command line flag 'x'"),
        (["stray"], "ERROR: Non-option parameter: stray"),
    ],
)
def test_complaints_of_the_parser(arguments: list[str], words: str, run: Run) -> None:
    status, out, err = run(*arguments)
    assert status == 255
    assert err.startswith(words)
    assert "E19999: Internal Error!" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (BASE, "E10001"),
        ([*BASE, "--job_type=3"], "E10001"),
        ([*OPERATORS, "--tune_optimization_level=O3"], "E10001"),
        ([*OPERATORS, "--progress_bar=yes"], "E10001"),
        ([*OPERATORS, "--device=4"], "E10001"),
        ([*OPERATORS, "--device=one"], "E10001"),
        ([*OPERATORS, "--singleop=a.json"], "E10055"),
        ([*OPERATORS, "--ip=127.0.0.1"], "E10055"),
        ([*OPERATORS, "--tune_ops_file=none.json"], "E13000"),
        ([*OPERATORS, "--model=none.onnx"], "E13000"),
        ([*OPERATORS, "--framework=0"], "E10008"),
        (["--model=net.weird", "--job_type=2"], "E10007"),
        (["--job_type=2", "--framework=5"], "E10054"),
        ([*OPERATORS, "--input_shape=x:1,4", "--dynamic_batch_size=1,2"], "E10031"),
    ],
)
def test_faults_of_a_request(arguments: list[str], expected: str, run: Run) -> None:
    status, out, _ = run(*arguments)
    assert status == 255
    assert code(out) == expected


def test_a_missing_job_type_says_which_there_are(run: Run) -> None:
    _, out, _ = run(*BASE)
    assert "--job_type is invalid. Reason: It is required: 1 tunes subgraphs, 2 tunes operators." in out


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ASCEND_EMULATOR_DEVICES", "0", "no device is attached to this node"),
        ("ASCEND_RT_VISIBLE_DEVICES", "9", "ASCEND_RT_VISIBLE_DEVICES is [9]"),
        ("ASCEND_EMULATOR_SOC", "Ascend1", "ASCEND_EMULATOR_SOC is 'Ascend1'"),
        ("ASCEND_HOME_PATH", "/opt", "this is the emulated aoe, and ASCEND_HOME_PATH of CANN is set"),
    ],
)
def test_it_needs_a_device(
    variable: str, value: str, words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    status, out, _ = run(*OPERATORS, *STATIC)
    assert status == 255
    assert code(out) == "E10055"
    assert words in out


def test_the_device_is_counted_among_the_visible_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("ASCEND_DEVICE_ID", "1")
    assert run(*OPERATORS, *STATIC)[0] == 0
    assert code(run(*OPERATORS, *STATIC, "--device=2")[1]) == "E10001"


def test_help_names_every_option(run: Run) -> None:
    status, out, _ = run("-h")
    assert status == 0
    assert out.startswith("usage: aoe <args>    (ascend-emulator ")
    assert all(f"  --{name} " in out for name in OPTIONS)


def test_as_a_module(folder: Path, bank: Path) -> None:
    save(folder / "net.onnx", NET)
    command = [sys.executable, "-m", "ascend_emulator.aoe", *OPERATORS, *STATIC]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Aoe process finished" in done.stdout


# --- what it writes -------------------------------------------------------------------------------


@pytest.mark.parametrize("soc", ["Ascend310P3", "Ascend910B3"])
@pytest.mark.parametrize("job_type", ["1", "2"])
def test_the_model_is_the_one_that_atc_makes_for_the_card(
    soc: str, job_type: str, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", soc)
    shared = ["--precision_mode=allow_mix_precision", "--output_type=FP16", *GEARS]
    assert run(*BASE, f"--job_type={job_type}", *shared)[0] == 0
    tuned = read_om((folder / "out" / "net.om").read_bytes())
    assert run(*BASE, *shared, f"--soc_version={soc}", tool=atc.main)[0] == 0
    plain = read_om((folder / "out" / "net.om").read_bytes())
    assert tuned.soc_version == soc
    assert tuned.network == plain.network
    assert (tuned.inputs, tuned.outputs, tuned.gears) == (plain.inputs, plain.outputs, plain.gears)


def test_the_bank_of_operators_has_each_at_every_gear(run: Run, folder: Path, bank: Path) -> None:
    save(folder / "net.onnx", IMAGE)
    shapes = ["--input_shape=x:-1,1,4,4;z:-1,2", "--dynamic_batch_size=1,2"]
    assert run(*OPERATORS, *shapes, "--precision_mode=must_keep_origin_dtype")[0] == 0
    place = "Ascend310P3/unified_bank/Ascend310P3_8_AiCore"
    assert files(bank) == [f"{place}_Conv2D_runtime_kb.json", f"{place}_MatMulV2_runtime_kb.json"]
    found = entries(bank / f"{place}_Conv2D_runtime_kb.json")
    assert sorted(entry["info_dict"]["inputs"][0]["shape"] for entry in found) == [[1, 1, 4, 4], [2, 1, 4, 4]]
    assert {entry["info_dict"]["op_type"] for entry in found} == {"Conv2D"}
    assert [entry["id"] for entry in found] == sorted(entry["id"] for entry in found)
    assert all("emulated" in entry["knowledge"] for entry in found)
    (matmul, _) = entries(bank / f"{place}_MatMulV2_runtime_kb.json")
    assert matmul["info_dict"]["inputs"][1] == {"dtype": "FLOAT", "shape": [2, 3]}


def test_the_bank_is_the_same_for_the_same_model(run: Run, bank: Path) -> None:
    assert run(*OPERATORS, *GEARS)[0] == 0
    first = {name: (bank / name).read_bytes() for name in files(bank)}
    for name in first:
        (bank / name).unlink()
    assert run(*OPERATORS, *GEARS)[0] == 0
    assert {name: (bank / name).read_bytes() for name in files(bank)} == first
    assert first


def test_a_bank_grows_and_keeps_what_it_has(run: Run, folder: Path, bank: Path) -> None:
    assert run(*OPERATORS, "--input_shape=x:2,4")[0] == 0
    (name,) = files(bank)
    (old,) = (bank / name).read_text().splitlines()
    tuned = old.replace('"},"version"', '","tiling":7},"version"')
    (bank / name).write_text(tuned + "\n")
    assert run(*OPERATORS, "--input_shape=x:2,4")[0] == 0
    assert run(*OPERATORS, "--input_shape=x:3,4")[0] == 0
    lines = (bank / name).read_text().splitlines()
    assert len(lines) == 2
    assert tuned in lines
    summaries = [
        json.loads(path.read_text())[1]["OPAT"]["repo_summary"]
        for path in sorted(folder.glob("aoe_result_*"))
    ]
    assert [(each["repo_add_num"], each["repo_hit_num"]) for each in summaries] == [(1, 0), (0, 1), (1, 0)]


def test_a_file_that_is_no_bank(run: Run, bank: Path) -> None:
    assert run(*OPERATORS, *STATIC)[0] == 0
    (name,) = files(bank)
    (bank / name).write_text("{}\n")
    _, out, _ = run(*OPERATORS, *STATIC)
    assert code(out) == "E13005"
    assert (bank / name).read_text() == "{}\n"


def test_the_bank_of_subgraphs_has_the_whole_network(run: Run, bank: Path) -> None:
    assert run(*BASE, "--job_type=1", *STATIC, "--precision_mode=must_keep_origin_dtype")[0] == 0
    (name,) = files(bank)
    assert re.fullmatch(r"Ascend310P3_\d+_graph_kb\.json", name)
    (entry,) = entries(bank / name)
    assert [each["op_type"] for each in entry["info_dict"]["subgraph"]] == ["MatMulV2", "Relu"]
    before = (bank / name).read_bytes()
    assert run(*BASE, "--job_type=1", *STATIC, "--precision_mode=must_keep_origin_dtype")[0] == 0
    assert files(bank) == [name]
    assert (bank / name).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        ({"tune_ops_name": ["conv"]}, ["Conv2D"]),
        ({"tune_ops_type": ["MatMulV2"]}, ["MatMulV2"]),
        ({"tune_ops_name": ["conv"], "tune_ops_type": ["MatMulV2"]}, ["Conv2D", "MatMulV2"]),
        ({"tune_ops_name": ["none"]}, []),
    ],
)
def test_a_file_names_the_operators_to_tune(
    content: dict, kinds: list[str], run: Run, folder: Path, bank: Path
) -> None:
    save(folder / "net.onnx", IMAGE)
    (folder / "ops.json").write_text(json.dumps(content))
    arguments = ["--input_shape=x:1,1,4,4;z:1,2", "--tune_ops_file=ops.json"]
    assert run(*OPERATORS, *arguments)[0] == 0
    assert [name.split("_")[-3] for name in files(bank)] == kinds


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"tune_ops_name": "conv"}'])
def test_a_file_of_operators_that_is_none(text: str, run: Run, folder: Path) -> None:
    (folder / "ops.json").write_text(text)
    _, out, _ = run(*OPERATORS, *STATIC, "--tune_ops_file=ops.json")
    assert code(out) == "E10032"


def test_without_output_the_model_goes_to_the_workspace(run: Run, folder: Path) -> None:
    status, out, _ = run("-m", "net.onnx", "-j", "2", *STATIC)
    assert status == 0
    name = out.split("<")[1].split(">")[0]
    assert files(folder / "aoe_workspace") == [f"{name}/tunespace/result/{name}_tune.om"]


def test_the_result_goes_to_the_work_path(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "work").mkdir()
    monkeypatch.setenv("ASCEND_WORK_PATH", str(folder / "work"))
    assert run(*BASE, "--job_type=1", *STATIC)[0] == 0
    (name,) = [name for name in files(folder / "work") if name.startswith("aoe_result")]
    assert re.fullmatch(r"aoe_result_sgat_\d{8}_\d{9}_pid\d+\.json", name)
    basic, sgat = json.loads((folder / "work" / name).read_text())
    assert basic["basic"]["tuning_name"].startswith("net_")
    assert sgat["SGAT"]["repo_summary"]["repo_add_num"] == 1


# --- where the bank is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "operators", "subgraphs"),
    [
        ("TUNE_BANK_PATH", "Ascend310P3/unified_bank", ""),
        ("ASCEND_CACHE_PATH", "aoe_data/Ascend310P3/unified_bank", "aoe_data"),
        (
            "HOME",
            "Ascend/latest/data/aoe/custom/op/Ascend310P3/unified_bank",
            "Ascend/latest/data/aoe/custom/graph/Ascend310P3",
        ),
    ],
)
def test_where_the_bank_is(
    variable: str, operators: str, subgraphs: str, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder / "root"
    root.mkdir()
    if variable != "TUNE_BANK_PATH":
        monkeypatch.delenv("TUNE_BANK_PATH")
    monkeypatch.setenv(variable, str(root))
    for job_type, expected in (("2", operators), ("1", subgraphs)):
        before = set(files(root))
        assert run(*BASE, f"--job_type={job_type}", *STATIC)[0] == 0
        (made,) = set(files(root)) - before
        assert str(Path(made).parent) == (expected or ".")


def test_a_bank_that_is_not_there(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_BANK_PATH", str(folder / "none"))
    _, out, _ = run(*OPERATORS, *STATIC)
    assert "for parameter TUNE_BANK_PATH is invalid. Reason: The directory does not exist." in out
    monkeypatch.delenv("TUNE_BANK_PATH")
    monkeypatch.delenv("HOME")
    assert code(run(*OPERATORS, *STATIC)[1]) == "E10058"


@pytest.mark.parametrize("option", ["op_bank_path", "mdl_bank_path"])
@pytest.mark.parametrize("there", [True, False])
def test_atc_with_a_bank_makes_the_same_model(
    option: str, there: bool, run: Run, folder: Path, bank: Path
) -> None:
    assert run(*OPERATORS, *GEARS)[0] == 0
    tuned = read_om((folder / "out" / "net.om").read_bytes())
    path = str(bank if there else folder / "none")
    arguments = [*BASE, "--soc_version=Ascend310P3", *GEARS, f"--{option}={path}"]
    assert run(*arguments, tool=atc.main)[0] == 0
    later = read_om((folder / "out" / "net.om").read_bytes())
    assert later.network == tuned.network
    assert (option, path) in later.options


def test_the_shared_options_are_those_of_atc() -> None:
    assert all(ATC_OPTIONS[option.name] is option for option in SHARED)
    assert "soc_version" not in OPTIONS

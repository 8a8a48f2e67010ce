"""Diagnoses of real runs of the emulated `atc`, in each look that reports have had."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from ascend_emulator.atc import modes
from ascend_emulator.atc.errors import KINDS

from ascend_serve.compiling.diagnosis.diagnose import diagnose, warnings
from ascend_serve.compiling.diagnosis.hints import ADVICE
from tests.unit import atc_runs
from tests.unit.atc_runs import BASE, GEARS, HEADER, NET, STATIC, Run, save

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run = atc_runs.folder, atc_runs.run

GENERATIONS = ("5", "7", "8.5")
MODEL = ["--model=net.onnx", "--output=net", *BASE]
ON_IMAGE = [*MODEL, "--input_format=NCHW", "--input_shape=x:1,3,4,4"]
IMAGE = HEADER + " net (float[1,3,H,W] x) => (float[1,3,H,W] y) { [act] y = Relu(x) }"
SCALAR = HEADER + " net (float[N,4] x, float b) => (float[N,4] y) { [add] y = Add(x, b) }"
TWO = HEADER + " net (float[2,4] a, float[2,4] b) => (float[2,4] y) { [add] y = Add(a, b) }"
FUNCTIONS = b"\x0a\x06\x0a\x01n\x12\x01f" + b"\x12\x07\x0a\x05\x0a\x03\x0a\x01f"
"""A TensorFlow graph of one node, which calls the one function of the library."""


def body(text: str) -> str:
    return f"{HEADER} net {text}"


@dataclass(frozen=True)
class Case:
    """A run that must fail.

    Attributes:
        arguments: of `atc`.
        hint: words of what to do.
        operator: type that the diagnosis must name.
        node: name that the diagnosis must give.
        net: the model; text of ONNX, or bytes as they are.
        option: of ATC's guide, that the diagnosis must refer to.
        file: content of `side.txt` beside the model.
    """

    arguments: list[str]
    hint: str
    operator: str | None = None
    node: str | None = None
    net: str | bytes = NET
    option: str | None = None
    file: str = ""


AIPP = "aipp_op { aipp_mode: static input_format: RGB888_U8 }"
CASES = {
    "E10001": Case([*MODEL, "--input_format=NHWC"], "`input_format` is NCHW", option="input_format"),
    "E10001 shape": Case(MODEL, "Give every input its shape under `inputs`", option="input_shape"),
    "E10001 model": Case([*BASE, "--output=o", "--model=si de.txt"], "Check `source`", option="model"),
    "E10001 tuning": Case(["--auto_tune_mode=GA"], "AOE (`tune`)", option="auto_tune_mode"),
    "E10002": Case([*MODEL, "--input_shape=x"], "whole numbers", option="input_shape"),
    "E10003": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=1, 4"],
        "`gears` as whole numbers",
        option="dynamic_batch_size",
    ),
    "E10004": Case([*MODEL, "--dynamic_batch_size=1,2"], "shapes under `inputs`", option="input_shape"),
    "E10005": Case(
        ["--enable_compress_weight=yes"],
        "`enable_compress_weight` to true or false",
        option="enable_compress_weight",
    ),
    "E10006": Case(
        ["--disable_reuse_memory=2"], "`disable_reuse_memory` to 1 or 0", option="disable_reuse_memory"
    ),
    "E10007": Case(["--model=net.onnx"], "5 ONNX", option="framework"),
    "E10008": Case(["--framework=0"], "Caffe weights in `weight`", option="weight"),
    "E10009": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=1,2", "--dynamic_dims=1;2"],
        "Keep one of `gears`",
        option="dynamic_batch_size",
    ),
    "E10010": Case(["--log=loud"], "Set `log`", option="log"),
    "E10011": Case([*MODEL, "--input_shape=x:0,4"], "at least 1", option="input_shape"),
    "E10012": Case(
        [*MODEL, "--input_shape=x:-1,4;b:", "--dynamic_batch_size=1,2"],
        "leave it out of `inputs`",
        net=SCALAR,
        option="input_shape",
    ),
    "E10013": Case([*MODEL, *STATIC, "--out_nodes=act:99999999999"], "too large", option="out_nodes"),
    "E10014": Case([*MODEL, "--input_shape=x:a,4"], "shape under `inputs`", option="input_shape"),
    "E10016": Case([*MODEL, "--input_shape=z:1,4"], "names in `inputs`", node="z", option="input_shape"),
    "E10016 half": Case(
        [*MODEL, *STATIC, "--input_fp16_nodes=z"],
        "names in `input_fp16_nodes`",
        node="z",
        option="input_fp16_nodes",
    ),
    "E10017": Case(
        [*MODEL, "--input_shape=h:1,4"], "an input of the model in `inputs`", node="h", option="input_shape"
    ),
    "E10018": Case(
        [*MODEL, "--input_shape=x:-1,-1", "--dynamic_batch_size=1,2"],
        "only axis 0 may be -1",
        option="dynamic_batch_size",
    ),
    "E10019": Case(
        [*MODEL, "--input_shape=x:1,3,4,-1", "--dynamic_image_size=4,4;8,8", "--input_format=NCHW"],
        "height and width",
        net=IMAGE,
        option="dynamic_image_size",
    ),
    "E10020": Case(
        [*MODEL, "--input_shape=x:1,3,-1,-1", "--dynamic_image_size=4,4;8", "--input_format=NCHW"],
        "a height and a width",
        net=IMAGE,
        option="dynamic_image_size",
    ),
    "E10021": Case([*BASE, "--model=net.onnx", "--output=" + "o" * 5000], "shorter path", option="output"),
    "E10022": Case([*BASE, "--model=net.onnx", "--output=o/"], "file name without .om", option="output"),
    "E10031": Case(
        [*MODEL, "--input_shape=x:1,4", "--dynamic_batch_size=1,2"],
        "write -1 at axis 0",
        option="dynamic_batch_size",
    ),
    "E10034": Case(
        [*ON_IMAGE, "--insert_op_conf=side.txt", "--input_fp16_nodes=x"],
        "leave it out of `input_fp16_nodes`",
        net=IMAGE,
        file=AIPP,
        option="input_fp16_nodes",
    ),
    "E10035": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=4"],
        "at least two",
        option="dynamic_batch_size",
    ),
    "E10036": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=" + ",".join(map(str, range(1, 102)))],
        "100 is the most",
        option="dynamic_batch_size",
    ),
    "E10037": Case(
        [*MODEL, "--input_shape=x:1,3,-1,-1", "--dynamic_image_size=4,4;8,", "--input_format=NCHW"],
        "the same number of sizes",
        net=IMAGE,
        option="dynamic_batch_size",
    ),
    "E10038": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=0,1"],
        "at least 1",
        option="dynamic_batch_size",
    ),
    "E10039": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=4,4"],
        "stand once",
        option="dynamic_batch_size",
    ),
    "E10040": Case(
        [*MODEL, "--input_shape=x:1~4,4", "--dynamic_batch_size=1,2"],
        "are -1; a range",
        option="input_shape",
    ),
    "E10041": Case(["--mode=6", "--om=net.onnx"], "no .om", option="om"),
    "E10047": Case(
        [*MODEL, "--compress_weight_conf=side.txt", "--enable_compress_weight=true"],
        "remove one",
        file="x",
        option="enable_compress_weight",
    ),
    "E10048": Case([*MODEL, "--input_shape=x:4~1,4"], "lowest~highest", option="input_shape"),
    "E10049": Case([*MODEL, "--input_shape=x:1,4,1"], "as many dims under `inputs`", option="input_shape"),
    "E10050": Case([*MODEL, "--input_shape=x:1~4,5"], "widen the range", option="input_shape"),
    "E10052": Case(
        [*ON_IMAGE, "--insert_op_conf=side.txt"],
        "AIPP settings",
        net=IMAGE,
        file="aipp_op { aipp_mode: static }",
        option="insert_op_conf",
    ),
    "E10054": Case(["--framework=5", "--model=net.onnx"], "Set `targets`", option="soc_version"),
    "E10055": Case([*MODEL, "--mode=30"], "cannot do what was asked"),
    "E10056": Case(
        [*MODEL, "--precision_mode=force_fp16", "--precision_mode_v2=fp16"],
        "Set `precision` alone",
        option="precision_mode_v2",
    ),
    "E10057": Case(["--mode=6", "--om=net.onnx", "--framework=5"], "no option of a model", option="mode"),
    "E10058": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_dims=;"],
        "Give `dims_gears` a value",
        option="dynamic_dims",
    ),
    "E12029": Case(
        ["--model=net.onnx", "--output=net", "--framework=3", "--soc_version=Ascend310P3"],
        "func2graph.py",
        net=FUNCTIONS,
    ),
    "E13000": Case([*BASE, "--output=o", "--model=none.onnx"], "Check `source`"),
    "E13001": Case([*BASE, "--output=o", "--model=."], "Check `source`"),
    "E13004": Case([*BASE, "--model=net.onnx", "--output=" + "o" * 300, *STATIC], "the disk is full"),
    "E13005": Case(MODEL, "Git LFS pointer", net=b"version https://git-lfs.github.com/spec/v1\n"),
    "E13009": Case(
        MODEL,
        "rename one",
        node="n",
        net=body("(float[1] x) => (float[1] y) { [n] a = Abs(x) [n] y = Neg(a) }"),
    ),
    "E13010": Case(
        MODEL,
        "custom operator package",
        operator="FindMax",
        node="top",
        net=body("(float[1] x) => (float[1] y) { [top] y = FindMax(x) }"),
    ),
    "E13015": Case(MODEL, "empty or too large", net=b""),
    "E13025": Case([*MODEL, "--input_shape=-1,4"], "Compare `inputs`", net=TWO, option="input_shape"),
    "E14001": Case(
        [*MODEL, *GEARS],
        "dynamic batch axis",
        operator="Reshape",
        node="rs",
        net=body("(float[N,4] x) => (float[1,4] y) <int64[2] s = {1, 4}> { [rs] y = Reshape(x, s) }"),
    ),
    "E16001": Case(MODEL, "`onnx.checker`", net=body("(float[1] x) => () { y = Relu(x) }")),
    "E16004": Case(MODEL, "no ONNX graph", net=b"\x08\x08"),
    "E19999": Case(
        [*MODEL, "--input_shape=x:-1,4", "--dynamic_batch_size=1,900000000000"], "first failed node"
    ),
    "E20003": Case(
        [*MODEL, *STATIC, "--fusion_switch_file=side.txt"],
        "item of the configuration file",
        file="Pass:maybe",
    ),
    "E20101": Case(
        ["--model=net.onnx", "--output=net", "--framework=5", "--soc_version=Ascend999"],
        "`targets` the exact name",
        option="soc_version",
    ),
    "E20103": Case([*MODEL, "--aicore_num=9"], "lower `aicore_num`", option="aicore_num"),
    "E21001": Case([*MODEL, "--fusion_switch_file=none.cfg"], "relative ones start at the recipe's folder"),
    "E21002": Case(
        [*MODEL, "--modify_mixlist=side.txt", "--precision_mode_v2=mixed_float16"],
        "content of that file",
        file="[",
    ),
    "EZ3003": Case(
        MODEL,
        "operator package is installed",
        operator="Softmax",
        node="m",
        net=body("(int8[2] x) => (int8[2] y) { [n] y = Sign(x) [m] z = Softmax(y) }"),
    ),
}

UNREACHED = {"E10032", "E10410", "E13026"}
"""Codes of the emulator's table that no command line leads to: a file must vanish while `atc` runs."""


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", CASES)
def test_a_run_of_the_emulated_atc(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, generation: str
) -> None:
    case = CASES[name]
    monkeypatch.setenv("ASCEND_EMULATOR_CANN", generation)
    for name_of_file in ("side.txt", "si de.txt"):
        (folder / name_of_file).write_text(case.file)
    if isinstance(case.net, bytes):
        (folder / "net.onnx").write_bytes(case.net)
    else:
        save(folder / "net.onnx", case.net)
    status, out, err = run(*case.arguments)
    assert status == 255
    found = diagnose(err + out, status, 60)
    code = name.partition(" ")[0]
    assert (found.code, found.operator, found.node) == (code, case.operator, case.node)
    assert case.hint in str(found.hint)
    assert f"/{code}-" in str(found.reference) or f", {code}" in str(found.reference)
    guide = str(found.reference).partition("; CANN ATC guide, --")[2]
    assert guide.partition(",")[0] == (case.option or "")
    assert "Solution" not in found.cause


def test_every_code_of_the_emulated_atc_has_advice_and_a_run() -> None:
    assert set(KINDS) <= set(ADVICE)
    assert {name.partition(" ")[0] for name in CASES} | UNREACHED == set(KINDS) | UNREACHED


def test_titles_are_those_of_the_pages_referred_to() -> None:
    pages = {code: ADVICE[code].reference for code in KINDS if ADVICE[code].reference.endswith(".md")}
    assert len(pages) == len(KINDS) - 1
    for code, page in pages.items():
        assert page.endswith(f"/{code}-{KINDS[code].title}.md")


@pytest.mark.parametrize(
    ("generation", "title", "message"),
    [
        ("5", "E19999: Inner Error!", r"E19999  \S"),
        ("7", "E19999: Inner Error!", r"E19999: \[PID: \d+\] \S+ \S"),
        ("8.5", "E19999: Internal error!", r"\[PID: \d+\] \S+ Inner_Error\(E19999\): \S"),
    ],
)
def test_an_inner_error_has_a_title_before_its_message(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, generation: str, title: str, message: str
) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_CANN", generation)
    save(folder / "net.onnx", NET)
    _, out, _ = run(*CASES["E19999"].arguments)
    first, second, *_ = out.partition("ATC run failed,")[2].splitlines()[1:]
    assert first == title
    assert re.match(message, second)


def test_an_unknown_option(run: Run) -> None:
    status, out, err = run("--jit_compiler=1")
    found = diagnose(err + out, status, 60)
    assert found.cause == "unknown command line flag 'jit_compiler'"
    assert "atc --help" in str(found.hint)


def test_several_unknown_operators(run: Run, folder: Path) -> None:
    save(
        folder / "net.onnx",
        body("(float[1] x) => (float[1] y) { [a] h = FindMax(x) [b] g = FindMin(h) [c] y = FindMean(g) }"),
    )
    status, out, err = run(*MODEL)
    found = diagnose(err + out, status, 60)
    assert (found.operator, found.node) == ("FindMax", "a")
    assert found.cause.endswith("Likewise: FindMin (b), FindMean (c)")


def test_an_opset_that_atc_does_not_document_is_a_warning(run: Run, folder: Path) -> None:
    save(folder / "net.onnx", NET.replace('"" : 17', '"" : 20'))
    status, out, _ = run(*MODEL, *STATIC)
    assert status == 0
    (found,) = warnings(out)
    assert "opset 20" in found.cause


def test_a_failure_nobody_foresaw(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[str]:
        raise RuntimeError("the planner is confused")

    monkeypatch.setattr(modes, "run", fail)
    save(folder / "net.onnx", NET)
    status, out, err = run(*MODEL, *STATIC)
    found = diagnose(err + out, status, 60)
    assert (found.code, found.cause) == ("E19999", "RuntimeError: the planner is confused")

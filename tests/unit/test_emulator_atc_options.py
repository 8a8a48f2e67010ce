from __future__ import annotations

import json
from pathlib import Path

import pytest
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.options import OPTIONS, CommandLineError, HelpWanted, Option, Use, parse, usage
from ascend_emulator.om import read_om

from tests.unit import atc_runs
from tests.unit.atc_runs import NET, Run, code, save

pytestmark = pytest.mark.unit

# Fixtures, by the names that tests ask for them.
folder, run = atc_runs.folder, atc_runs.run


@pytest.mark.parametrize(
    "arguments",
    [
        ["--soc_version=Ascend310P3"],
        ["--soc_version", "Ascend310P3"],
        ["-soc_version", "Ascend310P3"],
        ["-soc_version=Ascend310P3"],
        ["--soc-version=Ascend310P3"],
        ["--soc", "Ascend310P3"],
        ["--soc=Ascend310B1", "--soc=Ascend310P3"],
    ],
)
def test_one_option_in_all_its_spellings(arguments: list[str]) -> None:
    assert parse(arguments)["soc_version"] == "Ascend310P3"


def test_only_the_name_loses_its_dashes() -> None:
    assert parse(["--out-nodes=a-b:0"])["out_nodes"] == "a-b:0"


def test_a_value_may_begin_with_dashes_when_it_stands_alone() -> None:
    assert parse(["--model", "--output"])["model"] == "--output"


def test_a_full_name_wins_over_longer_ones() -> None:
    assert parse(["--precision_mode=force_fp16"])["precision_mode"] == "force_fp16"
    assert parse(["--output=a"])["output"] == "a"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense=1"], "unknown command line flag 'nonsense'"),
        (["--mod=1"], "unknown command line flag 'mod'"),  # mode, model, modify_mixlist
        (["-x"], "unknown command line flag 'x'"),
        (["--model"], "flag '--model' is missing its argument; flag description: model file"),
        (["net.onnx"], "Non-option parameter: net.onnx"),
        (["a", "--log=error", "b"], "Non-option parameter: a\nERROR: Non-option parameter: b"),
        (["--", "--model=x"], "Non-option parameter: --model=x"),
    ],
)
def test_what_the_parser_complains_about(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandLineError) as caught:
        parse(arguments)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["-help"], ["--hel"], ["--h"], ["--log=error", "-h"]]
)
def test_help_ends_the_parsing(arguments: list[str]) -> None:
    with pytest.raises(HelpWanted):
        parse([*arguments, "--nonsense"])


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("--log=loud", "E10010"),
        ("--framework=2", "E10007"),
        ("--mode=2", "E10001"),
        ("--precision_mode=fp16", "E10001"),
        ("--precision_mode_v2=force_fp16", "E10001"),
        ("--sparsity=2", "E10006"),
        ("--external_weight=yes", "E10006"),
        ("--enable_single_stream=1", "E10005"),
        ("--buffer_optimize=l3", "E10001"),
    ],
)
def test_values_outside_their_range(argument: str, code: str) -> None:
    with pytest.raises(AtcError) as caught:
        parse([argument])
    assert caught.value.code == code
    assert argument.partition("=")[2] in caught.value.message or code == "E10007"


def test_the_refused_are_told_from_their_defaults() -> None:
    given = parse(
        ["--customize_dtypes=a.cfg", "--singleop=", "--save_original_model=false", "--cal_conf=b.cfg"]
    )
    assert given.refused() == ["customize_dtypes", "cal_conf"]
    assert parse([]).refused() == []


def test_the_harmless_are_recorded_with_what_was_given() -> None:
    given = parse(["--log=error", "--op_debug_level=0", "--mdl_bank_path=a;b", "--output_type=FP16"])
    assert given.harmless() == (("mdl_bank_path", "a;b"), ("log", "error"))
    assert parse([]).harmless() == ()


def test_given_is_told_from_default() -> None:
    given = parse(["--deterministic_level=0"])
    assert "deterministic_level" in given
    assert "deterministic" not in given


def test_the_usage_names_the_version_first_and_every_option() -> None:
    text = usage("1.2.3")
    assert "ascend-emulator 1.2.3" in text.splitlines()[0]
    for name, option in OPTIONS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"  --{name} "))
        assert line.endswith(f" ({option.use.value})") == (option.use is not Use.EMULATED)


# --- every option, with a legal and an illegal value ----------------------------------------------

_PLAIN = {
    "model": "net.onnx",
    "output": "net",
    "framework": "5",
    "soc_version": "Ascend310P3",
    "input_shape": "x:2,4",
}
_OPEN = {"input_shape": "x:-1,4"}
_MIXED = {"precision_mode_v2": "mixed_float16"}
_MODE_1 = {"mode": "1", "model": "", "output": "", "framework": "", "input_shape": "", "om": "made.om"}

# Option: a legal value, what else it needs, and an illegal value with the code it gets.
EMULATED: dict[str, tuple[str, dict[str, str], str, str]] = {
    "mode": ("3", {}, "2", "E10001"),
    "model": ("net.onnx", {}, "none.onnx", "E13000"),
    "om": ("made.om", {**_MODE_1, "json": "made.json"}, "none.om", "E13000"),
    "framework": ("5", {}, "4", "E10007"),
    "input_format": ("ND", {}, "NHWC", "E10001"),
    "input_shape": ("x:3,4", {}, "x:3", "E10049"),
    "input_shape_range": ("x:[1~4,4]", {"input_shape": ""}, "x:1~4", "E10048"),
    "dynamic_batch_size": ("1,2", _OPEN, "1,b", "E10003"),
    "dynamic_image_size": ("2,3;4,5", {"model": "image.onnx", "input_shape": "x:1,1,-1,-1"}, "2;4", "E10020"),
    "dynamic_dims": ("1;2", _OPEN, "1,2", "E10003"),
    "input_fp16_nodes": ("x", {}, "z", "E10016"),
    "is_input_adjust_hw_layout": ("false", {"input_fp16_nodes": "x"}, "no", "E10005"),
    "insert_op_conf": ("aipp.cfg", {"model": "image.onnx", "input_shape": "x:1,1,4,4"}, "none.cfg", "E13000"),
    "output": ("sub/net", {}, "sub/", "E10022"),
    "output_type": ("FP16", {}, "FP8", "E10001"),
    "out_nodes": ("act:0", {}, "gone:0", "E10016"),
    "is_output_adjust_hw_layout": ("false", {"out_nodes": "act:0"}, "no", "E10005"),
    "check_report": ("report.json", {}, "a*", "E10001"),
    "json": ("made.json", _MODE_1, "a*", "E10001"),
    "dump_mode": ("1", {}, "2", "E10006"),
    "external_weight": ("1", {}, "3", "E10006"),
    "display_model_info": ("1", {}, "yes", "E10006"),
    "host_env_os": ("linux", {}, "windows", "E10001"),
    "host_env_cpu": ("aarch64", {}, "riscv", "E10001"),
    "soc_version": ("Ascend310B4", {}, "Ascend310", "E20101"),
    "precision_mode": ("force_fp32", {}, "fp16", "E10001"),
    "precision_mode_v2": ("origin", {}, "force_fp16", "E10001"),
    "is_weight_clip": ("0", {}, "2", "E10001"),
    "modify_mixlist": ("mixlist.json", _MIXED, "none.json", "E21001"),
    "keep_dtype": ("names.cfg", {}, "none.cfg", "E13000"),
    "enable_attr_compression": ("false", {}, "no", "E10005"),
}
HARMLESS: dict[str, tuple[str, dict[str, str], str, str]] = {
    "raw_ge_options": ("raw.json", {}, "names.cfg", "E10032"),
    "raw_ge_options_ignore_unsupported": ("true", {}, "1", "E10005"),
    "weight": ("net.onnx", {}, "none.caffemodel", "E13000"),
    "input_hint_shape": ("0:[1,4]", {"input_shape": "x:1~4,4"}, "0:1,4", "E10014"),
    "op_name_map": ("names.cfg", {}, "none.cfg", "E13000"),
    "virtual_type": ("1", {}, "2", "E10001"),
    "core_type": ("VectorCore", {}, "CubeCore", "E10001"),
    "aicore_num": ("8", {}, "9", "E20103"),
    "op_precision_mode": ("mode.ini", {}, "none.ini", "E13000"),
    "allow_hf32": ("true", {}, "yes", "E10005"),
    "op_select_implmode": ("high_precision", {}, "high", "E10001"),
    "optypelist_for_implmode": ("Relu", {"op_select_implmode": "high_precision"}, "", ""),
    "deterministic": ("1", {}, "2", "E10006"),
    "deterministic_level": ("2", {"deterministic": "1"}, "4", "E10001"),
    "enable_compress_weight": ("true", {}, "yes", "E10005"),
    "compress_weight_conf": ("names.cfg", {}, "none.cfg", "E13000"),
    "sparsity": ("1", {}, "2", "E10006"),
    "quant_dumpable": ("1", {}, "2", "E10001"),
    "fusion_switch_file": ("switch.cfg", {}, "none.cfg", "E21001"),
    "buffer_optimize": ("off_optimize", {}, "l3", "E10001"),
    "enable_small_channel": ("1", {}, "2", "E10001"),
    "op_compiler_cache_mode": ("force", {}, "on", "E10001"),
    "disable_reuse_memory": ("1", {}, "2", "E10006"),
    "enable_single_stream": ("true", {}, "1", "E10005"),
    "ac_parallel_enable": ("1", {}, "2", "E10001"),
    "tiling_schedule_optimize": ("1", {}, "2", "E10001"),
    "jit_compile": ("0", {}, "3", "E10001"),
    "oo_level": ("O1", {}, "O2", "E10001"),
    "oo_constant_folding": ("false", {}, "0", "E10005"),
    "oo_dead_code_elimination": ("false", {}, "0", "E10005"),
    "topo_sorting_mode": ("0", {}, "4", "E10001"),
    "export_compile_stat": ("0", {}, "3", "E10001"),
    "static_model_ops_lower_limit": ("-1", {}, "-2", "E10001"),
    "shape_generalized_build_mode": ("shape_generalized", {}, "precise", "E10001"),
    "log": ("debug", {}, "loud", "E10010"),
    "op_debug_level": ("4", {}, "5", "E10001"),
    "status_check": ("1", {}, "2", "E10006"),
    "atomic_clean_policy": ("1", {}, "2", "E10006"),
}
ANY_TEXT = {
    "enable_scope_fusion_passes": "PassOne,PassTwo",
    "device_id": "1",
    "target": "MINI",
    "op_compiler_cache_dir": "cache",
    "mdl_bank_path": "no/such/bank",
    "op_bank_path": "no/such/bank",
    "optimization_switch": "Pass:off",
    "multi_stream_parallel_mode": "cv",
    "h2d_overlapped_with_compute": "1",
    "build_config": "build.cfg",
    "debug_dir": "debug",
    "op_debug_config": "debug.cfg",
}
"""Options that take any text before a kernel is compiled; a bank or a folder that is not there is no error."""

LEGAL = {name: case[:2] for name, case in {**EMULATED, **HARMLESS}.items()}
LEGAL |= {name: (value, {}) for name, value in ANY_TEXT.items()}
ILLEGAL = [(name, case) for name, case in {**EMULATED, **HARMLESS}.items() if case[2]]


def _arguments(name: str, value: str, others: dict[str, str]) -> list[str]:
    given = {**_PLAIN, **others, name: value}
    return [f"--{option}={text}" for option, text in given.items() if text or option == name]


@pytest.fixture
def files(folder: Path, run: Run) -> Path:
    save(folder / "net.onnx", NET)
    image = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,1,H,W] x) => (float[1,1,H,W] y) { y = Relu(x) }'
    )
    save(folder / "image.onnx", image)
    (folder / "aipp.cfg").write_text("aipp_op { aipp_mode: static input_format: YUV400_U8 }")
    (folder / "raw.json").write_text(json.dumps({"compile options": {"graph": {"ge.x": "1"}}}))
    (folder / "mixlist.json").write_text(json.dumps({"black-list": {"to-add": ["Relu"]}}))
    (folder / "names.cfg").write_text("fc\n")
    (folder / "mode.ini").write_text("[ByOpType]\nRelu=high_precision\n")
    (folder / "switch.cfg").write_text("PassOne:off\n")
    plain = {**_PLAIN, "output": "made"}
    assert run(*(f"--{name}={value}" for name, value in plain.items()))[0] == 0
    return folder


def test_every_option_that_is_taken_has_a_case() -> None:
    taken = {name for name, option in OPTIONS.items() if option.use is not Use.REFUSED}
    assert set(LEGAL) == taken
    assert {name for name in taken if OPTIONS[name].values} <= {name for name, _ in ILLEGAL}


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_value_is_taken(name: str, files: Path, run: Run) -> None:
    value, others = LEGAL[name]
    status, out, _ = run(*_arguments(name, value, others))
    assert status == 0, out


@pytest.mark.parametrize(("name", "case"), ILLEGAL, ids=[name for name, _ in ILLEGAL])
def test_an_illegal_value_is_refused(
    name: str, case: tuple[str, dict[str, str], str, str], files: Path, run: Run
) -> None:
    _, others, value, expected = case
    status, out, _ = run(*_arguments(name, value, others))
    assert status == 255
    assert code(out) == expected


@pytest.mark.parametrize("name", [name for name in LEGAL if OPTIONS[name].use is Use.HARMLESS])
def test_a_harmless_option_leaves_the_network_as_it_is(name: str, files: Path, run: Run) -> None:
    value, others = LEGAL[name]
    plain = {**_PLAIN, **others, "output": "plain"}
    assert run(*(f"--{option}={text}" for option, text in plain.items() if text))[0] == 0
    assert run(*_arguments(name, value, others))[0] == 0
    ((without, with_it),) = zip(sorted(files.glob("plain*.om")), sorted(files.glob("net*.om")), strict=True)
    assert read_om(with_it.read_bytes()).network == read_om(without.read_bytes()).network
    assert (name, value) in read_om(with_it.read_bytes()).options


def test_a_table_of_another_command_is_parsed_alike() -> None:
    table = {
        "job_type": Option("job_type", Use.EMULATED, "what to do", values=("1", "2")),
        "reload": Option("reload", Use.HARMLESS, "go on", alone="true"),
    }
    given = parse(["-j", "2", "--reload"], table, {"j": "job_type"})
    assert (given["job_type"], given["reload"], given.harmless()) == ("2", "true", (("reload", "true"),))
    assert parse(["--rel=no"], table)["reload"] == "no"
    for arguments in (["-j", "2"], ["--model=x"], ["--reload", "no"]):
        with pytest.raises(CommandLineError):
            parse(arguments, table)

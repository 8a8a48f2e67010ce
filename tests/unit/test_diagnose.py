"""Diagnoses of what no recording holds: odd layouts, noise between the lines, ends without a report."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.compiling.diagnosis.advice import MEMORY_HINT, PYTHON_HINT, recipe_field
from ascend_serve.compiling.diagnosis.diagnose import diagnose, warnings
from ascend_serve.compiling.diagnosis.hints import ADVICE, FAMILIES, advise
from ascend_serve.compiling.diagnosis.hints_arguments import BY_OPTION
from ascend_serve.spec.recipe import CompileRecipe

pytestmark = pytest.mark.unit

START = "ATC start working now, please wait for a moment.\n...\n"
FAILED = START + "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"
STAMP = "[PID: 4711] 2026-01-02-03:04:05.678.901"
NO_BATCH = (
    f"{STAMP} Invalid_Argument_Tensor_Input_Shape(E10031): --dynamic_batch_size is included, but none of the nodes "
    "specified in --input_shape has a batch size equaling -1.\n"
)

CASES = {
    "a stamp without a process": (
        FAILED
        + "EZ3002: 2024-11-05-22:31:29.035.909 Optype [TransData] of Ops kernel [AIcoreEngine] is unsupported. "
        "Reason: none.\n",
        "EZ3002",
        "Optype [TransData] of Ops kernel [AIcoreEngine] is unsupported. Reason: none.",
    ),
    "a title without text": (
        FAILED + "EZ9999: Inner Error!\nEZ9999: [PID: 7] 2025-01-01-00:00:00.000.001 Tiling failed"
        "[FUNC:Tile][FILE:t.cc][LINE:3]\n        TraceBack (most recent call last):\n",
        "EZ9999",
        "Tiling failed",
    ),
    "a title before text without a code": (
        FAILED + "E19999: Inner Error!\n        The first step failed[FUNC:Run][FILE:r.cc][LINE:3]\n"
        "E19999: [PID: 7] 2025-01-01-00:00:00.000.001 The second step failed\n",
        "E19999",
        "The first step failed",
    ),
    "no error text": (
        FAILED + "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n",
        "E19999",
        "An unknown error occurred. Please check the log.",
    ),
    "a title and nothing else": (FAILED + "E19999: Internal Error!\n", "E19999", "Internal Error!"),
    "advice on the same line": (
        FAILED + "E19010: No parser is registered for Op [/x/FindMax]. Solution: Check the version.\n",
        "E19010",
        "No parser is registered for Op [/x/FindMax].",
    ),
    "an inner error before the one that tells": (
        FAILED + "E19999: Inner Error!\nE19999: [PID: 7] 2025-01-01-00:00:00.000.001 A pass failed\n"
        "        TraceBack (most recent call last):\n"
        "        EZ3003: No supported Ops kernel and engine are found for [fc], optype [MatMul].\n",
        "EZ3003",
        "No supported Ops kernel and engine are found for [fc], optype [MatMul].",
    ),
    "a check of parameters before the one that tells": (
        FAILED + "E18888: Inner Error!\nE10049: Dimension count [3] does not match [4] of the node.\n",
        "E10049",
        "Dimension count [3] does not match [4] of the node.",
    ),
    "a failure that led to another": (
        FAILED + NO_BATCH + "        TraceBack (most recent call last):\n        E10001: inner failure "
        "[FUNC:Run][FILE:x.cc][LINE:12]\n",
        "E10031",
        "--dynamic_batch_size is included, but none of the nodes specified in --input_shape has a batch size equaling "
        "-1.",
    ),
    "codes of warnings before the failure do not count": (
        "E40021: an earlier attempt\n"
        + FAILED
        + f"{STAMP} Invalid_Argument(E10039): There are duplicate profiles.\n",
        "E10039",
        "There are duplicate profiles.",
    ),
    "the verdict itself is missing": (
        START + "E40021: Failed to compile Op [x]. (optype: [StridedSliceD])\n",
        "E40021",
        "Failed to compile Op [x]. (optype: [StridedSliceD])",
    ),
    "a code in another program's line": (
        FAILED + "worker 3: EZ3003: No supported Ops kernel for [A], optype [B].\n",
        "EZ3003",
        "No supported Ops kernel for [A], optype [B].",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_cause(case: str) -> None:
    output, code, cause = CASES[case]
    found = diagnose(output, 255, 60)
    assert (found.code, found.cause) == (code, cause)


@pytest.mark.parametrize("code", sorted(code for code in ADVICE if code.startswith("E")))
def test_every_code_that_has_advice_is_found_in_every_layout(code: str) -> None:
    for line in (
        f"{STAMP} Some_Title({code}): It is wrong.\n",
        f"{code}: {STAMP} It is wrong.\n",
        f"{code}: It is wrong.\n",
    ):
        found = diagnose(FAILED + line, 255, 60)
        advice = advise(code, "It is wrong.")
        assert (found.code, found.cause) == (code, "It is wrong.")
        assert (found.hint, found.reference) == (advice.hint, advice.reference)
        assert "{" not in str(found.hint)
        assert str(found.reference).startswith(("hicann/", "WHULuoJiaTeam/metadef "))


# --- noise ----------------------------------------------------------------------------------------

NOISY = {
    "colours": FAILED.replace("ATC", "\x1b[1;31mATC\x1b[0m") + f"\x1b[31m{NO_BATCH.strip()}\x1b[0m\n",
    "carriage returns": (FAILED + NO_BATCH).replace("\n", "\r\n"),
    "overwritten lines": START + "50 %\r100 %\r" + FAILED.removeprefix(START) + NO_BATCH,
    "dots before the verdict": START + "......" + FAILED.removeprefix(START) + NO_BATCH,
    "dots before the report": FAILED + "...." + NO_BATCH,
    "dots inside the report": FAILED + NO_BATCH.replace("is included", "is inc......luded"),
    "bytes that are no text": FAILED + b"\xff\xfe\x00".decode(errors="replace") + "\n" + NO_BATCH,
    "log lines on the console": (
        START + "[ERROR] GE(12345,atc.bin):2026-01-02-03:04:05.678.901 [graph.cc:12]12345 Run: ErrorNo: 1 "
        "E19999: a log line\n" + FAILED.removeprefix(START)
        + "[ERROR] TBE(12345,atc.bin):2026-01-02-03:04:05.678.901 [x.cc:12]12345 E40021: another\n" + NO_BATCH
    ),
}  # fmt: skip


@pytest.mark.parametrize("noise", NOISY)
def test_what_gets_between_the_lines_changes_nothing(noise: str) -> None:
    assert diagnose(NOISY[noise], 255, 60) == diagnose(FAILED + NO_BATCH, 255, 60)


def test_without_a_report_the_first_error_of_the_log_counts() -> None:
    output = FAILED + (
        "[INFO] GE(1,atc.bin):2026-01-02-03:04:05.678.901 [a.cc:1]1 E10001: no error\n"
        "[ERROR] GE(1,atc.bin):2026-01-02-03:04:05.678.901 [b.cc:2]1 ErrorNo: 134 EZ3003: No supported Ops kernel and "
        "engine are found for [fc], optype [MatMul].\n"
        "[ERROR] GE(1,atc.bin):2026-01-02-03:04:05.678.901 [b.cc:3]1 E10001: a later one\n"
    )
    found = diagnose(output, 255, 60)
    assert (found.code, found.operator, found.node) == ("EZ3003", "MatMul", "fc")


def test_a_log_without_codes_is_told_as_it_is() -> None:
    output = (
        START
        + "[ERROR] AMCT(21177,atc.bin):2023-04-14-14:43:17[utils_acl.cpp:133]input image size[1] is not equal to 2\n"
        + FAILED.removeprefix(START)
    )
    found = diagnose(output, 255, 60)
    assert (found.code, found.cause) == (None, "atc logged: input image size[1] is not equal to 2")


@given(st.text(max_size=300), st.one_of(st.none(), st.integers(-70, 300)))
def test_any_output_has_a_diagnosis(output: str, status: int | None) -> None:
    assert diagnose(output, status, 60).cause
    assert diagnose(FAILED + output, status, 60).cause


# --- ends without a report ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "unknown command line flag 'jit_compiler'",
        "flag '--model' is missing its argument; flag description: model file",
        "Non-option parameter: net.onnx",
    ],
)
def test_bad_arguments_are_told_on_stderr_only(text: str) -> None:
    report = "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n"
    found = diagnose(f"ERROR: {text}\n" + FAILED + report, 255, 60)
    assert (found.code, found.cause) == (None, text)
    assert "atc --help" in str(found.hint)
    assert "CLI_options" in str(found.reference)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("ModuleNotFoundError: No module named 'decorator'", "Install decorator"),
        ("ModuleNotFoundError: No module named 'tbe.common'", "CANN's own module tbe"),
        ("AttributeError: `np.float_` was removed in the NumPy 2.0 release.", "install numpy<2"),
        ("te.util.Error: something else", PYTHON_HINT),
    ],
)
def test_a_python_failure_in_the_operator_compiler(error: str, hint: str) -> None:
    trace = f'Traceback (most recent call last):\n  File "te_fusion/fusion_manager.py", line 9, in init\n{error}\n'
    alone = diagnose(START + trace, 255, 60)
    assert (alone.code, alone.cause) == (None, error)
    assert hint in str(alone.hint)
    silent = "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n"
    assert diagnose(START + trace + FAILED.removeprefix(START) + silent, 255, 60) == alone
    reported = diagnose(START + trace + FAILED.removeprefix(START) + NO_BATCH, 255, 60)
    assert reported.code == "E10031"


def test_a_library_that_is_not_found() -> None:
    output = (
        "/opt/cann/bin/atc.bin: error while loading shared libraries: libascend_hal.so: cannot open shared object "
        "file: No such file or directory\n"
    )
    found = diagnose(output, 127, 60)
    assert found.cause == "libascend_hal.so: cannot open shared object file: No such file or directory"
    assert "devlib" in str(found.hint)
    assert "environment_setup" in str(found.reference)


def test_workers_that_outlive_the_main_process() -> None:
    output = START + "[ERROR] TBE Subprocess[task_distribute] raise error[], main process disappeared!\n"
    found = diagnose(output, 255, 60)
    assert "main process ended" in found.cause
    assert found.hint == MEMORY_HINT
    assert "SIGKILL" in diagnose(output, -9, 60).cause


@pytest.mark.parametrize(
    ("signal", "words", "hint"),
    [
        (2, "stopped (SIGINT)", "build again"),
        (6, "crashed (SIGABRT)", "LD_LIBRARY_PATH"),
        (9, "killed (SIGKILL)", "memory_bytes"),
        (11, "crashed (SIGSEGV)", "fewer gears"),
        (15, "stopped (SIGTERM)", "build again"),
    ],
)
def test_signals(signal: int, words: str, hint: str) -> None:
    for status in (-signal, 128 + signal):
        found = diagnose(START + "E40021: a line of a worker\n", status, 60)
        assert words in found.cause
        assert hint in str(found.hint)


def test_a_report_outweighs_the_signal_after_it() -> None:
    assert diagnose(FAILED + NO_BATCH, -11, 60).code == "E10031"


def test_the_time_limit_is_named() -> None:
    found = diagnose(START, None, 90)
    assert "time limit of 90 s" in found.cause
    assert "timeout_s" in str(found.hint)


@pytest.mark.parametrize(
    ("output", "status", "cause"),
    [
        ("", 1, "atc ended with status 1 and said nothing"),
        ("no such tool\n", 127, "status 127: no such tool"),
        (START, 0, "status 0 but did not report success"),
        (START + "ATC run success, welcome to the next use.\n", 0, "reported success and left no file"),
        (FAILED, 255, "status 255 and said nothing"),
        (START, -40, "crashed (signal 40)"),
    ],
)
def test_ends_that_say_nothing(output: str, status: int, cause: str) -> None:
    assert cause in diagnose(output, status, 60).cause


# --- operators ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "operator", "node"),
    [
        (
            "No parser is registered for Op [model1 div node, optype [ai.onnx::11::Div]].",
            "Div",
            "model1 div node",
        ),
        ("Failed to compile Op [a, oppath [/x/y.py], optype [Conv2D]].", "Conv2D", "a"),
        (
            "Argument [8] for Op [layer.0.fc, optype [MatMul]], is invalid. Reason: none.",
            "MatMul",
            "layer.0.fc",
        ),
        ("Argument 8 for Op layer.0.fc with optype MatMul is invalid. Reason: none.", "MatMul", "layer.0.fc"),
        ("No ONNX parser is registered for optype com.acme::1::Gelu.", "Gelu", None),
        ("Opname [x] specified in [--input_shape] is not found in the model.", None, "x"),
        ("Compilation result for operator fc not found. Optype is MatMul.", "MatMul", "fc"),
        ("In op[conv2d], the [pads] must in range [0, 255], actual is [300]", "conv2d", None),
        ("Op conv1 exists in the model file but is not found in weight file.", None, "conv1"),
        ("Op [conv1] has a name conflict in the graph.", None, "conv1"),
        ("process pass InferShapePass on node:BatchMatMul_1 failed, ret:4294967295", None, "BatchMatMul_1"),
        ("Failed to assemble op args with op[-1_0_/a/Slice_ascend_mbatch_batch_5].", None, "/a/Slice"),
        ("The value is wrong. Operators are fine.", None, None),
    ],
)
def test_names_in_messages(text: str, operator: str | None, node: str | None) -> None:
    found = diagnose(FAILED + f"E14001: {text}\n", 255, 60)
    assert (found.operator, found.node) == (operator, node)


def test_many_unknown_operators_are_named_up_to_a_bound() -> None:
    lines = [
        f"No operator plugin is registered for Op: n{n}, optype: ai.onnx::17::Odd{n}.\n" for n in range(9)
    ]
    found = diagnose(FAILED + "E13010: " + "        ".join(lines), 255, 60)
    assert (found.operator, found.node) == ("Odd0", "n0")
    assert found.cause.endswith("Likewise: Odd1 (n1), Odd2 (n2), Odd3 (n3), Odd4 (n4), Odd5 (n5) and 3 more")


def test_an_operator_of_a_newer_opset_is_told_from_an_unknown_one() -> None:
    text = "E19010: No parser is registered for Op [d, optype [ai.onnx::{}::Div]].\n"
    assert "opset 18 or lower" in str(diagnose(FAILED + text.format(23), 255, 60).hint)
    assert "custom operator package" in str(diagnose(FAILED + text.format(18), 255, 60).hint)


# --- codes that no table has ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "page"),
    [
        ("E11999", "the Caffe parser (E11xxx)", "hicann/ge docs/zh/user_guides/error_codes"),
        ("E10499", "buffers at run time (E104xx)", "hicann/ge docs/zh/user_guides/error_codes"),
        ("E29999", "the fusion engine (E2xxxx)", "hicann/runtime docs/zh/error_code_ref"),
        ("EK0001", "profiling (EKxxxx)", "hicann/runtime docs/zh/error_code_ref"),
        ("EX0001", "a part of CANN that ATC's manual does not list", "hicann/runtime docs/zh/error_code_ref"),
    ],
)
def test_an_unlisted_code_is_told_by_its_family(code: str, words: str, page: str) -> None:
    assert code not in ADVICE
    found = diagnose(FAILED + f"{code}: It is wrong.\n", 255, 60)
    assert found.code == code
    assert words in str(found.hint)
    assert found.reference == page


def test_hints_name_fields_that_recipes_have() -> None:
    hints = [*(advice.hint for advice in ADVICE.values()), *BY_OPTION.values()]
    named = {word for hint in hints for word in re.findall(r"`(\w+)(?::[^`]*)?`", hint)}
    assert named - set(CompileRecipe.model_fields) == {"layer", "layers"}
    assert {recipe_field(option) for option in BY_OPTION} - set(CompileRecipe.model_fields) == {
        "Inputs",
        "auto_tune_mode",
    }


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Value [Ascend999] is invalid for option [ge.socVersion].", "Give `targets` the exact name"),
        ("Value [-1] for parameter [Inputs] is invalid. Reason: set input_shape.", "shape under `inputs`"),
        ("Value [x] for parameter [--keep_dtype] is invalid.", "Correct `keep_dtype` in the recipe"),
        ("Something is invalid.", "Correct the value that the message names"),
    ],
)
def test_the_hint_names_the_field_of_the_option(message: str, words: str) -> None:
    for code in ("E20101", "E10001"):
        assert words in str(diagnose(FAILED + f"{code}: {message}\n", 255, 60).hint)


def test_every_listed_code_is_of_a_family() -> None:
    assert all(code.startswith(tuple(FAMILIES)) for code in ADVICE)


# --- warnings -------------------------------------------------------------------------------------


def test_warnings_after_success() -> None:
    slow = "Op {} does not hit the high-priority operator information library, which might make it slow."
    output = (
        START
        + "WARNING: Option input_shape_range is deprecated and will be removed in future version,please use "
        + "input_shape instead\n"
        + "ATC run success, welcome to the next use.\n"
        + f"{STAMP} Performance_Not_Optimal_Operator(W11001): {slow.format('/conv1/Conv')}\n"
        + f"W11001: {slow.format('[fc]')}\n"
        + f"W11001: {slow.format('[fc]')}\n"
        + f"W40011: {STAMP} Failed to create disk cache directory /root. Result: none. Reason: path is invalid.\n"
        + "[WARNING] GE(1,atc.bin):2026-01-02-03:04:05.678.901 [a.cc:1]1 W11001: of the log\n"
    )
    found = warnings(output)
    assert [(each.code, each.node) for each in found] == [
        (None, None),
        ("W11001", "/conv1/Conv"),
        ("W11001", "fc"),
        ("W40011", None),
    ]
    assert found[0].cause.startswith("Option input_shape_range is deprecated")
    assert "may be slow" in str(found[1].hint)
    assert "W11001-Performance_Not_Optimal_Operator.md" in str(found[1].reference)
    assert warnings(START + "ATC run success, welcome to the next use.\n") == ()


def test_warnings_are_bounded() -> None:
    assert len(warnings("".join(f"W11001: Op n{number} does not hit it.\n" for number in range(1000)))) == 100

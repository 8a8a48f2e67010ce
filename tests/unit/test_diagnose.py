import pytest

from ascend_serve.compiling.diagnose import diagnose
from ascend_serve.compiling.hints import HINTS, KERNEL_HINT, MEMORY_HINT, PYTHON_HINT

pytestmark = pytest.mark.unit

START = "ATC start working now, please wait for a moment.\n...\n"
FAILED = START + "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"
ANOTHER_FAILED = START + (
    "ATC run failed, Make sure this is what you want: '--mode=0'. Please check the detail log, Try 'atc --help' for "
    "more information\n"
)

CASES = {
    "current layout": (
        FAILED
        + "[PID: 4711] 2026-01-02-03:04:05.678.901 Invalid_Argument_Operator_Name(E10016): Op name inputs "
        "specified in --input_shape is not found in the model.\n        Possible Cause: a wrong name.\n"
        "        Solution: Correct it.\n        TraceBack (most recent call last):\n"
        "        E10001: inner failure [FUNC:Run][FILE:x.cc][LINE:12]\n",
        "E10016",
        "Op name inputs specified in --input_shape is not found in the model.",
    ),
    "CANN 7 layout": (
        ANOTHER_FAILED
        + "EE1001: [PID: 34900] 2025-09-17-06:54:37.308.527 The argument is invalid.Reason: too big\n",
        "EE1001",
        "The argument is invalid.Reason: too big",
    ),
    "CANN 5 layout": (
        FAILED + "E10001: Value [-1] for parameter [Inputs] is invalid. Reason: set input_shape\n"
        "        Solution: Try again with a valid argument.\n",
        "E10001",
        "Value [-1] for parameter [Inputs] is invalid. Reason: set input_shape",
    ),
    "a title without text": (
        FAILED + "EZ9999: Inner Error!\nEZ9999: [PID: 7] 2025-01-01-00:00:00.000.001 Tiling failed"
        "[FUNC:Tile][FILE:t.cc][LINE:3]\n        TraceBack (most recent call last):\n",
        "EZ9999",
        "Tiling failed",
    ),
    "no error text": (
        FAILED + "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n",
        "E19999",
        "An unknown error occurred. Please check the log.",
    ),
    "advice on the same line": (
        FAILED + "E19010: No parser is registered for Op [/x/FindMax]. Solution: Check the version.\n",
        "E19010",
        "No parser is registered for Op [/x/FindMax].",
    ),
    "a code inside a line": (
        FAILED
        + "[ERROR] GE(1,atc.bin) ErrorNo: 1343225857 EZ3003: No supported Ops kernel for [A], optype [B].\n",
        "EZ3003",
        "No supported Ops kernel for [A], optype [B].",
    ),
    "codes of warnings before the failure do not count": (
        "E40021: an earlier attempt\n"
        + FAILED
        + "[PID: 1] 2026-01-01-00:00:00.000.000 Invalid_Argument(E10039): "
        "The --dynamic_batch_size argument has duplicate profiles.\n",
        "E10039",
        "The --dynamic_batch_size argument has duplicate profiles.",
    ),
    "the report itself is missing": (
        START + "E40021: Failed to compile Op [x]. (optype: [StridedSliceD])\n",
        "E40021",
        "Failed to compile Op [x]. (optype: [StridedSliceD])",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_cause_in_every_layout(case):
    output, code, cause = CASES[case]
    found = diagnose(output, 255, 60)
    assert (found.code, found.cause, found.hint) == (code, cause, HINTS.get(code))


@pytest.mark.parametrize("code", sorted(HINTS))
def test_every_code_with_a_hint_is_found_in_every_layout(code):
    layouts = (
        f"[PID: 1] 2026-01-01-00:00:00.000.000 Some_Title({code}): It is wrong.\n",
        f"{code}: [PID: 1] 2026-01-01-00:00:00.000.000 It is wrong.\n",
        f"{code}: It is wrong.\n",
    )
    for layout in layouts:
        found = diagnose(FAILED + layout, 255, 60)
        assert (found.code, found.cause, found.hint) == (code, "It is wrong.", HINTS[code])


def test_bad_arguments_are_told_on_stderr_only():
    report = "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n"
    found = diagnose("ERROR: unknown command line flag 'jit_compiler'\n" + FAILED + report, 255, 60)
    assert (found.code, found.cause) == (None, "unknown command line flag 'jit_compiler'")
    assert found.hint


def test_a_python_failure_in_the_operator_compiler():
    output = START + (
        "Traceback (most recent call last):\n"
        '  File "te_fusion/fusion_manager.py", line 9, in init\n'
        "ModuleNotFoundError: No module named 'decorator'\n"
    )
    found = diagnose(output, 255, 60)
    assert (found.cause, found.hint) == ("ModuleNotFoundError: No module named 'decorator'", PYTHON_HINT)


@pytest.mark.parametrize(
    ("status", "word"), [(137, "SIGKILL"), (-9, "SIGKILL"), (139, "SIGSEGV"), (-11, "SIGSEGV")]
)
def test_killed_processes_hint_at_memory(status, word):
    found = diagnose(START, status, 60)
    assert word in found.cause
    assert found.hint == MEMORY_HINT


def test_the_time_limit_is_named():
    found = diagnose(START, None, 90)
    assert "time limit of 90 s" in found.cause
    assert "timeout_s" in str(found.hint)


@pytest.mark.parametrize(
    ("output", "status", "cause"),
    [
        ("", 1, "atc ended with status 1 and said nothing"),
        (
            "cannot open shared object file: libge.so\n",
            127,
            "status 127: cannot open shared object file: libge.so",
        ),
        (START, 0, "status 0 but did not report success"),
    ],
)
def test_ends_without_a_report_still_say_what_there_is(output, status, cause):
    assert cause in diagnose(output, status, 60).cause


def test_kernel_failures_name_memory_and_packages():
    assert HINTS["E40021"] == KERNEL_HINT

"""ATC's output → the first cause, in a sentence, and what to do about it. Pure.

Recognises the three layouts that ATC's reports have had (facts: ATC §2.2) and the ends that leave no report
at all: bad arguments, a killed process, a Python failure in its workers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ascend_serve.compiling.hints import HINTS, MEMORY_HINT, PYTHON_HINT

_REPORT_START = "ATC run failed,"
_CODE = r"(?P<code>E[0-9]{5}|E[A-Z][0-9]{4})"
_PID = r"\[PID: ?\d+\] *\S+ +"
_LAYOUTS = (
    re.compile(rf"^(?:{_PID})?\w+\({_CODE}\): *(?P<text>.*)$", re.MULTILINE),  # CANN 8.5 and later
    re.compile(rf"^{_CODE}: *(?:{_PID})?(?P<text>.*)$", re.MULTILINE),  # CANN 5 to 8.0
)
_ANY_CODE = re.compile(rf"\b{_CODE}\b:? *(?P<text>.*)$", re.MULTILINE)
_WHERE = re.compile(r"\[(?:FUNC|FILE|LINE|THREAD):[^\]]*\]")
_SOLUTION = re.compile(r"\s*(?:Solution|Possible Cause): .*$")
_EMPTY_TITLE = re.compile(r"^(?:Inner|Internal) Error!?\.?$", re.IGNORECASE)
_ARGUMENT_ERROR = re.compile(
    r"^ERROR: (?P<text>unknown command line flag .*|flag .* is missing its argument.*|Non-option parameter.*)$",
    re.MULTILINE,
)
_PYTHON_ERROR = re.compile(r"^(?P<text>(?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)
_PYTHON_TRACE = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a build failed.

    Attributes:
        cause: one sentence: what is wrong.
        code: ATC's or GE's code of it, or None.
        hint: what to do, or None when nothing is known.
    """

    cause: str
    code: str | None = None
    hint: str | None = None


def diagnose(output: str, status: int | None, timeout_s: float) -> Diagnosis:
    """The first cause of a failed build.

    Args:
        output: everything ATC printed, stdout and stderr.
        status: its exit status, negative for a signal's number; None when its time was up.
        timeout_s: the time limit it had, in seconds.
    """
    if status is None:
        return Diagnosis(
            f"atc was stopped after its time limit of {timeout_s:g} s",
            hint="Raise timeout_s in the recipe, or compile fewer gears",
        )
    # ATC's own report of a bad argument says no more than that an unknown error occurred.
    if match := _ARGUMENT_ERROR.search(output):
        return Diagnosis(
            _tidy(match["text"]), hint="The installed ATC does not take this option: see `atc --help`"
        )
    _, start, report = output.partition(_REPORT_START)
    found = _coded(report if start else output) or _coded(output)
    if found is not None:
        return found
    if _PYTHON_TRACE in output and (errors := _PYTHON_ERROR.findall(output)):
        return Diagnosis(_tidy(errors[-1]), hint=PYTHON_HINT)
    if status in (-9, 137):
        return Diagnosis("atc was killed (SIGKILL) before it ended", hint=MEMORY_HINT)
    if status in (-11, 139):
        return Diagnosis("atc crashed (SIGSEGV) before it ended", hint=MEMORY_HINT)
    if status == 0:
        return Diagnosis("atc ended with status 0 but did not report success")
    lines = [line.strip() for line in (report if start else output).splitlines() if line.strip(" .")]
    said = f": {_tidy(lines[-1])}" if lines else " and said nothing"
    return Diagnosis(f"atc ended with status {status}{said}")


def _coded(report: str) -> Diagnosis | None:
    """The first coded message, in whichever layout comes first; None when there is none."""
    matches = [match for layout in _LAYOUTS if (match := layout.search(report))]
    match = min(matches, key=lambda match: match.start(), default=None) or _ANY_CODE.search(report)
    if match is None:
        return None
    text = _tidy(match["text"])
    if not text or _EMPTY_TITLE.match(text):
        text = _first_sentence_after(report[match.end() :]) or text or "atc gave no reason"
    return Diagnosis(text, match["code"], HINTS.get(match["code"]))


def _first_sentence_after(rest: str) -> str:
    """The text of the next line that has any, for reports whose first line is only a title."""
    for line in rest.splitlines():
        bare = re.sub(rf"^\s*(?:{_CODE}: *)?(?:{_PID})?", "", line)
        if text := _tidy(bare):
            return text
    return ""


def _tidy(text: str) -> str:
    """One line's message without source positions, the vendor's advice and surplus space."""
    return " ".join(_SOLUTION.sub("", _WHERE.sub("", text)).split())[:1000]

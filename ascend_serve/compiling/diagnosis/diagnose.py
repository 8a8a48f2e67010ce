"""ATC's output → the first cause, in a sentence, where it is, and what to do about it. Pure.

The report is looked at first (facts: ATC §2.2: the first message is the root, inner errors are symptoms), then the
ends that leave no report at all: bad arguments, a killed process, a Python failure in ATC's workers (facts: ATC §2.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ascend_serve.compiling.diagnosis.advice import GE_PAGES, MEMORY_HINT
from ascend_serve.compiling.diagnosis.console import (
    Console,
    Message,
    logged_messages,
    messages,
    read_console,
    root,
    tidy,
    warning_messages,
)
from ascend_serve.compiling.diagnosis.hints import advise, opset_hint, python_hint
from ascend_serve.compiling.diagnosis.operators import Named, all_named, named

CRASH_HINT = (
    "Compile again with TE_PARALLEL_COMPILER=1 and fewer gears, to see whether memory ran out; if not, start the "
    "build from a clean environment, as libraries of conda on LD_LIBRARY_PATH break ATC, and see the full output"
)
STOPPED_HINT = (
    "Something outside of ATC stopped it, such as a cancelled job or a node shutting down: build again"
)
ARGUMENT_HINT = "The installed ATC does not take this option: see `atc --help`, and remove it from the recipe"
LIBRARY_HINT = (
    "Source CANN's set_env.sh where builds run; on a machine without a driver CANN's <arch>-linux/devlib must be on "
    "LD_LIBRARY_PATH as well"
)
NO_FILE_HINT = (
    "See whether the disk is full, and whether '.om' stands in the name of a folder of the output's path: ATC puts the "
    "system's name before the first one"
)

_OPTIONS_PAGE = "hicann/ge docs/zh/user_guides/atc_tools/CLI_options/README.md"
_ENVIRONMENT_PAGE = "hicann/ge docs/zh/user_guides/atc_tools/overview/environment_setup.md"
_PYTHON_PAGE = "hicann/runtime docs/zh/error_code_ref/TEfusion-Errors/TEFusion-Errors.md"

_SIGNALS = {
    2: "SIGINT",
    4: "SIGILL",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
}
_SIGNAL_BASE = 128
"""What a shell adds to a signal's number to make an exit status."""

_ARGUMENT = re.compile(
    r"^ERROR: (?P<text>unknown command line flag .*|flag .* is missing its argument.*|Non-option parameter.*)$"
)
_PYTHON_ERROR = re.compile(r"^\s*(?P<text>(?:\w+\.)*\w*(?:Error|Exception)\b(?:: .+)?)$")
_PYTHON_TRACE = "Traceback (most recent call last)"
_LIBRARY = re.compile(r"(?<!\S)(?P<text>\S+: cannot open shared object file.*)$")
_ORPHAN = re.compile(r"TBE Subprocess.*main process disappeared")
_SAYS_NOTHING = re.compile(r"unknown error (?:has )?occurred", re.IGNORECASE)
_MOST_LINES = 1000
_MOST_NAMES = 5
_MOST_WARNINGS = 100


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a build failed, or what ATC warns of.

    Attributes:
        cause: one sentence: what is wrong.
        code: ATC's or GE's code of it, or None.
        operator: type of the operator that it is about, such as `Resize`, or None.
        node: name of the node or input that it is about, or None.
        hint: what to do, or None when nothing is known.
        reference: where it is documented: a page or table in a public repository, or None.
        repeats: whether the same build would fail again; not so when it was ended from outside.
    """

    cause: str
    code: str | None = None
    operator: str | None = None
    node: str | None = None
    hint: str | None = None
    reference: str | None = None
    repeats: bool = True


def diagnose(output: str, status: int | None, timeout_s: float) -> Diagnosis:
    """The first cause of a failed build.

    Args:
        output: everything ATC printed, stdout and stderr.
        status: its exit status, negative or past 128 for a signal's number; None when its time was up.
        timeout_s: the time limit it had, in seconds.
    """
    if status is None:
        return Diagnosis(
            f"atc was stopped after its time limit of {timeout_s:g} s",
            hint="Raise timeout_s in the recipe, or compile fewer gears",
        )
    console = read_console(output)
    # ATC's own report of a bad argument says no more than that an unknown error occurred.
    for line in console.lines:
        if match := _ARGUMENT.match(line):
            return Diagnosis(tidy(match["text"]), hint=ARGUMENT_HINT, reference=_OPTIONS_PAGE)
    found = root(messages(console.report)) or root(messages(console.lines))
    killed = None if console.failed else _of_signal(status)
    if found is not None and killed is None:
        if found.inner and _SAYS_NOTHING.search(found.text) and (other := _unreported(console)):
            return other
        return _of_message(found, console.report)
    return killed or _unreported(console) or _of_status(console, status)


def warnings(output: str) -> tuple[Diagnosis, ...]:
    """What ATC warned of in a run, each warning once, in order, of a run that succeeded or not.

    Args:
        output: everything ATC printed, stdout and stderr.
    """
    found = warning_messages(read_console(output).lines)[:_MOST_WARNINGS]
    return tuple(
        Diagnosis(text) if code is None else _of_message(Message(code, text), (text,)) for code, text in found
    )


def _of_message(message: Message, report: tuple[str, ...]) -> Diagnosis:
    """A coded message with all that is known about it."""
    advice = advise(message.code, message.text)
    lines = tuple(tidy(line) for line in report[:_MOST_LINES])
    about = _about(message.text, all_named(lines))
    cause = message.text or "atc gave no reason"
    if about is None:
        return Diagnosis(cause, message.code, hint=advice.hint, reference=advice.reference)
    if about.copy is not None:
        cause += f" (in the copy of the network for gear number {about.copy}, counted from 0)"
    else:
        cause += _and_others(message, about, lines)
    newer = opset_hint(about.opset) if about.opset is not None else None
    return Diagnosis(cause, message.code, about.operator, about.node, newer or advice.hint, advice.reference)


def _about(text: str, others: tuple[Named, ...]) -> Named | None:
    """The operator a message is about.

    The message of a kernel's compiler names no node, others no type; the failures that followed from it do.
    """
    about = named(text) or (others[0] if others else None)
    if about is not None and about.node is None:
        about = next(
            (each for each in others if each.node and each.operator in (None, about.operator)), about
        )
    if about is not None and about.operator is None:
        about = next((each for each in others if each.operator and each.node == about.node), about)
    return about


def _and_others(message: Message, about: Named, lines: tuple[str, ...]) -> str:
    """The other operators that the report has the same complaint about; ATC names each in a line of its own."""
    kind = _complaint(message.text)
    same = all_named(line for line in lines if _complaint(line) == kind)
    others = [
        each for each in same if each.operator and (each.operator, each.node) != (about.operator, about.node)
    ]
    if kind is None or not others:
        return ""
    told = ", ".join(str(each) for each in others[:_MOST_NAMES])
    more = f" and {len(others) - _MOST_NAMES} more" if len(others) > _MOST_NAMES else ""
    return f" Likewise: {told}{more}"


_COMPLAINT = re.compile(r"is (?:not )?registered|No supported Ops kernel", re.IGNORECASE)


def _complaint(text: str) -> str | None:
    match = _COMPLAINT.search(text)
    return match[0].lower() if match else None


def _unreported(console: Console) -> Diagnosis | None:
    """A failure of ATC's helpers, or of its log, which no report tells of."""
    if any(_PYTHON_TRACE in line for line in console.lines):
        errors = [match["text"] for line in console.lines if (match := _PYTHON_ERROR.match(line))]
        if errors:
            cause = tidy(errors[-1])
            return Diagnosis(cause, hint=python_hint(cause), reference=_PYTHON_PAGE)
    for line in console.lines:
        if match := _LIBRARY.search(line):
            return Diagnosis(tidy(match["text"]), hint=LIBRARY_HINT, reference=_ENVIRONMENT_PAGE)
        if _ORPHAN.search(line):
            return Diagnosis(
                "atc's main process ended before its compile workers", hint=MEMORY_HINT, repeats=False
            )
    logged = tuple(text for level, text in console.log if level == "ERROR")
    if found := root(logged_messages(logged)):
        return _of_message(found, logged)
    if logged:
        return Diagnosis(f"atc logged: {logged[0]}", reference=GE_PAGES)
    return None


def _of_signal(status: int) -> Diagnosis | None:
    """An end by a signal: told as a negative number, or by a shell as 128 and the number."""
    number = -status if status < 0 else status - _SIGNAL_BASE
    if number not in _SIGNALS and status >= 0:
        return None
    name = _SIGNALS.get(number, f"signal {number}")
    match name:
        case "SIGKILL":
            return Diagnosis(f"atc was killed ({name}) before it ended", hint=MEMORY_HINT, repeats=False)
        case "SIGINT" | "SIGTERM":
            return Diagnosis(f"atc was stopped ({name}) before it ended", hint=STOPPED_HINT, repeats=False)
    return Diagnosis(f"atc crashed ({name}) before it ended", hint=CRASH_HINT)


def _of_status(console: Console, status: int) -> Diagnosis:
    """What is left to say when nothing on the console tells why."""
    if status == 0 and console.succeeded:
        return Diagnosis("atc reported success and left no file", hint=NO_FILE_HINT)
    if status == 0:
        return Diagnosis("atc ended with status 0 but did not report success")
    lines = [line.strip() for line in console.report if line.strip(" .")]
    said = f": {tidy(lines[-1])}" if lines else " and said nothing"
    return Diagnosis(f"atc ended with status {status}{said}")

"""ATC's console text taken apart: what is log, what is report, and the coded messages in it. Pure.

Recognises the three layouts that reports have had, and what gets between their lines: progress dots of the
operator compiler, colours, carriage returns, log lines that were told to go to the console (facts: ATC §2.1, §2.2,
§2.6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VERDICT = "ATC run failed,"
SUCCESS = "ATC run success"

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DOTS = re.compile(r"^\.{3,}(?=[^.\s])|\.{4,}", re.MULTILINE)
_LOG = re.compile(
    r"^\[(?P<level>DEBUG|INFO|WARNING|ERROR|EVENT|TRACE)\] ?\w+\(\d+,[^)]*\)(?::[\d.:-]+)? *(?P<text>.*)$"
)
_LOG_PLACE = re.compile(r"^\[[^\]]*:\d+\]\s*\d*\s*")

_CODE = r"(?P<code>E[0-9]{5}|E[A-Z][0-9]{4})"
_WARNING_CODE = r"(?P<code>W[0-9]{5}|W[A-Z][0-9]{4})"
_STAMP = r"(?:\[PID: ?\d+\] *)?(?:\d{4}-\d\d-\d\d-[\d:.]+ *)?"


def _layouts(code: str) -> tuple[re.Pattern[str], ...]:
    """How a line with a code looks, newest first."""
    return (
        re.compile(rf"^\s*\[PID: ?\d+\] *\S+ +[\w ]+\({code}\): *(?P<text>.*)$"),  # CANN 8.5 and later
        re.compile(rf"^\s*{code}: *{_STAMP}(?P<text>.*)$"),  # CANN 5 to 8.0
        re.compile(rf"^\s*{code} {{2,}}(?P<text>.*)$"),  # inner errors of CANN 5 and 6
    )


_ERRORS, _WARNINGS = _layouts(_CODE), _layouts(_WARNING_CODE)
_ANYWHERE = re.compile(rf"\b{_CODE}\b(?:: *|[)\]]:? *| +)(?P<text>.*)$")
_UNCODED_WARNING = re.compile(r"^\s*warning: *(?P<text>.+)$", re.IGNORECASE)

_WHERE = re.compile(r"\[(?:FUNC|FILE|LINE|THREAD):[^\]]*\]")
_ADVICE = re.compile(r" ?(?:Solution|Possible Cause): .*$")
_ONLY_TITLE = re.compile(r"^(?:(?:Inner|Internal) Error!?\.?)?$", re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:Solution|Possible Cause|TraceBack) ?[:(]", re.IGNORECASE)
_INNER = re.compile(r"(?:9999|8888)$")
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """A coded message.

    Attributes:
        code: such as `E10031`.
        text: on one line, without source positions and the vendor's advice; empty when ATC gave none.
    """

    code: str
    text: str

    @property
    def inner(self) -> bool:
        """Whether the code says no more than that a step inside CANN failed."""
        return _INNER.search(self.code) is not None


@dataclass(frozen=True, slots=True)
class Console:
    """What a run of ATC printed.

    Attributes:
        lines: of the console, log lines apart.
        report: those after the verdict of a failed run; all of them where there is no verdict.
        log: level and text of the log lines.
        failed: whether ATC gave the verdict of failure.
        succeeded: whether ATC gave the verdict of success.
    """

    lines: tuple[str, ...]
    report: tuple[str, ...]
    log: tuple[tuple[str, str], ...]
    failed: bool
    succeeded: bool


def read_console(output: str) -> Console:
    """Take a run's output apart."""
    text = _TERMINAL.sub("", output).replace("\r\n", "\n").replace("\r", "\n")
    text = _DOTS.sub("", _CONTROL.sub("", text))
    lines: list[str] = []
    log: list[tuple[str, str]] = []
    for line in text.split("\n"):
        if match := _LOG.match(line):
            log.append((match["level"], tidy(_LOG_PLACE.sub("", match["text"]))))
        else:
            lines.append(line)
    verdict = next((place for place, line in enumerate(lines) if VERDICT in line), None)
    return Console(
        lines=tuple(lines),
        report=tuple(lines if verdict is None else lines[verdict + 1 :]),
        log=tuple(log),
        failed=verdict is not None,
        succeeded=any(SUCCESS in line for line in lines),
    )


def messages(lines: tuple[str, ...]) -> tuple[Message, ...]:
    """The coded messages of a report, in order; where no line has a known layout, codes that stand anywhere."""
    found = _messages(lines, _ERRORS)
    return found or logged_messages(lines)


def logged_messages(texts: tuple[str, ...]) -> tuple[Message, ...]:
    """The coded messages of log lines, in order: there a code may stand anywhere."""
    return _messages(texts, (_ANYWHERE,))


def root(found: tuple[Message, ...]) -> Message | None:
    """The message that tells most: the first one, unless that is an inner error and a later one is not."""
    return next((message for message in found if not message.inner), found[0] if found else None)


def warning_messages(lines: tuple[str, ...]) -> tuple[tuple[str | None, str], ...]:
    """Code and text of each warning, each once, in order; the code is None where ATC gives none."""
    found: dict[tuple[str | None, str], None] = {}
    for line in lines:
        if match := next(filter(None, (layout.match(line) for layout in _WARNINGS)), None):
            found[(match["code"], tidy(match["text"]))] = None
        elif match := _UNCODED_WARNING.match(line):
            found[(None, tidy(match["text"]))] = None
    return tuple(found)


def tidy(text: str) -> str:
    """One line's message without source positions, the vendor's advice and surplus space."""
    return _ADVICE.sub("", " ".join(_WHERE.sub("", text).split()))[:_LONGEST].strip()


def _messages(lines: tuple[str, ...], layouts: tuple[re.Pattern[str], ...]) -> tuple[Message, ...]:
    found = []
    for place, line in enumerate(lines):
        match = next(filter(None, (layout.search(line) for layout in layouts)), None)
        if match is None:
            continue
        text = tidy(match["text"])
        if _ONLY_TITLE.match(text):
            text = _text_after(lines[place + 1 :]) or text
        found.append(Message(match["code"], text))
    return tuple(found)


def _text_after(lines: tuple[str, ...]) -> str:
    """The text of the next line that has any, for reports whose first line is only a title."""
    for line in lines:
        match = next(filter(None, (layout.match(line) for layout in _ERRORS)), None)
        text = tidy(match["text"] if match else line)
        if text and not _LABEL.match(line) and not _ONLY_TITLE.match(text):
            return text
    return ""

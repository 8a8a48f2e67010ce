"""Words of a POSIX shell's command line, with their variables kept as parameters. Pure.

`shlex` forgets which quotes a word had, and so cannot tell `'$x'` from `"$x"`; this lexer gives words as templates
(`compiling.template`): a variable is `${name}` in them, a dollar that the shell leaves alone is `$$`. What only a
running shell can tell (`$(…)`, arithmetic, `${x%.*}`) is named and left as it stands. What does not work in a shell,
but shows what was meant, such as quotes copied from a web page, is mended and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ascend_serve.compiling.template import escape

OPERATORS = (
    ";;",
    "&&",
    "||",
    "&>>",
    "&>",
    ">>",
    ">&",
    ">|",
    "<<",
    "<&",
    "|&",
    "<",
    ">",
    "|",
    "&",
    ";",
    "(",
    ")",
)
REDIRECTIONS = ("&>>", "&>", ">>", ">&", ">|", "<<", "<&", "<", ">")

_BLANK = " \t"
_STARTS = frozenset(operator[0] for operator in OPERATORS)
_QUOTES = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\uff02\u2033", '"')
    | dict.fromkeys("\u2018\u2019\u201a\u201b\uff07\u2032", "'")
)
_BLANKS = str.maketrans(
    dict.fromkeys("\u00a0\u3000\u2002\u2003\u2009", " ") | dict.fromkeys("\u200b\ufeff", "")
)
_LONG = "[\u2010-\u2015\u2212\uff0d]"
_DASHES = re.compile(rf"(?:(?<=\s)|^)(?:{_LONG}+-*|-{_LONG}+)(?=[A-Za-z])")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)(?::?-(?P<default>[^$`]*))?")
_CUT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<end>##?|%%?)(?P<pattern>[^$`]+)")
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]")
_FENCE_OR_COMMENT = re.compile(r"\s*(?:```|~~~|#)")
_TRAILING = re.compile(r"\\[ \t]+(?:#.*)?$")


@dataclass(slots=True)
class Word:
    """One word.

    Attributes:
        text: a template.
        bare: whether it stands without quotes and escapes, as a reserved word or an assignment has to begin.
    """

    text: str
    bare: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """What separates commands, or redirects.

    Attributes:
        text: such as `;`.
        before: whether no blank separates it from what stands before it.
        after: whether no blank separates it from what follows.
    """

    text: str
    before: bool
    after: bool


Token = Word | Operator


@dataclass(slots=True)
class Statement:
    """A logical line.

    Attributes:
        line: the number of its first line, from 1.
        text: continuations joined.
        mended: what does not work in a shell and was put right, in words.
    """

    line: int
    text: str
    mended: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Lexed:
    """The words of a logical line.

    Attributes:
        tokens: words and operators.
        defaults: of variables written `${name:-default}`.
        refused: what cannot be known without running the script, in words.
        mended: what does not work in a shell and was put right, in words.
        unclosed: the quote or bracket that is opened and not closed, or empty.
    """

    tokens: list[Token] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    unclosed: str = ""


def statements(text: str) -> Iterator[Statement]:
    """Logical lines: those that a backslash continues are one. A line of a Markdown fence stands alone."""
    lines = text.split("\n")
    crlf = sum(line.endswith("\r") for line in lines)
    lines = [line.removesuffix("\r") for line in lines]
    position = 0
    while position < len(lines):
        statement = Statement(position + 1, "")
        if crlf:
            statement.mended.append(
                "lines end in CR LF, which a shell passes on as part of the last value: save the script with LF"
            )
        parts = []
        goes_on = True
        while goes_on:
            body, goes_on = _continued(lines[position], statement)
            parts.append(body)
            position += 1
            goes_on = goes_on and position < len(lines) and not _FENCE_OR_COMMENT.match(lines[position])
        statement.text = "".join(parts)
        yield statement


def _continued(line: str, statement: Statement) -> tuple[str, bool]:
    """A line without the backslash that continues it, and whether there is one."""
    if _FENCE_OR_COMMENT.match(line):
        return line, False
    if (blanks := _TRAILING.search(line)) and not _escaped(line, blanks.start()):
        statement.mended.append(
            "a backslash at a line's end is followed by blanks or a comment, so that the command ends there for the "
            "shell: remove them"
        )
        return line[: blanks.start()] + " ", True
    if line.endswith("\\") and not _escaped(line, len(line) - 1):
        return line[:-1], True
    return line, False


def _escaped(line: str, position: int) -> bool:
    before = line[:position]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def lex(text: str, known: Mapping[str, str]) -> Lexed:
    """Split a logical line into words and operators; a comment ends it.

    Args:
        text: the line.
        known: values of variables, plain, for expressions such as `${path##*/}` that a parameter cannot be.
    """
    lexed = Lexed()
    _Lexer(_mend(text, lexed), lexed, known).run()
    return lexed


def _mend(text: str, lexed: Lexed) -> str:
    """Replace what word processors and web pages make of quotes, dashes and blanks."""
    straight = text.translate(_QUOTES)
    if straight != text:
        lexed.mended.append("curly quotes, which a shell takes for letters: write straight ones")
    plain = straight.translate(_BLANKS)
    if plain != straight:
        lexed.mended.append(
            "blanks that a shell does not know for blanks (no-break or zero-width): retype them"
        )
    dashed = _DASHES.sub("--", plain)
    if dashed != plain:
        lexed.mended.append("a long dash begins an option: write two minus signs")
    return dashed


def _cut(value: str, end: str, pattern: str) -> str:
    """`${value##pattern}` and its like: a value without the part at one end that fits a pattern."""
    lengths = range(len(value) + 1) if len(end) == 1 else range(len(value), -1, -1)
    for length in lengths:
        rest = len(value) - length
        part, left = (value[:length], value[length:]) if end[0] == "#" else (value[rest:], value[:rest])
        if fnmatchcase(part, pattern):
            return left
    return value


class _Lexer:
    """One pass over a logical line."""

    def __init__(self, text: str, lexed: Lexed, known: Mapping[str, str]) -> None:
        self.text = text
        self.at = 0
        self.lexed = lexed
        self.known = known

    def run(self) -> None:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _BLANK or char == "\n":
                self.at += 1
            elif char == "#":
                return
            elif char == "\\" and self.text[self.at + 1 : self.at + 2] in tuple(_BLANK):
                self.at += 2
                self.lexed.mended.append(
                    "a backslash before a blank makes the blank part of the next word: remove the backslash, or end "
                    "the line behind it"
                )
            elif char in _STARTS:
                self._operator()
            else:
                self._word()

    def _operator(self) -> None:
        operator = next(known for known in OPERATORS if self.text.startswith(known, self.at))
        end = self.at + len(operator)
        before = self.at > 0 and not self.text[self.at - 1].isspace()
        after = end < len(self.text) and not self.text[end].isspace()
        self.lexed.tokens.append(Operator(operator, before, after))
        self.at = end

    def _word(self) -> None:
        parts: list[str] = []
        bare = True
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _BLANK or char == "\n" or char in _STARTS:
                break
            self.at += 1
            if char == "\\":
                bare = False
                parts.append(escape(self.text[self.at : self.at + 1]))
                self.at += 1
            elif char == "'":
                bare = False
                parts.append(escape(self._until("'")))
            elif char == '"':
                bare = False
                parts.append(self._double())
            elif char in "$`":
                parts.append(self._expansion(char))
            else:
                parts.append(char)
        self.lexed.tokens.append(Word("".join(parts), bare))

    def _until(self, quote: str) -> str:
        end = self.text.find(quote, self.at)
        if end < 0:
            self.lexed.unclosed = quote
            end = len(self.text)
        inside = self.text[self.at : end]
        self.at = end + 1
        return inside

    def _double(self) -> str:
        parts: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return "".join(parts)
            following = self.text[self.at : self.at + 1]
            if char == "\\" and following and following in '$`"\\':
                parts.append(escape(following))
                self.at += 1
            elif char in "$`":
                parts.append(self._expansion(char))
            else:
                parts.append(char)
        self.lexed.unclosed = '"'
        return "".join(parts)

    def _expansion(self, char: str) -> str:
        """What follows a dollar or a backtick."""
        if char == "`":
            return self._refuse(f"`{self._until('`')}`", "is the output of a command")
        if self.text.startswith("(", self.at):
            inside = self._matching("(", ")")
            computed = "is computed by the shell" if inside.startswith("((") else "is the output of a command"
            return self._refuse(f"${inside}", computed)
        if self.text.startswith("{", self.at):
            return self._braced(self._matching("{", "}"))
        if bare := _BARE.match(self.text, self.at):
            self.at = bare.end()
            return f"${{{bare[0]}}}"
        if self.text[self.at : self.at + 1] in tuple("@*#?!-$"):
            name = self.text[self.at]
            self.at += 1
            return self._refuse(f"${name}", "is known to the running shell alone")
        return "$$"

    def _braced(self, expression: str) -> str:
        cut = _CUT.fullmatch(expression[1:-1])
        if cut and cut["name"] in self.known:
            return escape(_cut(self.known[cut["name"]], cut["end"], cut["pattern"]))
        found = _VARIABLE.fullmatch(expression[1:-1])
        if found is None:
            return self._refuse(f"${expression}", "changes a variable's value, which parameters cannot")
        if found["default"] is not None:
            self.lexed.defaults[found["name"]] = found["default"].strip("\"'")
        return f"${{{found['name']}}}"

    def _matching(self, opening: str, closing: str) -> str:
        start, depth = self.at, 0
        while self.at < len(self.text):
            depth += {opening: 1, closing: -1}.get(self.text[self.at], 0)
            self.at += 1
            if not depth:
                return self.text[start : self.at]
        self.lexed.unclosed = opening
        return self.text[start:]

    def _refuse(self, expression: str, why: str) -> str:
        self.lexed.refused.append(f"{expression} {why}: write a variable in its place, such as ${{value}}")
        return escape(expression)

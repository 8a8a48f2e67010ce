"""ATC's commands in a text: a shell script, a page of Markdown, lines copied from either. Pure.

A text is read line by line, and only lines that set a variable or run ATC are looked into, so that prose around them
does no harm. ATC is known by its name: `atc`, `atc.bin`, `pyatc`, with or without a folder, `python3 -m ge.pyatc`
(facts: ATC §1.1).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from ascend_serve.compiling.importing.shell import (
    REDIRECTIONS,
    Lexed,
    Operator,
    Statement,
    Token,
    Word,
    lex,
    statements,
)
from ascend_serve.compiling.template import fill, inline, is_place, names_in

_PROGRAM = re.compile(r"(?:.*/)?(?:atc|atc\.bin|pyatc)")
_MENTION = re.compile(r"(?:^|[\s;&|(/.\"'`*])(?:atc|atc\.bin|pyatc|ge\.pyatc)[\"']?(?:[\s\\]|$)")
_SETS = re.compile(r"(?:^|[\s;&|(])[A-Za-z_][A-Za-z0-9_]*=|^\s*for\s")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<more>\+?)=(?P<value>.*)", re.DOTALL)
_INLINE = re.compile(r"`([^`]*)`")
_BULLET = re.compile(r"^\s*(?:[*+-]\s+|\d+[.)]\s*)?(?:\*\*(?P<bold>.*?)(?:\*\*)?\s*$)?")
_PROMPT = re.compile(
    r"^\s*(?:>\s*)?(?:\([\w.-]+\)\s*)?(?:\[?[\w.-]+@[^\s$#%]*(?:\s[^\s$#%]*\]?)?[$#%]|[$%>])\s+(?=\S)"
)
_OPTION_LINE = re.compile(r"\s*--?[A-Za-z][A-Za-z_-]*(?:[=\s]|$)")
_VALUE = re.compile(r"[^\s=]*[:,|~][^\s]*|[0-9]+")

_MOST_QUOTED_LINES = 20
_RESERVED = frozenset(["then", "do", "else", "elif", "if", "while", "until", "{", "!", "time"])
_WRAPPERS = frozenset(
    [
        "nohup",
        "sudo",
        "time",
        "exec",
        "env",
        "nice",
        "command",
        "srun",
        "unbuffer",
        "stdbuf",
        "numactl",
        "timeout",
    ]
)
_DECLARES = frozenset(["export", "local", "readonly", "declare"])


@dataclass(slots=True)
class Command:
    """One of ATC's commands.

    Attributes:
        argv: the words behind the program's name, templates.
        parameters: each variable they hold, with its value where the text gives one.
        line: where it begins in the text, from 1.
        notes: what is worth knowing and changes nothing.
        mended: what does not work as written and was put right.
        refused: what cannot be known without running the text.
    """

    argv: list[str]
    parameters: dict[str, str | None]
    line: int
    notes: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def is_program(word: str) -> bool:
    """Whether a word is ATC's name, as the first of a command line."""
    return _PROGRAM.fullmatch(word) is not None


def commands_in(text: str) -> list[Command]:
    """All commands of ATC in a text, in its order."""
    variables: dict[str, str | None] = {}
    found: list[Command] = []
    waiting = deque(statements(text))
    while waiting:
        statement = waiting.popleft()
        if _MENTION.search(statement.text):
            _join_options(statement, waiting)
        elif not _SETS.search(statement.text):
            continue
        for written in _undressed(statement.text):
            lexed = _lexed(written, variables, waiting)
            for simple in _simple_commands(lexed):
                found += _take(simple, lexed, statement, variables)
    return found


def _lexed(text: str, variables: Mapping[str, str | None], waiting: deque[Statement]) -> Lexed:
    """The words of a line, and of those behind it that a quote goes on to."""
    known = {name: fill(value, {}) for name, value in variables.items() if value and not names_in(value)}
    lexed = lex(text, known)
    for lines in range(1, _MOST_QUOTED_LINES + 1 if lexed.unclosed else 0):
        more = [statement.text for statement in islice(waiting, lines)]
        if len(more) < lines or not more[-1].strip() or _MENTION.search(more[-1]):
            break
        longer = lex("\n".join([text, *more]), known)
        if not longer.unclosed:
            _drop(waiting, lines)
            return longer
    if lexed.unclosed:
        lexed.refused.append(f"{lexed.unclosed} is opened and not closed: close it where the value ends")
    return lexed


def _drop(waiting: deque[Statement], count: int) -> None:
    for _ in range(count):
        waiting.popleft()


def _undressed(text: str) -> list[str]:
    """The commands of a line without what a page or a terminal puts around them: prompts, bullets, code marks."""
    if inline_code := [code for code in _INLINE.findall(text) if _MENTION.search(code) and "-" in code]:
        return inline_code
    if dressed := _BULLET.match(text):
        text = dressed["bold"] or text[dressed.end() :]
    return [_PROMPT.sub("", text)]


def _join_options(statement: Statement, waiting: deque[Statement]) -> None:
    """Take lines that begin with an option for a command whose lines lack their backslash."""
    while True:
        following = next((at for at, other in enumerate(waiting) if not _is_void(other.text)), None)
        if following is None or not _OPTION_LINE.match(waiting[following].text):
            return
        other = waiting[following]
        _drop(waiting, following + 1)
        statement.mended += [
            f"line {other.line} goes on with the command, but the line before it does not end in a backslash",
            *(fault for fault in other.mended if fault not in statement.mended),
        ]
        statement.text += " " + other.text


def _is_void(text: str) -> bool:
    return not text.strip() or text.lstrip().startswith("#")


def _simple_commands(lexed: Lexed) -> list[list[Word]]:
    """The words of each command between operators, without redirections."""
    commands: list[list[Word]] = [[]]
    tokens: list[Token] = list(lexed.tokens)
    while tokens:
        token = tokens.pop(0)
        if isinstance(token, Word):
            commands[-1].append(token)
        elif (place := _place(token, tokens)) and commands[-1]:
            commands[-1][-1].text += place
            del tokens[:2]
        elif token.text in REDIRECTIONS:
            if token.before and commands[-1] and commands[-1][-1].text.isdigit():
                commands[-1].pop()  # the number of a file: 2>&1
            if tokens and isinstance(tokens[0], Word):
                tokens.pop(0)
        elif _was_meant(token, commands[-1], tokens):
            word = tokens.pop(0)
            assert isinstance(word, Word)
            commands[-1][-1].text += token.text + word.text
            lexed.mended.append(
                f"an unquoted {token.text} ends the command for the shell (E10054 is what ATC then says): "
                f'put the value in quotes, "{commands[-1][-1].text.partition("=")[2] or commands[-1][-1].text}"'
            )
        else:
            commands.append([])
    return commands


def _place(token: Operator, rest: list[Token]) -> str:
    """`<name>` behind a word, the place of a value, which a shell takes for redirections; else empty."""
    if token.text != "<" or not (token.before and token.after) or len(rest) < 2:
        return ""
    name, closing = rest[:2]
    closes = isinstance(closing, Operator) and closing.text == ">" and closing.before
    return f"<{name.text}>" if closes and isinstance(name, Word) else ""


def _was_meant(token: Operator, words: list[Word], rest: list[Token]) -> bool:
    """Whether an operator stands in the middle of an option's value."""
    if not (token.before and token.after and token.text in (";", "|") and len(words) > 1 and rest):
        return False
    following = rest[0]
    return (
        _program_at(words) is not None
        and isinstance(following, Word)
        and any(word.text.startswith("-") for word in words[-2:])
        and _VALUE.fullmatch(following.text) is not None
    )


def _program_at(words: list[Word]) -> int | None:
    """Where in a simple command ATC's arguments begin."""
    for position, word in enumerate(words):
        if is_program(word.text):
            return position + 1
        if word.text == "-m" and position + 1 < len(words) and words[position + 1].text == "ge.pyatc":
            return position + 2
        before = word.text.rpartition("/")[2]
        assigned = word.bare and _ASSIGNMENT.fullmatch(word.text)
        if not (
            assigned
            or word.text in _RESERVED
            or before in _WRAPPERS
            or before.startswith("python")
            or word.text.startswith("-")
            or word.text.rstrip("smh").isdigit()
        ):
            return None
    return None


def _take(
    words: list[Word], lexed: Lexed, statement: Statement, variables: dict[str, str | None]
) -> list[Command]:
    """Note what a simple command sets, and give the command if it is one of ATC's."""
    start = _program_at(words)
    if start is not None:
        argv = [word.text for word in words[start:]]
        environment = [word.text for word in words[:start] if _ASSIGNMENT.fullmatch(word.text)]
    else:
        _assign(words, lexed, variables)
        argv, environment = _kept_command(words), []
    if not any(word.startswith("-") for word in argv):
        return []
    command = Command([], {}, statement.line)
    command.mended += [*statement.mended, *lexed.mended]
    command.refused += lexed.refused
    if environment:
        command.notes.append(
            f"{' '.join(environment)} is set for this command alone: set it where the recipe is built too"
        )
    command.argv = [_inlined(word, variables) for word in argv]
    for name in names_in(command.argv):
        value = variables.get(name)
        if value is None or names_in(value):
            command.parameters[name] = lexed.defaults.get(name)
        else:
            command.parameters[name] = fill(value, {})
    return [command]


def _kept_command(words: list[Word]) -> list[str]:
    """ATC's arguments in a variable that holds a whole command, as a shell splits it where it is used."""
    found = _ASSIGNMENT.fullmatch(words[0].text) if words else None
    parts = found["value"].split() if found else []
    return parts[1:] if parts and is_program(parts[0]) else []


def _assign(words: list[Word], lexed: Lexed, variables: dict[str, str | None]) -> None:
    while words and (words[0].text in _RESERVED or words[0].text in _DECLARES):
        words = words[1:]
    if len(words) > 1 and words[0].text == "for":
        variables[words[1].text] = None
        return
    found = [_ASSIGNMENT.fullmatch(word.text) for word in words]
    for match in found if all(found) else ():
        assert match is not None
        value = match["value"]
        # A script's argument, what a command gave, what a loop adds up: a parameter under the variable's own name.
        unknown = (
            lexed.refused
            or match["more"]
            or match["name"] in names_in(value)
            or (is_place(value) and names_in(value)[0].isdigit())
        )
        variables[match["name"]] = None if unknown else value


def _inlined(template: str, variables: Mapping[str, str | None]) -> str:
    """A word with the variables that stand for others replaced by those."""
    seen: set[str] = set()
    while True:
        compound = {
            name: value
            for name in names_in(template)
            if name not in seen and (value := variables.get(name)) is not None and names_in(value)
        }
        if not compound:
            return template
        seen |= compound.keys()
        template = inline(template, compound)

"""Runs what a page of documentation shows: its shell and Python blocks, in order, in a copy of the examples."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serve.tools import ROOT, eventually

LIMIT_S = 240

_BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^\n]+ -->\n)?^```(?P<kind>sh|python)\n(?P<code>.*?)^```$"
    r"(?:\n```text\n(?P<shown>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
_STATUS = re.compile(r"# exit status (\d+)")
_ELISION = "..."

_CHANGING = (
    (re.compile(r"[^\s'\"]*/artifacts/\S+"), "STORE"),
    (re.compile(r"/tmp/ascend-serve-[\w-]+"), "SCRATCH"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.+]+"), "TIME"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "KEY"),
    # Figures, of whichever machine: that they are good enough is said beside them, in words.
    (re.compile(r"\b\d+\.\d+(e[-+]\d+)?\b"), "N"),
    (re.compile(r"-{2,}|─{2,}"), "--"),
)
"""What differs from run to run."""


@dataclass(frozen=True)
class Block:
    """Code of a page, what is shown of its output, and the exit status that the code itself names."""

    kind: str
    code: str
    shown: str | None
    run: bool

    @property
    def status(self) -> int:
        told = _STATUS.search(self.code)
        return int(told[1]) if told else 0


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(found["kind"], found["code"], found["shown"], found["skip"] is None)
        for found in _BLOCK.finditer(text)
    ]


def run_page(page: str, environment: Mapping[str, str]) -> None:
    """Run what it shows as a fresh user; fails where something else happens.

    Args:
        page: below the root of the repository.
        environment: of this run.
    """
    code = [block for block in blocks(page) if block.run]
    assert code, f"{page} has nothing to run"
    with fresh_user(environment) as (root, variables):
        for block in code:
            printed = run_block(block, root, variables)
            if block.shown is not None:
                assert shows(block.shown, printed), f"{page}:\n{block.code}printed:\n{printed}"


@contextmanager
def fresh_user(environment: Mapping[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the examples as a clone has them, and the environment of somebody who never ran anything."""
    with tempfile.TemporaryDirectory(prefix="as-", dir="/tmp") as scratch:
        root, home, cards = (Path(scratch) / name for name in ("clone", "home", "cards"))
        home.mkdir()
        cards.mkdir()
        shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("build"))
        kept = {
            name: value
            for name, value in environment.items()
            if not name.startswith(("ASCEND_", "RAY_SERVE_"))
        }
        yield (
            root,
            kept
            | {
                "HOME": str(home),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
                "XDG_RUNTIME_DIR": str(cards),
                "ASCEND_EMULATOR_NODE": "pages",
                "COLUMNS": "200",
            },
        )
        eventually("the emulated cards are gone", lambda: not any(cards.iterdir()))


def run_block(block: Block, root: Path, environment: dict[str, str]) -> str:
    """What it prints; fails, with that, when it ends otherwise than the page says."""
    command = ["bash", "-e", "-c", block.code] if block.kind == "sh" else [sys.executable, "-c", block.code]
    done = subprocess.run(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == block.status, f"{block.code}ended with {done.returncode}:\n{done.stdout}"
    return done.stdout.replace(f"{root}/", "")


def shows(shown: str, printed: str) -> bool:
    """Whether what is shown is what was printed; `...` stands for any number of lines."""
    lines = (r"(?:.*\n)*" if line == _ELISION else re.escape(line + "\n") for line in plain(shown))
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in plain(printed))) is not None


def plain(text: str) -> list[str]:
    """Lines without what changes from run to run."""
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]

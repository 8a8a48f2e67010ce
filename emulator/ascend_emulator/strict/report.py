"""Where findings go: a folder with a file per process, or standard error at exit.

A file `<pid>.jsonl` holds a record per line, written when the finding is made, so that a process that is killed
loses none. The same misuse at the same place, of what was made at the same place, is written once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ascend_emulator.strict.findings import Finding, Record, summary, text_of
from ascend_emulator.strict.stacks import Stack

FOLDER_VARIABLE = "ASCEND_EMULATOR_STRICT_REPORT"

_MOST_KEPT = 1000


class Report:
    """The findings of one process.

    Args:
        folder: where its file goes; None for a text at exit.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: set[tuple[str, str, str, Stack, tuple[tuple[str, Stack], ...]]] = set()
        self._kept: list[Record] = []
        self._dropped = 0
        self._forked = False

    def add(self, finding: Finding) -> None:
        """Take a finding."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        key = (test, finding.kind, finding.call, finding.stack, finding.origins)
        if key in self._seen:
            return
        self._seen.add(key)
        record = finding.record(os.getpid(), test)
        if self._folder is not None and self._write(self._folder, record):
            return
        if self._forked:  # such a process may end without exit handlers
            sys.stderr.write(text_of(record) + "\n")
        elif len(self._kept) < _MOST_KEPT:
            self._kept.append(record)
        else:
            self._dropped += 1

    def after_fork(self) -> None:
        """In the child: the parent's findings are the parent's."""
        self._seen.clear()
        self._kept.clear()
        self._forked = True

    def write_exit_summary(self, stream: TextIO) -> None:
        """Print what was not written to a file; nothing when there is nothing."""
        if self._kept:
            text = [summary(self._kept), *map(text_of, self._kept)]
            if self._dropped:
                text.append(f"... and {self._dropped} more")
            stream.write("\n\n".join(text) + "\n")
            self._kept.clear()

    def _write(self, folder: Path, record: Record) -> bool:
        line = json.dumps(record) + "\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(line)
        except OSError as error:
            # The program must not fail of it, and nothing may be lost: the text at exit takes over.
            sys.stderr.write(f"ascend-emulator strict mode: {folder} cannot be written: {error}\n")
            self._folder = None
            return False
        return True


class Reader:
    """Reads the findings in a folder, each once.

    Args:
        folder: as `ASCEND_EMULATOR_STRICT_REPORT` names it; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}

    def new(self) -> list[Record]:
        """What was written since the last time."""
        return [record for path in sorted(self._folder.glob("*.jsonl")) for record in self._rest(path)]

    def _rest(self, path: Path) -> Iterator[Record]:
        with path.open("rb") as file:
            file.seek(self._read.get(path.name, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._read[path.name] = self._read.get(path.name, 0) + len(line)
                record: Record = json.loads(line)
                yield record

"""`python -m ascend_emulator.strict report <folder> [--json]`: the findings of all processes, as text or as JSON.

Exit code 1 when there are any.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ascend_emulator.strict.findings import summary, text_of
from ascend_emulator.strict.report import FOLDER_VARIABLE, Reader


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ascend_emulator.strict")
    commands = parser.add_subparsers(required=True)
    report = commands.add_parser("report", help="print the findings in a folder")
    report.add_argument("folder", type=Path, help=f"the folder that {FOLDER_VARIABLE} named")
    report.add_argument("--json", action="store_true", help="one JSON list instead of text")
    chosen = parser.parse_args(arguments)
    if not chosen.folder.is_dir():
        parser.error(f"{chosen.folder} is no folder: name the one that {FOLDER_VARIABLE} named")
    records = Reader(chosen.folder).new()
    lines = [json.dumps(records, indent=2)] if chosen.json else [summary(records), *map(text_of, records)]
    sys.stdout.write("\n\n".join(lines) + "\n")
    return 1 if records else 0


if __name__ == "__main__":
    raise SystemExit(main())

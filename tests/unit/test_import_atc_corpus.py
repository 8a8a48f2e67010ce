"""Whole files of command lines, imported: our own, or public model zoos', of which no text is kept.

ASCEND_TEST_ATC_COMMANDS: a folder of checkouts of Ascend/ModelZoo-PyTorch, Ascend/ModelZoo-TensorFlow and
Ascend/samples (`git clone --depth 1 https://github.com/Ascend/ModelZoo-PyTorch`), in place of our own.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from ascend_serve.compiling.importing.import_atc import import_script
from ascend_serve.errors import ConfigError
from tests.unit.imported_commands import guesses, made, said

pytestmark = pytest.mark.unit

_OWN = Path(__file__).parent / "data/atc_commands"
_SUFFIXES = (".md", ".sh", ".txt", ".rst")


def _commands(root):
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            for imported in import_script(path.read_text(encoding="utf-8", errors="replace")):
                yield f"{path.relative_to(root)}:{imported.line}", imported


def test_every_well_formed_command_comes_back_from_its_recipe():
    root = os.environ.get("ASCEND_TEST_ATC_COMMANDS", _OWN)
    counts = Counter()
    wrong, refused = [], []
    for where, imported in _commands(Path(root)):
        if not imported.well_formed:
            counts["malformed"] += 1
            continue
        given = guesses(imported)
        try:
            wanted, got = said(imported, given), made(imported, given)
        except ConfigError as error:  # what only a parameter's value shows
            refused.append(f"{where}: {error}")
            continue
        if got == wanted and len(wanted) == len(imported.pairs):
            counts["the same text"] += 1
        else:
            wrong.append(f"{where}: {wanted} became {got}")
    print(dict(counts), *refused, sep="\n")
    assert not wrong, "\n".join(wrong)
    assert len(refused) < counts["the same text"] / 100, "\n".join(refused)

"""The page for the first day on a card names tests that are there, and every quirk."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-card-day.md").read_text()
QUIRKS = (ROOT / "ascend_serve" / "runtime" / "QUIRKS.md").read_text()
COMMANDS = sorted(set(re.findall(r"`(CT/[^`]+)`", PAGE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_finds_tests(command: str) -> None:
    files, _, chosen = command.partition(" -k ")
    text = "".join(
        (ROOT / "tests" / "contract" / file).read_text() for file in files.replace("CT/", "").split()
    )
    tests = re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)
    assert tests
    for part in filter(None, chosen.strip('"').split(" or ")):
        assert any(part in test for test in tests), f"-k {part} chooses nothing"


def test_every_quirk_is_on_the_page() -> None:
    quirks = re.findall(r"^## (Q\d+) ", QUIRKS, re.MULTILINE)
    assert quirks
    assert set(quirks) - set(re.findall(r"\bQ\d+\b", PAGE)) == set()

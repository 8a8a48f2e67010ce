"""What holds for every test: an environment that no test can see from outside."""

import os

import pytest


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the suite must not decide what it finds."""
    for name in list(os.environ):
        if name.startswith("ASCEND_SERVE_"):
            monkeypatch.delenv(name)

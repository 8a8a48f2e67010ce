"""What holds for every test: an environment that no test can see from outside, and no haste."""

import os

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("suite", parent=settings(), deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the suite must not decide what it finds."""
    for name in list(os.environ):
        if name.startswith("ASCEND_SERVE_"):
            monkeypatch.delenv(name)

"""What holds for every test: an environment that no test can see from outside, and no haste."""

import os
import signal

import pytest
from hypothesis import settings

# A shell's background job ignores Ctrl-C, and so would every program that the tests start and end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("suite", parent=settings(), deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the suite must not decide what it finds."""
    for name in list(os.environ):
        if name.startswith("ASCEND_SERVE_"):
            monkeypatch.delenv(name)

"""What several contract tests need: the `atc` to compile with, and waiting for what comes true soon."""

import shutil
import sysconfig
import time
from collections.abc import Callable


def installed_atc() -> str:
    """Path of the `atc` beside this Python, else on PATH; fails the test where there is none."""
    found = shutil.which("atc", path=sysconfig.get_path("scripts")) or shutil.which("atc")
    assert found is not None, (
        "no atc to compile the test's models with: run `make test`, or source CANN's set_env.sh"
    )
    return found


def until(what: Callable[[], bool], within_s: float = 60) -> None:
    """Return as soon as it is true; fail when that takes too long."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)

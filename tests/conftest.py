"""What holds for every test: an environment that no test can see from outside, and no haste."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell's background job ignores Ctrl-C, and so would every program that the tests start and end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile(
    "suite", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the suite must not decide what it finds."""
    for name in list(os.environ):
        if name.startswith("ASCEND_SERVE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def socket_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders for sessions of Ray and cards, whose sockets need short names; those of pytest may lie deep."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="as-", dir="/tmp")))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "judge: a client of others, in an environment of its own; see make test-full"
    )
    config.addinivalue_line("markers", "kuberay: wants KubeRay's CRDs; see docs/kubernetes.md")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a run the judges that it does not ask for, since it has nothing to judge by."""
    unasked = [mark for mark in ("judge", "kuberay") if mark not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in unasked)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]

"""The pytest plugin: the test that misuses the device fails, and no other."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

_TIMEOUT_S = 60

HEAD = """
import os, subprocess, sys
import acl, pytest

@pytest.fixture
def device():
    acl.init()
    assert acl.rt.set_device(0) == 0
    yield
    acl.rt.reset_device(0)

def free_twice():
    block, _ = acl.rt.malloc(64, 0)
    acl.rt.free(block)
    acl.rt.free(block)
"""


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run a pytest session of its own over one file; gives its exit code and what it printed."""

    def session(tests: str, *options: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(HEAD + tests)
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
        environment = {name: value for name, value in os.environ.items() if "STRICT" not in name}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # this plugin and no other: it starts sooner
        loaded = "no:cacheprovider", "ascend_emulator.pytest_plugin"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-rA",
                *(f"-p{name}" for name in loaded),
                *options,
                "test_it.py",
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return session


def outcomes(text: str) -> dict[str, str]:
    """Test -> its outcome, of the lines `-rA` prints at the end; an error beats a pass."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        outcome, _, rest = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR") and "::" in rest:
            name = rest.split("::")[1].split(" ")[0]
            found[name] = outcome if found.get(name) in (None, "PASSED") else found[name]
    return found


def test_the_test_that_did_it_fails(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
def test_before(device): pass
def test_bad(device): free_twice()
def test_after(device): pass
""")
    assert code == 1
    assert outcomes(text) == {"test_before": "PASSED", "test_bad": "FAILED", "test_after": "PASSED"}
    assert "1 finding (1 double-free)" in text
    assert "test_it.py:15 in free_twice" in text


def test_a_test_says_what_it_provokes(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
@pytest.mark.ascend_findings("double-free")
def test_declared(device): free_twice()

@pytest.mark.ascend_findings("*")
def test_any(device): free_twice()

@pytest.mark.ascend_findings("*")
def test_none_of_any(device): pass

@pytest.mark.ascend_findings("leak")
def test_other(device): free_twice()

@pytest.mark.ascend_findings("double-free")
def test_missing(device): pass

@pytest.mark.ascend_findings("double-free")
def test_not_run(device): pytest.skip("not here")
""")
    assert code == 1
    assert outcomes(text) == {
        "test_declared": "PASSED",
        "test_any": "PASSED",
        "test_none_of_any": "PASSED",
        "test_other": "FAILED",
        "test_missing": "ERROR",
    }
    assert "declares findings that did not occur: double-free" in text


def test_a_kind_that_does_not_exist_is_refused(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
@pytest.mark.ascend_findings("tripple-free")
def test_it(): pass
""")
    assert code != 0
    assert "'tripple-free') names no kind of finding" in text


def test_fixtures_and_children_count_against_the_test(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
@pytest.fixture
def bad_setup(device): free_twice()

@pytest.fixture
def bad_teardown(device):
    yield
    free_twice()

def test_setup(bad_setup): pass
def test_teardown(bad_teardown): pass
def test_child():
    program = "import acl; acl.init(); acl.rt.set_device(0); acl.rt.free(acl.rt.malloc(8, 0)[0] + 4)"
    subprocess.run([sys.executable, "-c", program], check=True)
def test_good(device): pass
""")
    assert code == 1
    assert outcomes(text) == {
        "test_setup": "FAILED",
        "test_teardown": "ERROR",
        "test_child": "FAILED",
        "test_good": "PASSED",
    }


def test_a_failure_keeps_its_own_reason(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
def test_bad(device):
    free_twice()
    assert 1 + 1 == 3
""")
    assert code == 1
    assert "assert (1 + 1) == 3" in text
    assert "1 finding (1 double-free)" in text


def test_what_no_test_did_fails_the_session(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session("""
class Late:
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self):
        acl.rt.set_device(0)
        free_twice()

def test_good(request): request.config.pluginmanager.register(Late())
""")
    assert code == 1
    assert outcomes(text) == {"test_good": "PASSED"}
    assert "found outside of tests" in text


def test_a_fixture_that_clears_the_environment_turns_nothing_off(
    session: Callable[..., tuple[int, str]],
) -> None:
    code, text = session("""
@pytest.fixture(scope="session", autouse=True)
def clear():
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if "STRICT" in name:
                patch.delenv(name)
        yield

def test_it(): assert os.environ["ASCEND_EMULATOR_STRICT"] == "1"
""")
    assert (code, outcomes(text)) == (0, {"test_it": "PASSED"})


def test_it_can_be_turned_off(session: Callable[..., tuple[int, str]]) -> None:
    code, text = session(
        """
def test_bad(device):
    free_twice()
    assert "ASCEND_EMULATOR_STRICT" not in os.environ
""",
        "--no-ascend-strict",
    )
    assert (code, outcomes(text)) == (0, {"test_bad": "PASSED"})


def test_it_loads_no_acl(session: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """A session that uses no device, or another `acl`, is none of its business."""
    (tmp_path / "acl.py").write_text("real = True\n")
    code, text = session("""
def test_it():
    import acl
    assert acl.real
    assert not any(name.startswith("ascend_emulator.client.p") for name in sys.modules)
""")
    assert (code, outcomes(text)) == (0, {"test_it": "PASSED"})

"""A pytest plugin: strict mode for the session, and the test fails that misused the device.

Every process that the session starts is watched too, and what it finds counts against the test that runs when it is
found. `@pytest.mark.ascend_findings("double-free", ...)` says which kinds a test provokes on purpose; they must then
occur, no other may, and `"*"` allows any. `--no-ascend-strict` turns the plugin off.

It imports no `acl`. Where the installed `acl` is not the emulator's, nothing is ever found.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from ascend_emulator import strict
from ascend_emulator.client.calling import STRICT_VARIABLE
from ascend_emulator.strict.findings import KINDS, Record, summary, text_of
from ascend_emulator.strict.report import FOLDER_VARIABLE, Reader

ANY = "*"
_MARKER = "ascend_findings"
_NAME = "ascend-strict"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that turns strict mode off."""
    group = parser.getgroup("ascend-emulator")
    group.addoption(
        "--no-ascend-strict",
        action="store_true",
        help="do not watch the calls of the emulated acl for misuse of the device",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and turn strict mode on."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(kind, ...): misuses of the device that the test provokes on purpose; {ANY!r} allows any",
    )
    if not config.getoption("--no-ascend-strict"):
        config.pluginmanager.register(_Session(), _NAME)


class _Session:
    """The strict mode of one pytest session."""

    def __init__(self) -> None:
        self._was_enabled = strict.is_enabled()
        self._folder = Path(tempfile.mkdtemp(prefix="ascend-strict-"))
        self._reader = Reader(self._folder)
        self._variables = {STRICT_VARIABLE: "1", FOLDER_VARIABLE: str(self._folder)}
        self._before = {name: os.environ.get(name) for name in self._variables}
        self._found: dict[str, list[Record]] = {}
        self._passed: set[str] = set()
        self._left_over: list[Record] = []
        os.environ.update(self._variables)
        if self._was_enabled:  # its findings must come here
            strict.disable()
        strict.enable(self._folder)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self) -> Generator[None, object, object]:
        """Restore what a fixture that clears the environment has taken away; what it sets is its own affair."""
        result = yield
        self._restore()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test that passed but made findings, its fixtures included."""
        self._restore()
        try:
            result = yield
        except BaseException:
            self._judge(item, "call", fail=False)
            raise
        self._judge(item, "call", fail=True)
        self._passed.add(item.nodeid)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test whose teardown made findings, or that passed without those it declares."""
        try:
            result = yield
        except BaseException:
            self._judge(item, "teardown", fail=False)
            raise
        self._judge(item, "teardown", fail=True)
        found = {record["kind"] for record in self._found.get(item.nodeid, ())}
        missing = [kind for kind in _declared(item) if kind != ANY and kind not in found]
        if missing and item.nodeid in self._passed:
            pytest.fail(f"the test declares findings that did not occur: {', '.join(missing)}", pytrace=False)
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the session fail for what was found when no test was there to fail."""
        self._left_over = self._reader.new()
        if self._left_over and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what was found after the last test."""
        if self._left_over:
            terminalreporter.section("ascend strict mode: found outside of tests", sep="=", red=True)
            terminalreporter.write_line(_text(self._left_over))

    def pytest_unconfigure(self) -> None:
        """Leave the process as it was."""
        strict.disable()
        if self._was_enabled:
            strict.enable()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(self._folder, ignore_errors=True)

    def _restore(self) -> None:
        for name, value in self._variables.items():
            os.environ.setdefault(name, value)

    def _judge(self, item: pytest.Item, when: str, *, fail: bool) -> None:
        new = self._reader.new()
        self._found.setdefault(item.nodeid, []).extend(new)
        allowed = _declared(item)
        wrong = [record for record in new if record["kind"] not in allowed and ANY not in allowed]
        if wrong:
            text = _text(wrong, item.nodeid)
            item.add_report_section(when, "ascend strict mode", text)
            if fail:
                pytest.fail(text, pytrace=False)


def _declared(item: pytest.Item) -> list[str]:
    """The kinds that a test's markers name.

    Raises:
        pytest.UsageError: one of them is no kind of finding.
    """
    kinds = [kind for mark in item.iter_markers(_MARKER) for kind in mark.args]
    for kind in kinds:
        if kind != ANY and kind not in KINDS:
            known = ", ".join(KINDS)
            raise pytest.UsageError(
                f"{item.nodeid}: {_MARKER}({kind!r}) names no kind of finding: {ANY!r} or one of {known}"
            )
    return kinds


def _text(records: Sequence[Record], nodeid: str = "") -> str:
    lines = [summary(records)]
    for record in records:
        origin = record["test"].rpartition(" ")[0]
        # A process of an earlier test, or of a fixture that several tests share.
        late = [f"(its process was started during {origin})"] if nodeid and origin not in ("", nodeid) else []
        lines.append("\n".join([text_of(record), *late]))
    return "\n\n".join(lines)

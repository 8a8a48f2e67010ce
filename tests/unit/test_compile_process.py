import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ascend_serve.compiling.process import run

pytestmark = pytest.mark.unit

LIMIT_S = 60.0


def until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"


def alive(pid):
    try:
        # A zombie is dead; only its parent, or init, has yet to take note of it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids_of(file):
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9), ("kill -11 $$", -11)]
)
def test_the_status_is_the_programs_own(tmp_path, script, status):
    assert run(["/bin/sh", "-c", script], cwd=tmp_path, log=tmp_path / "log", timeout_s=LIMIT_S) == status


def test_output_comes_in_order_and_stdin_is_empty(tmp_path):
    script = "pwd; echo one; echo two >&2; cat; echo three"
    run(["/bin/sh", "-c", script], cwd=tmp_path, log=tmp_path / "log", timeout_s=LIMIT_S)
    assert (tmp_path / "log").read_text().split() == [str(tmp_path), "one", "two", "three"]


def test_a_program_that_cannot_be_run_says_so(tmp_path):
    status = run([str(tmp_path)], cwd=tmp_path, log=tmp_path / "log", timeout_s=LIMIT_S)
    assert status == 127
    assert "cannot run" in (tmp_path / "log").read_text()


FAMILY = "tail -f /dev/null & echo $! >> pids; echo $$ >> pids; "
"""A program with a worker; both write their numbers."""


def test_workers_do_not_outlive_the_program(tmp_path):
    assert (
        run(["/bin/sh", "-c", FAMILY + "exit 0"], cwd=tmp_path, log=tmp_path / "log", timeout_s=LIMIT_S) == 0
    )
    until(lambda: not any(map(alive, pids_of(tmp_path / "pids"))))


def test_the_time_limit_kills_program_and_workers(tmp_path):
    pids = tmp_path / "pids"
    # A busy machine may take longer than the first limits to start both.
    for limit_s in (0.3, 1.0, 3.0, 10.0):
        pids.unlink(missing_ok=True)
        status = run(
            ["/bin/sh", "-c", FAMILY + "wait"], cwd=tmp_path, log=tmp_path / "log", timeout_s=limit_s
        )
        assert status is None
        if len(pids_of(pids)) == 2:
            break
    assert len(pids_of(pids)) == 2
    until(lambda: not any(map(alive, pids_of(tmp_path / "pids"))))


CALLER = """
import sys
from pathlib import Path
from ascend_serve.compiling.process import run
folder = Path(sys.argv[1])
run(["/bin/sh", "-c", sys.argv[2]], cwd=folder, log=folder / "log", timeout_s=60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_caller(tmp_path, number):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path), FAMILY + "wait"], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: len(pids_of(tmp_path / "pids")) == 2)
        assert all(map(alive, pids_of(tmp_path / "pids")))
        os.kill(caller.pid, number)
        caller.wait(LIMIT_S)
        until(lambda: not any(map(alive, pids_of(tmp_path / "pids"))))
    finally:
        caller.kill()
        caller.wait()

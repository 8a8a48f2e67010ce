"""The folders that builds work in: gone with them, also when they end suddenly."""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ascend_serve.artifacts import locks
from ascend_serve.compiling import scratch as room
from ascend_serve.compiling.scratch import scratch

pytestmark = pytest.mark.unit

interrupted_at = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))["interrupted_at"]


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A temporary folder of its own, for child processes too."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def started(code, *arguments):
    """A Python process that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


HOLDING = """
import sys
from ascend_serve.compiling.scratch import scratch
with scratch() as folder:
    (folder / "model.onnx").write_text("large")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_empty_private_and_gone_afterwards(top):
    with scratch() as folder:
        assert (list(folder.iterdir()), folder.stat().st_mode & 0o777) == ([], 0o700)
        assert folder.parent == top
        (folder / "file").touch()
    assert list(top.iterdir()) == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_interrupt_at_any_step_leaves_nothing_that_the_next_does_not_remove(top):
    def use():
        with scratch() as folder:
            (folder / "file").touch()

    step = 1
    while interrupted_at([room, locks], step, use):
        with scratch():
            pass
        assert list(top.iterdir()) == [], f"left after an interrupt at step {step}"
        step += 1
    assert step > 100


def test_what_a_killed_process_left_goes_with_the_next_and_what_lives_stays(top):
    dead, living = started(HOLDING), started(HOLDING)
    try:
        killed(dead)
        assert len(list(top.glob("*/model.onnx"))) == 2
        with scratch() as folder:
            left = list(top.glob("*/model.onnx"))
            assert len(left) == 1
            assert sorted(path.name for path in top.iterdir()) == sorted(
                name for path in (folder, left[0].parent) for name in (path.name, f"{path.name}.lock")
            )
        living.communicate("", timeout=60)
        assert list(top.iterdir()) == []
    finally:
        for process in (dead, living):
            process.kill()
            process.communicate()


BUILDING = """
import sys
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling import build
from ascend_serve.spec.recipe import CompileRecipe
source, store, atc = sys.argv[1:]
recipe = CompileRecipe.parse({"name": "net", "source": source, "inputs": {"x": [1, 3]}})
build.run = lambda *_, **__: (print("ready", flush=True), sys.stdin.read())
build.compile_target(recipe, "Ascend310P3", Store(store), atc=atc, skip_preflight=True)
"""


def test_a_build_that_was_killed_leaves_nothing_that_the_next_does_not_remove(top, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    atc = tmp_path / "atc"
    atc.write_text("#!/bin/sh\necho usage\n")
    atc.chmod(0o755)
    killed(started(BUILDING, tmp_path / "net.onnx", tmp_path / "store", atc))
    assert len(list(top.glob("ascend-serve-*/cwd"))) == 1
    with scratch():
        pass
    assert list(top.iterdir()) == []


def test_what_could_not_be_removed_goes_with_the_next(top, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(room.shutil, "rmtree", lambda *_, **__: None)
        with scratch() as left:
            pass
    assert list(top.iterdir()) == [left]
    with scratch():
        assert not left.exists()


def test_what_is_anothers_is_left_alone(top, monkeypatch):
    other = top / "ascend-serve-abcdefgh"
    other.mkdir()  # of another purpose
    with scratch() as left:
        pass
    left.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with scratch():
            assert left.exists()
    with monkeypatch.context() as patch:
        patch.setattr(room.socket, "gethostname", lambda: "another-machine")
        with scratch():
            assert left.exists()
    with scratch():
        assert not left.exists()
    assert list(top.iterdir()) == [other]

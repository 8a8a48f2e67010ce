"""Strict mode end to end: programs that plant one bug each, and clean ones (facts/pyacl.md §8, §11, §17, §18)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

_TIMEOUT_S = 60

BEGIN = """
import os, sys, threading
import acl
assert acl.init() == 0
assert acl.rt.set_device(0) == 0
device, _ = acl.rt.malloc(256, 0)
pinned, _ = acl.rt.malloc_host(256)
stream, _ = acl.rt.create_stream()
event, _ = acl.rt.create_event()
model, ret = acl.mdl.load_from_file(sys.argv[1])
assert ret == 0, acl.get_recent_err_msg()

def dataset(address, size):
    made = acl.mdl.create_dataset()
    acl.mdl.add_dataset_buffer(made, acl.create_data_buffer(address, size))
    return made

inputs, outputs = dataset(device, 128), dataset(device + 128, 64)

def misuse():
"""

END = """
misuse()
acl.rt.synchronize_device()
for made in inputs, outputs:
    acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(made, 0))
    acl.mdl.destroy_dataset(made)
acl.mdl.unload(model)
acl.rt.destroy_event(event)
acl.rt.destroy_stream(stream)
acl.rt.free_host(pinned)
acl.rt.free(device)
acl.rt.reset_device(0)
acl.finalize()
"""

BUGS = {
    "use-after-free": """
        block, _ = acl.rt.malloc(64, 0)
        acl.rt.free(block)
        acl.rt.memcpy(block, 64, pinned, 64, 1)
    """,
    "double-free": """
        block, _ = acl.rt.malloc_host(64)
        assert acl.rt.free_host(block) == 0
        assert acl.rt.free_host(block) != 0
    """,
    "wrong-free": """
        block, _ = acl.rt.malloc_host(64)
        acl.rt.free(block)
        acl.rt.free_host(block)
    """,
    "out-of-bounds": """
        acl.rt.memcpy(pinned, 256, device + 1, 256, 2)
    """,
    "unpinned-copy": """
        data = bytes(64)
        acl.rt.memcpy_async(device, 64, acl.util.bytes_to_ptr(data), 64, 1, stream)
    """,
    "device-read": """
        try:
            acl.util.ptr_to_bytes(device, 8)
        except ValueError:
            pass
    """,
    "model-on-two-streams": """
        other, _ = acl.rt.create_stream()
        space, _ = acl.rt.malloc(256, 0)
        more = dataset(space, 128), dataset(space + 128, 64)
        acl.mdl.execute_async(model, inputs, outputs, stream)
        acl.mdl.execute_async(model, *more, other)
        acl.rt.synchronize_device()
        for made in more:
            acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(made, 0))
            acl.mdl.destroy_dataset(made)
        acl.rt.free(space)
        acl.rt.destroy_stream(other)
    """,
    "dataset-in-flight": """
        acl.mdl.execute_async(model, inputs, outputs, stream)
        acl.mdl.execute_async(model, inputs, outputs, stream)
    """,
    "unsynchronised-read": """
        acl.rt.memcpy_async(pinned, 256, device, 256, 2, stream)
        acl.util.ptr_to_bytes(pinned, 8)
    """,
    "in-flight-write": """
        acl.rt.memcpy_async(device, 256, pinned, 256, 1, stream)
        acl.rt.memset(pinned, 256, 0, 256)
    """,
    "free-in-flight": """
        block, _ = acl.rt.malloc(256, 0)
        acl.rt.memcpy_async(block, 256, pinned, 256, 1, stream)
        acl.rt.free(block)
    """,
    "no-context": """
        thread = threading.Thread(target=acl.rt.synchronize_stream, args=(stream,))
        thread.start()
        thread.join()
    """,
    "use-after-fork": """
        pid = os.fork()
        if not pid:
            acl.rt.memcpy(device, 8, pinned, 8, 1)
            os._exit(0)
        os.waitpid(pid, 0)
    """,
    "leak": """
        acl.rt.create_event()
    """,
}

CLEAN = """
    for _ in range(3):
        acl.rt.memset(pinned, 256, 1, 256)
        acl.rt.memcpy_async(device, 128, pinned, 128, 1, stream)
        acl.mdl.execute_async(model, inputs, outputs, stream)
        acl.rt.memcpy_async(pinned + 128, 64, device + 128, 64, 2, stream)
        acl.rt.record_event(event, stream)
        acl.rt.synchronize_event(event)
        acl.util.ptr_to_bytes(pinned + 128, 64)
        acl.mdl.execute(model, inputs, outputs)
        block, _ = acl.rt.malloc(64, 0)
        acl.rt.free(block)
"""


@pytest.fixture
def run(om_files: dict[str, Path], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Run a program in strict mode with what it does between the common beginning and end; gives its findings."""

    def run(body: str, end: str = END, code: int = 0) -> list[dict[str, Any]]:
        program, folder = tmp_path / "program.py", tmp_path / "findings"
        program.write_text(BEGIN + body + end)
        done = subprocess.run(
            [sys.executable, str(program), str(om_files["static"])],
            env={
                **os.environ,
                "ASCEND_EMULATOR_STRICT": "1",
                "ASCEND_EMULATOR_STRICT_REPORT": str(folder),
            },
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
        return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]

    return run


@pytest.mark.parametrize("kind", BUGS)
def test_a_planted_bug_is_found_where_it_is(run: Callable[..., list[dict[str, Any]]], kind: str) -> None:
    """One misuse gives findings of its kind alone, and they point into `misuse`."""
    found = run(BUGS[kind])
    assert {finding["kind"] for finding in found} == {kind}
    lines = [frame for frame in found[0]["stack"] if Path(frame["file"]).name == "program.py"]
    if kind not in ("leak", "no-context"):
        assert lines[0]["function"] == "misuse"
    if kind == "leak":
        assert found[0]["origins"][0]["stack"][0]["function"] == "misuse"


def test_every_kind_of_finding_is_planted() -> None:
    from ascend_emulator.strict.findings import KINDS

    assert set(BUGS) == set(KINDS)


def test_a_clean_program_has_no_findings(run: Callable[..., list[dict[str, Any]]]) -> None:
    assert run(CLEAN) == []


def test_a_program_that_is_killed_loses_no_finding(run: Callable[..., list[dict[str, Any]]]) -> None:
    killed = "\nmisuse()\nos.kill(os.getpid(), 9)\n"
    found = run(BUGS["double-free"], killed, -signal.SIGKILL)
    assert [finding["kind"] for finding in found] == ["double-free"]


def test_calls_while_the_interpreter_goes_down_do_no_harm(run: Callable[..., list[dict[str, Any]]]) -> None:
    """Programs free in `__del__` at exit, in any order (facts/pyacl.md §20, 18)."""
    ending = """
misuse()
class Holder:
    def __del__(self):
        assert acl.rt.free(device) == 0
        assert acl.rt.destroy_stream(stream) == 0
holder = Holder()
sys.holder = holder
"""
    assert run("    pass\n", ending) == []


def test_threads_that_share_a_device_are_clean(run: Callable[..., list[dict[str, Any]]]) -> None:
    body = """
    context, _ = acl.rt.get_context()
    def work():
        acl.rt.set_context(context)
        mine, _ = acl.rt.create_stream()
        for _ in range(100):
            block, _ = acl.rt.malloc(64, 0)
            host, _ = acl.rt.malloc_host(64)
            acl.rt.memcpy_async(block, 64, host, 64, 1, mine)
            acl.rt.synchronize_stream(mine)
            acl.rt.free(block)
            acl.rt.free_host(host)
        acl.rt.destroy_stream(mine)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    assert run(body) == []


def test_without_a_folder_the_findings_are_told_at_exit(om_files: dict[str, Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if "STRICT" not in name}
    program = BEGIN + BUGS["double-free"] + END
    for strict, told in (("1", True), ("0", False), ("", False)):
        done = subprocess.run(
            [sys.executable, "-c", program, str(om_files["static"])],
            env={**environment, "ASCEND_EMULATOR_STRICT": strict},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0
        assert ("1 finding (1 double-free)" in done.stderr) is told
        assert (done.stderr != "") is told


def test_importing_acl_does_not_load_strict_mode(run_python: Callable[..., str]) -> None:
    program = "import sys, acl; print(any('strict' in name for name in sys.modules))"
    assert run_python(program, ASCEND_EMULATOR_STRICT="") == "False"

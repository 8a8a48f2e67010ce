"""The card is a process of its own: started by the first client, shared, freed of the dead, gone after the last."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.tools import until

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

FIND_CARD = """
import os, pathlib
def card_pid():
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\\0")
        except OSError:
            continue
        node = b'"' + os.environ["ASCEND_EMULATOR_NODE"].encode() + b'"'
        if b"ascend_emulator.card" in words and node in b" ".join(words):
            return int(path.parent.name)
    return None
"""


def node_folder(root: Path, node: str) -> Path:
    return root / f"ascend-emulator-{os.getuid()}" / node


def test_cold_queries_start_nothing(run_python: Callable[..., str], runtime_folder: Path) -> None:
    program = """
import sys
before = set(sys.modules)
import acl
print(acl.get_soc_name(), acl.rt.get_device_count(), acl.rt.get_run_mode())
import os
print([name for name in ("numpy", "onnx", "onnxruntime", "subprocess") if name in set(sys.modules) - before])
paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
links = [os.readlink(path) for path in paths if os.path.lexists(path)]
print([link for link in links if "socket" in link or "memfd" in link])
print(len(os.listdir("/proc/self/task")), open(f"/proc/self/task/{os.getpid()}/children").read())
"""
    printed = run_python(program, ASCEND_EMULATOR_NODE="cold", ASCEND_EMULATOR_DEVICES="3")
    assert printed.splitlines() == ["Ascend310P3 (3, 0) (1, 0)", "[]", "[]", "1"]
    assert not node_folder(runtime_folder, "cold").exists()


def test_a_card_lives_as_long_as_its_clients(run_python: Callable[..., str], runtime_folder: Path) -> None:
    program = (
        FIND_CARD
        + """
import acl, time
print(card_pid(), acl.rt.set_device(0), card_pid() != os.getpid())
pid = card_pid()
print(sorted(path.name for path in node.glob("*")) if (node := pathlib.Path(os.environ["NODE"])).exists() else None)
print(acl.rt.reset_device(0))
deadline = time.monotonic() + 60
while (card_pid() or node.parent.exists()) and time.monotonic() < deadline:
    time.sleep(0.01)
print(card_pid(), node.parent.exists(), open(f"/proc/self/task/{os.getpid()}/children").read())
"""
    )
    folder = runtime_folder / "apart"
    folder.mkdir()
    node = folder / f"ascend-emulator-{os.getuid()}" / "alive"
    printed = run_python(program, ASCEND_EMULATOR_NODE="alive", XDG_RUNTIME_DIR=str(folder), NODE=str(node))
    folder.rmdir()
    files = "['card0.lock', 'card0.log', 'card0.sock']"
    assert printed.splitlines() == ["None 0 True", files, "0", "None False"]


def test_a_killed_client_frees_what_it_held(runtime_folder: Path, om_files: dict[str, Path]) -> None:
    import acl

    def free() -> int:
        return max(acl.rt.get_mem_info(kind)[0] for kind in (0, 1))

    assert acl.rt.set_device(0) == 0
    before = free()
    streams_before = acl.rt.get_stream_available_num()
    program = """
import acl, sys
acl.init(); acl.rt.set_device(0)
print(acl.rt.malloc(1 << 30, 0)[1], acl.rt.create_stream()[1], acl.mdl.load_from_file(sys.argv[1])[1], flush=True)
acl.rt.memset_async(acl.rt.malloc(1 << 26, 0)[0], 1 << 26, 1, 1 << 26, 0)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(om_files["gears"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline().split() == ["0", "0", "0"]
        until(lambda: before - free() > (1 << 30) + (1 << 26))
        client.send_signal(signal.SIGKILL)
    until(lambda: free() == before)
    assert acl.rt.get_stream_available_num() == streams_before
    assert acl.rt.reset_device(0) == 0


def test_a_dead_card_is_a_lost_device_and_never_a_hang(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    program = (
        FIND_CARD
        + """
import acl, signal, sys
acl.init(); acl.rt.set_device(0)
stream, _ = acl.rt.create_stream(); block, _ = acl.rt.malloc(64, 0); event, _ = acl.rt.create_event()
acl.rt.record_event(event, stream)
os.kill(card_pid(), signal.SIGKILL)
while card_pid():
    pass
source = acl.util.bytes_to_ptr(bytes(64))
print(acl.rt.synchronize_stream(stream), acl.rt.memcpy(block, 64, source, 64, 1), acl.rt.malloc(64, 0),
      acl.rt.memset_async(block, 64, 0, 64, stream), acl.rt.synchronize_event(event), acl.rt.synchronize_device(),
      acl.mdl.load_from_file(sys.argv[1]), acl.rt.query_device_status(0))
print("gone" in acl.get_recent_err_msg())
print(acl.rt.reset_device(0), acl.rt.set_device(0), acl.rt.malloc(64, 0)[1],
      acl.rt.query_device_status(0), acl.rt.reset_device(0))
"""
    )
    printed = run_python(program, om_files["static"], ASCEND_EMULATOR_NODE="dying").splitlines()
    assert printed[0] == "507010 507010 (0, 507010) 507010 507010 507010 (0, 507010) (1, 0)"
    assert printed[1:] == ["True", "0 0 0 (0, 0) 0"]


def test_many_processes_start_and_leave_at_once(runtime_folder: Path) -> None:
    program = """
import acl
for _ in range(6):
    assert acl.rt.set_device(2) == 0, acl.get_recent_err_msg()
    block, ret = acl.rt.malloc(1 << 20, 0)
    assert ret == 0
    assert acl.rt.memset_async(block, 1 << 20, 1, 1 << 20, 0) == 0
    assert acl.rt.reset_device(2) == 0
"""
    clients = [
        subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "ASCEND_EMULATOR_NODE": "crowd"})
        for _ in range(5)
    ]
    assert [client.wait(60) for client in clients] == [0] * 5
    until(lambda: not node_folder(runtime_folder, "crowd").exists())


@pytest.mark.ascend_findings("use-after-fork")
def test_a_forked_child_leaves_the_parents_connection_alone(run_python: Callable[..., str]) -> None:
    program = """
import acl, os
acl.rt.set_device(0)
block, _ = acl.rt.malloc(64, 0)
child = os.fork()
if not child:
    answers = [acl.rt.get_device(), acl.rt.malloc(64, 0), acl.rt.synchronize_stream(0), acl.rt.set_device(0)]
    good = answers == [(0, 107002), (0, 107002), 107002, 507033] and "spawn" in acl.get_recent_err_msg()
    os._exit(0 if good else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(acl.rt.memset_async(block, 64, 1, 64, 0), acl.rt.synchronize_stream(0),
      acl.rt.free(block), acl.rt.reset_device(0))
"""
    assert run_python(program).splitlines() == ["0", "0 0 0 0"]


def test_a_child_forked_before_acl_was_used_is_free(run_python: Callable[..., str]) -> None:
    program = """
import acl, os
print(acl.rt.get_device_count()[1], flush=True)
child = os.fork()
if not child:
    os._exit(acl.rt.set_device(0) or acl.rt.malloc(64, 0)[1] or acl.rt.reset_device(0))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_python(program).splitlines() == ["0", "0"]


def test_a_forked_child_pins_memory_of_its_own(run_python: Callable[..., str]) -> None:
    program = """
import acl, ctypes, os
assert acl.rt.set_device(0) == 0 and acl.rt.malloc_host(64)[1] == 0 and acl.rt.reset_device(0) == 0
asked, child_says = os.pipe()
child = os.fork()
assert acl.rt.set_device(0) == 0
host, ret = acl.rt.malloc_host(64)
assert ret == 0
if not child:
    ctypes.memset(host, 1, 64)
    os.write(child_says, b".")
    os._exit(0)
ctypes.memset(host, 2, 64)
os.read(asked, 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), acl.util.ptr_to_bytes(host, 64) == bytes([2] * 64))
print(acl.rt.free_host(host), acl.rt.reset_device(0))
"""
    assert run_python(program).splitlines() == ["0 True", "0 0"]


def test_a_card_met_while_it_dies_is_replaced(run_python: Callable[..., str]) -> None:
    program = """
import acl, threading
from ascend_emulator.rendezvous import listen, locked, place_of
place = place_of("replaced", 0)
with locked(place):
    dying = listen(place)
def die():
    end, _ = dying.accept()
    end.recv(1)
    dying.close()
    end.close()
thread = threading.Thread(target=die)
thread.start()
print(acl.rt.set_device(0), acl.get_recent_err_msg(), acl.rt.malloc(64, 0)[1], acl.rt.reset_device(0))
thread.join()
"""
    assert run_python(program, ASCEND_EMULATOR_NODE="replaced") == "0 None 0 0"


def test_an_interrupted_start_leaves_nothing(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import acl
    from ascend_emulator.client import start

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("ASCEND_EMULATOR_NODE", "interrupted")
    with monkeypatch.context() as patch:
        patch.setattr(start, "_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            acl.rt.set_device(3)
    assert not node_folder(runtime_folder, "interrupted").exists()
    assert (acl.rt.set_device(3), acl.rt.reset_device(3)) == (0, 0)


def test_no_program_started_from_here_inherits_the_card(run_python: Callable[..., str]) -> None:
    program = """
import acl, os
before = set(os.listdir("/proc/self/fd"))
acl.rt.set_device(0)
acl.rt.synchronize_stream(0)
opened = [int(fd) for fd in os.listdir("/proc/self/fd") if fd not in before and os.path.exists("/proc/self/fd/" + fd)]
print(len(opened) > 0, any(map(os.get_inheritable, opened)), acl.rt.reset_device(0))
"""
    assert run_python(program) == "True False 0"


def test_threads_that_come_and_go_take_nobodys_channel(run_python: Callable[..., str]) -> None:
    program = """
import acl, threading
from itertools import count
from ascend_emulator.client import process
acl.rt.set_device(0); context, _ = acl.rt.get_context()
print(acl.rt.synchronize_stream(0))
process.open_device(0).link._numbers = count(65530)  # as if so many threads had been there
answers = []
def wait():
    answers.append(acl.rt.set_context(context) or acl.rt.synchronize_stream(0))
for _ in range(20):
    thread = threading.Thread(target=wait); thread.start(); thread.join()
print(set(answers), acl.rt.synchronize_stream_with_timeout(0, 5000), acl.rt.reset_device(0))
"""
    assert run_python(program).splitlines() == ["0", "{0} 0 0"]


def test_teardown_in_del_at_exit_returns_zero(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    program = """
import acl, os, sys
class Net:
    def __init__(self, path):
        acl.init(); acl.rt.set_device(0)
        self.context, _ = acl.rt.create_context(0)
        self.stream, _ = acl.rt.create_stream()
        self.model, _ = acl.mdl.load_from_file(path)
        self.desc = acl.mdl.create_desc()
        acl.mdl.get_desc(self.desc, self.model)
        self.block, _ = acl.rt.malloc(64, 0)
        self.dataset = acl.mdl.create_dataset()
        acl.mdl.add_dataset_buffer(self.dataset, acl.create_data_buffer(self.block, 64))
        self.me = self
    def __del__(self):
        rets = [acl.mdl.unload(self.model), acl.mdl.destroy_desc(self.desc),
                acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(self.dataset, 0)),
                acl.mdl.destroy_dataset(self.dataset),
                acl.rt.free(self.block), acl.rt.destroy_stream(self.stream), acl.rt.reset_device(0), acl.finalize(),
                acl.rt.destroy_context(self.context)]
        os.write(1, repr(rets).encode())
net = Net(sys.argv[1])
"""
    assert run_python(program, om_files["static"]) == repr([0] * 9)


@pytest.mark.ascend_findings("leak")
def test_things_outlive_the_device_they_were_made_on(
    run_python: Callable[..., str], om_files: dict[str, Path]
) -> None:
    program = """
import acl, sys
acl.init(); acl.rt.set_device(0)
stream, _ = acl.rt.create_stream(); event, _ = acl.rt.create_event(); block, _ = acl.rt.malloc(64, 0)
host, _ = acl.rt.malloc_host(64); model, _ = acl.mdl.load_from_file(sys.argv[1])
acl.rt.record_event(event, stream)
print(acl.rt.reset_device(0), acl.finalize())
print(acl.mdl.unload(model), acl.rt.free(block), acl.rt.free_host(host), acl.rt.destroy_event(event),
      acl.rt.destroy_stream(stream))
"""
    assert run_python(program, om_files["static"]).splitlines() == ["0 0", "0 0 0 0 0"]


def test_a_card_of_another_soc_is_refused_by_name(run_python: Callable[..., str]) -> None:
    program = """
import acl, os, subprocess, sys
if len(sys.argv) == 1:
    print(acl.rt.set_device(0), flush=True)
    environment = {**os.environ, "ASCEND_EMULATOR_SOC": "Ascend910B3"}
    subprocess.run([sys.executable, "-c", os.environ["PROGRAM"], "second"], env=environment)
    print(acl.rt.reset_device(0))
else:
    print(acl.rt.set_device(0), acl.get_recent_err_msg(), flush=True)
"""
    printed = run_python(program, ASCEND_EMULATOR_NODE="mixed", PROGRAM=program).splitlines()
    assert (printed[0], printed[2]) == ("0", "0")
    assert printed[1].startswith("507033")
    assert "Ascend310P3" in printed[1]
    assert "Ascend910B3" in printed[1]


def test_an_unknown_soc_is_no_soc(run_python: Callable[..., str]) -> None:
    program = "import acl\nprint(acl.get_soc_name(), acl.rt.set_device(0), acl.get_recent_err_msg())"
    printed = run_python(program, ASCEND_EMULATOR_SOC="Ascend999")
    assert printed.startswith(
        "None 507033 ascend-emulator: ASCEND_EMULATOR_SOC is 'Ascend999': it must be one of"
    )


def test_on_a_board_host_memory_is_device_memory(run_python: Callable[..., str]) -> None:
    program = """
import acl
acl.rt.set_device(0)
print(acl.rt.get_run_mode())
host, ret = acl.rt.malloc_host(256); block, _ = acl.rt.malloc(256, 0)
print(ret, acl.rt.memset(host, 256, 7, 256), acl.rt.memcpy_async(block, 256, host, 256, 3, 0),
      acl.rt.memset_async(host, 256, 1, 256, 0), acl.rt.memcpy_async(host + 128, 128, block, 128, 3, 0),
      acl.rt.synchronize_stream(0))
print(acl.util.ptr_to_bytes(host, 256) == bytes([1] * 128 + [7] * 128), acl.rt.free_host(host), acl.rt.free(block),
      acl.rt.reset_device(0))
"""
    printed = run_python(
        program, ASCEND_EMULATOR_RUN_MODE="0", ASCEND_EMULATOR_NODE="board", ASCEND_EMULATOR_SOC="Ascend310B1"
    )
    assert printed.splitlines() == ["(0, 0)", "0 0 0 0 0 0", "True 0 0 0"]


def test_ray_finds_the_devices_by_itself(run_python: Callable[..., str]) -> None:
    program = """
from ray._private.accelerators.npu import NPUAcceleratorManager as manager
print(manager.get_current_node_num_accelerators(), manager.get_current_node_accelerator_type())
"""
    printed = run_python(
        program, ASCEND_EMULATOR_DEVICES="7", ASCEND_EMULATOR_SOC="Ascend910B3", PYTHONWARNINGS="ignore"
    )
    assert printed == "7 Ascend910B3"

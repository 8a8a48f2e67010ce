"""Memory that others reach too: other processes, or the device that of the host."""

import ast
import subprocess
import sys
from collections.abc import Callable

import acl
import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

IMPORTER = """
import acl, os, sys
acl.init()
assert acl.rt.set_device(0) == 0
print(acl.rt.device_get_bare_tgid()[0], flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Other:
    """A process with device 0 set, which evaluates what it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = int(self._answer())

    def ask(self, expression: str) -> object:
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        return ast.literal_eval(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@pytest.fixture
def other(device: int):
    made = Other()
    yield made
    made.close()


@pytest.fixture
def block(device: int):
    address, ret = acl.rt.malloc(4096, 0)
    assert ret == 0
    yield address
    assert acl.rt.free(address) == 0


def key_of(address: int, size: int = 4096, *, flags: int = 0) -> str:
    key, ret = acl.rt.ipc_mem_get_export_key(address, size, 65, flags)
    assert ret == 0, acl.get_recent_err_msg()
    return str(key)


@pytest.mark.ascend_findings("use-after-free")
def test_two_processes_use_the_same_memory(block: int, other: Other) -> None:
    """hicann/runtime docs 11-07 `aclrtIpcMemGetExportKey`: the steps of both processes."""
    data = bytes(range(64))
    assert acl.rt.memcpy(block, 64, acl.util.bytes_to_ptr(data), 64, 1) == 0
    key = key_of(block)
    assert acl.rt.ipc_mem_set_import_pid(key, [other.pid]) == 0
    address, ret = other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)")
    assert ret == 0
    assert other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)") == (address, 0)
    read = f"(lambda b: (acl.rt.memcpy(acl.util.bytes_to_ptr(b), 64, {address}, 64, 2), b))(bytes(64))"
    assert other.ask(read) == (0, data)
    queued = "(lambda h: (acl.rt.memcpy_async(h, 64, {0}, 64, 2, 0), acl.rt.synchronize_stream(0)))"
    queued = f"{queued.format(address)}(acl.rt.malloc_host(64)[0])"
    assert other.ask(queued) == (0, 0)
    assert other.ask(f"acl.rt.memset({address} + 32, 32, 9, 32)") == 0
    back = bytes(64)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 64, block, 64, 2) == 0
    assert back == data[:32] + b"\x09" * 32
    assert other.ask(f"acl.rt.ipc_mem_close({key!r})") == 0
    assert other.ask(read)[0] == 507899
    assert other.ask(queued) == (0, 507013)
    assert acl.rt.ipc_mem_close(key) == 0
    assert other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)") == (0, 507899)


def test_only_processes_on_the_list_may_import(block: int, other: Other) -> None:
    """hicann/driver `_devmm_ipc_node_get_wlist`, `devmm_ipc_node_set_pids_check`."""
    key, free_for_all = key_of(block), key_of(block, flags=1)
    assert other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)") == (0, 507899)
    assert other.ask(f"acl.rt.ipc_mem_set_import_pid({key!r}, [{other.pid}])") == 507899
    assert acl.rt.ipc_mem_set_import_pid(free_for_all, [other.pid]) == 207006
    assert other.ask(f"acl.rt.ipc_mem_import_by_key({free_for_all!r}, 0)")[1] == 0
    assert other.ask(f"acl.rt.ipc_mem_close({free_for_all!r})") == 0
    assert other.ask(f"acl.rt.ipc_mem_close({free_for_all!r})") == 507899
    assert [acl.rt.ipc_mem_close(key), acl.rt.ipc_mem_close(free_for_all)] == [0, 0]
    assert acl.rt.ipc_mem_close(key) == 0


@pytest.mark.ascend_findings("double-free", "out-of-bounds", "use-after-free")
def test_memory_of_another_process_is_reached_by_its_key_only(other: Other, stream: int) -> None:
    """Each process has device addresses of its own: what it neither holds nor imports is not there for it."""
    theirs, ret = other.ask("acl.rt.malloc(4096, 0)")
    assert ret == 0
    key, ret = other.ask(f"acl.rt.ipc_mem_get_export_key({theirs}, 4096, 65, 1)")
    assert ret == 0
    here, ret = acl.rt.ipc_mem_import_by_key(key, 0)
    assert ret == 0

    def set_and_wait(start: int, size: int) -> list[int]:
        queued = acl.rt.memset_async(start, size, 1, size, stream)
        return [queued, acl.rt.synchronize_stream(stream), acl.rt.memset(start, size, 1, size)]

    assert set_and_wait(here, 4096) == [0, 0, 0]
    assert set_and_wait(here + 4096, 64) == [0, 507013, 507899]
    assert acl.rt.ipc_mem_close(key) == 0
    assert set_and_wait(here, 4096) == [0, 507013, 507899]
    assert acl.rt.free(here) == 107000


def test_memory_that_was_freed_is_not_imported(device: int, other: Other) -> None:
    address, _ = acl.rt.malloc(4096, 0)
    key = key_of(address, flags=1)
    imported, ret = other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)")
    assert (ret, acl.rt.free(address)) == (0, 0)
    queued = f"(acl.rt.memset_async({imported}, 64, 1, 64, 0), acl.rt.synchronize_stream(0))"
    assert other.ask(queued) == (0, 507013)
    assert other.ask(f"acl.rt.ipc_mem_close({key!r})") == 0
    assert other.ask(f"acl.rt.ipc_mem_import_by_key({key!r}, 0)") == (0, 507899)


@pytest.mark.ascend_findings("out-of-bounds", "*")  # or whatever lies beside the block
def test_arguments_of_keys(block: int) -> None:
    """Binding `WrapAclRtIpcMem*`; hicann/runtime `ApiErrorDecorator::IpcSetMemoryName`; driver `halShmem*`."""
    assert acl.rt.ipc_mem_get_export_key(0, 64, 65, 0) == ("", 100000)
    for size, room, flags in ((0, 65, 0), (64, 0, 0), (64, 64, 0), (64, 65, 2)):
        assert acl.rt.ipc_mem_get_export_key(block, size, room, flags) == ("", 107000)
    for address, size in (
        (block + 4096, 4096),
        (block, 1 << 40),
        (block - 64, 64),
        (acl.util.bytes_to_ptr(b"x"), 1),
    ):
        assert acl.rt.ipc_mem_get_export_key(address, size, 65, 0) == ("", 507899)
    with pytest.raises(ValueError, match="key len should be less than 1024"):
        acl.rt.ipc_mem_get_export_key(block, 64, 1024, 0)
    key = key_of(block)
    assert len(key) == 36
    assert acl.rt.ipc_mem_set_import_pid(key, []) == 107000
    assert acl.rt.ipc_mem_set_import_pid(key, list(range(1, 33))) == 107000
    assert acl.rt.ipc_mem_set_import_pid(key, [0]) == 507899
    for pids in ((1,), [1.0], [1 << 31]):
        with pytest.raises(ValueError, match=r"list|PyList"):
            acl.rt.ipc_mem_set_import_pid(key, pids)
    assert acl.rt.ipc_mem_import_by_key(key, 2) == (0, 107000)
    for wrong, code in (("", 107000), ("x" * 65, 107000), ("nobody's", 507899), ("f" * 36, 507899)):
        assert acl.rt.ipc_mem_import_by_key(wrong, 0) == (0, code)
        assert acl.rt.ipc_mem_close(wrong) == code
        assert acl.rt.ipc_mem_set_import_pid(wrong, [1]) == code
    assert acl.rt.ipc_mem_import_by_key(key, 0) == (block, 0)
    assert [acl.rt.ipc_mem_close(key), acl.rt.ipc_mem_close(key)] == [0, 0]


def test_what_is_not_emulated_says_so() -> None:
    """Binding `rt_memory.cpp` for the forms; FIDELITY.md for the answer."""
    assert acl.rt.mem_export_to_shareable_handle(64, 0, 0) == (0, 207000)
    assert acl.rt.mem_export_to_shareable_handle(0, 0, 0) == (0, 100000)
    assert acl.rt.mem_import_from_shareable_handle(64, 0) == (0, 207000)
    assert acl.rt.mem_set_pid_to_shareable_handle(64, [1]) == 207000
    assert [acl.rt.get_memcpy_desc_size(kind) for kind in (6, 8)] == [(0, 207000), (0, 100000)]
    assert acl.rt.set_memcpy_desc(64, 6, 64, 64, 64, 0) == (0, 207000)
    assert acl.rt.memcpy_async_with_desc(64, 6, 0) == 207000
    assert acl.rt.value_write(64, 1, 0, 0) == acl.rt.value_wait(64, 1, 0, 0) == 207000
    assert acl.rt.get_mem_uce_info(0, 1) == ([], 207000)
    assert acl.rt.mem_uce_repair(0, []) == 207000
    with pytest.raises(TypeError, match="aclrtMemUceInfo argument is not list"):
        acl.rt.mem_uce_repair(0, {})


REGISTERED = """
import acl, ctypes, mmap, os
acl.init()
assert acl.rt.set_device(0) == 0
region = mmap.mmap(-1, 1 << 20)
host = ctypes.addressof(ctypes.c_char.from_buffer(region))
data = os.urandom(1 << 20)
region[:] = data
stream, _ = acl.rt.create_stream()
block, _ = acl.rt.malloc(1 << 20, 0)
found = {}
found["register"] = acl.rt.host_register(host, 1 << 20, 0) == (host, 0)
found["again"] = acl.rt.host_register(host + 4096, 4096, 0)[1]
found["place"] = acl.rt.pointer_get_attributes(host)[0]["location"]
found["in"] = [acl.rt.memcpy_async(block, 1 << 20, host, 1 << 20, 1, stream), acl.rt.synchronize_stream(stream)]
region[:] = bytes(1 << 20)
found["out"] = [acl.rt.memcpy_async(host, 1 << 20, block, 1 << 20, 2, stream), acl.rt.synchronize_stream(stream)]
found["same"] = bytes(region) == data
found["rows"] = [acl.rt.memcpy2d_async(block, 64, host, 32, 32, 4, 1, stream), acl.rt.synchronize_stream(stream)]
past = host + (1 << 20) - 8
found["past"] = [acl.rt.memcpy_async(block, 8192, past, 16, 1, stream), acl.rt.synchronize_stream(stream)]
found["pointer"] = acl.rt.host_get_device_pointer(host + 5, 0) == (host + 5, 0)
found["off"] = [acl.rt.host_unregister(host + 4096), acl.rt.host_unregister(host), acl.rt.host_unregister(host)]
found["pageable"] = [acl.rt.memcpy_async(block, 64, host, 64, kind, stream) for kind in (1, 2)]
found["flags"] = [acl.rt.host_register_v2(host, 4096, flags) for flags in (0, 1, 0x10000000, 2)]
found["unmapped"] = acl.rt.host_get_device_pointer(host, 0)
found["done"] = acl.rt.host_unregister(host)
wrong = [(0, 64, 0), (host, 0, 0), (host, 64, 2), (host + 1, 64, 0), (block, 64, 0), (4096, 64, 0), (host, 1 << 40, 0)]
found["wrong"] = [acl.rt.host_register(*arguments)[1] for arguments in wrong]
pinned, _ = acl.rt.malloc_host(8192)
page = -(-pinned // 4096) * 4096
found["pinned"] = [acl.rt.host_register(page, 64, 0)[1], acl.rt.host_unregister(page)]
found["pinned"].append(acl.rt.host_register_v2(page, 64, 0x10000000))
print(found)
"""


@pytest.mark.ascend_findings("double-free", "out-of-bounds", "unpinned-copy")
def test_registered_host_memory_counts_as_pinned(run_python: Callable[..., str]) -> None:
    """hicann/runtime `ApiImpl::HostRegister`, `HostRegisterV2`, `HostUnregister`; docs 11-02."""
    found = ast.literal_eval(
        run_python(REGISTERED, ASCEND_EMULATOR_SOC="Ascend910B3", ASCEND_EMULATOR_NODE="registered")
    )
    assert found == {
        "register": True,
        "again": 507910,
        "place": {"id": 0, "type": 0},
        "in": [0, 0],
        "out": [0, 0],
        "same": True,
        "rows": [0, 0],
        "past": [0, 507013],
        "pointer": True,
        "off": [507911, 0, 507911],
        "pageable": [0, 107000],
        "flags": [107000, 107000, 0, 507910],
        "unmapped": (0, 107000),
        "done": 0,
        "wrong": [100000, 100000, 207000, 107000, 107000, 507899, 507899],
        "pinned": [0, 0, 107000],
    }


@pytest.mark.usefixtures("emulator")
def test_some_socs_do_not_reach_host_memory(device: int) -> None:
    """hicann/runtime docs 11-02 `aclrtHostRegister`: Atlas inference products are not supported."""
    assert acl.get_soc_name() == "Ascend310P3"
    region = acl.util.bytes_to_ptr(bytes(8192)) // 4096 * 4096
    assert acl.rt.host_register(region, 64, 0) == (0, 207000)
    assert acl.rt.host_register_v2(region, 64, 2) == 207000
    assert acl.rt.host_unregister(region) == 207000
    assert acl.rt.host_register(0, 64, 0) == (0, 100000)
    assert acl.rt.host_unregister(0) == 100000

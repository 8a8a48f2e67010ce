"""No argument to a function of memory ends the interpreter or takes for ever."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

# A process of its own, since what is looked for would end it. No address of its own heap may be drawn: a pointer to
# memory that the process may write is a pointer, here as on hardware, and what lies beside emulated memory is often
# the heap. So the blocks lie in the middle of it, behind others, and only addresses near the blocks are drawn.
PROGRAM = """
import acl, sys, warnings
from hypothesis import HealthCheck, given, settings, strategies as st
from acl._rt import copies, memory, sharing, unsupported, virtual

warnings.simplefilter("ignore")
acl.init()
assert acl.rt.set_device(0) == 0
acl.rt.malloc(1 << 20, 0), acl.rt.malloc_host(1 << 20)
block, _ = acl.rt.malloc(4096, 0)
pinned, _ = acl.rt.malloc_host(4096)
freed, _ = acl.rt.malloc(4096, 0)
acl.rt.free(freed)
space, _ = acl.rt.reserve_mem_address(8 << 20, 0, 0, 0)
prop = {"memAttr": 4, "location": {"id": 0, "type": 1}}
handle, _ = acl.rt.malloc_physical(2 << 20, prop, 0)
acl.rt.map_mem(space, 2 << 20, 0, handle, 0)
anchor, _ = acl.rt.malloc_physical(2 << 20, prop, 0)  # keeps the space reserved, or the heap could move in there
acl.rt.map_mem(space + (6 << 20), 2 << 20, 0, anchor, 0)
stream, _ = acl.rt.create_stream()
key, _ = acl.rt.ipc_mem_get_export_key(block, 64, 65, 1)

blocks = st.sampled_from((block, pinned, freed, space + (2 << 20)))
known = st.one_of(blocks, st.sampled_from((0, space, stream, handle, 64, 4096, 1 << 21)))
near = st.builds(lambda place, off: place + off, blocks, st.integers(-4097, 4097))
edges = st.sampled_from([(1 << power) + off for power in (31, 32, 47, 52, 63, 64) for off in (-4096, -1, 0, 1)])
longs = st.one_of(known, near, edges, st.integers(0, 300), st.integers(1 << 48, (1 << 64) - 1))
dicts = st.fixed_dictionaries({}, optional={
    "numAttrs": st.integers(0, 2), "attrs": st.lists(st.fixed_dictionaries({"attr": st.integers(-1, 5),
    "value": st.dictionaries(st.sampled_from(("moduleId", "deviceId", "rsv")), longs)}), max_size=2),
    "memAttr": st.integers(-1, 20), "location": st.fixed_dictionaries({"id": longs, "type": st.integers(-1, 6)}),
    "handleType": longs, "allocationType": st.integers(0, 1)})
objects = st.one_of(dicts, longs, st.lists(longs, max_size=40), st.tuples(longs), st.tuples(longs, longs), st.binary())
kinds = {
    "k": longs, "i": st.one_of(st.integers(-2, 12), st.integers(-(1 << 31), (1 << 31) - 1)),
    "I": st.one_of(st.integers(0, 31), longs), "O": objects, "s": st.one_of(st.just(key), st.text(max_size=70)),
}
modules = (copies, memory, sharing, unsupported, virtual)
functions = [getattr(acl.rt, name) for module in modules for name in module.__all__]
functions += [acl.util.ptr_to_bytes, acl.util.ptr_to_numpy, acl.util.bytes_to_ptr, acl.util.numpy_to_ptr]
forms = FORMS
drawn = st.sampled_from(functions).flatmap(
    lambda function: st.tuples(st.just(function), st.tuples(*(kinds[letter] for letter in forms[function.path])))
)
calls = 0

@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(drawn)
def throw(drawn):
    global calls
    function, arguments = drawn
    calls += 1
    try:
        function(*arguments)
    except (TypeError, ValueError, KeyError, MemoryError):
        pass

throw()
acl.rt.synchronize_stream(stream)
back = bytes(64)
fresh, ret = acl.rt.malloc(64, 0)
alive = acl.rt.memset(fresh, 64, 7, 64) == 0 and acl.rt.memcpy(acl.util.bytes_to_ptr(back), 64, fresh, 64, 2) == 0
print({"calls": calls, "alive": alive and back == b"\\x07" * 64})
"""

FORMS = {
    "acl.rt.free": "k",
    "acl.rt.free_host": "k",
    "acl.rt.get_mem_info": "i",
    "acl.rt.malloc": "ki",
    "acl.rt.malloc_align32": "ki",
    "acl.rt.malloc_cached": "ki",
    "acl.rt.malloc_for_task_scheduler": "kiO",
    "acl.rt.malloc_host": "k",
    "acl.rt.malloc_host_with_cfg": "kO",
    "acl.rt.malloc_with_cfg": "kiO",
    "acl.rt.mem_flush": "kk",
    "acl.rt.mem_invalidate": "kk",
    "acl.rt.pointer_get_attributes": "k",
    "acl.rt.memcpy": "kkkki",
    "acl.rt.memcpy2d": "kkkkkki",
    "acl.rt.memcpy2d_async": "kkkkkkik",
    "acl.rt.memcpy_async": "kkkkik",
    "acl.rt.memcpy_async_with_condition": "kkkkik",
    "acl.rt.memset": "kkik",
    "acl.rt.memset_async": "kkikk",
    "acl.rt.device_get_bare_tgid": "",
    "acl.rt.host_get_device_pointer": "kI",
    "acl.rt.host_register": "kki",
    "acl.rt.host_register_v2": "kkI",
    "acl.rt.host_unregister": "k",
    "acl.rt.ipc_mem_close": "s",
    "acl.rt.ipc_mem_get_export_key": "kkkk",
    "acl.rt.ipc_mem_import_by_key": "sk",
    "acl.rt.ipc_mem_set_import_pid": "sO",
    "acl.rt.mem_export_to_shareable_handle": "kik",
    "acl.rt.mem_import_from_shareable_handle": "ki",
    "acl.rt.mem_set_pid_to_shareable_handle": "kO",
    "acl.rt.free_physical": "k",
    "acl.rt.malloc_physical": "kOk",
    "acl.rt.map_mem": "kkkkk",
    "acl.rt.mem_get_allocation_granularity": "Oi",
    "acl.rt.release_mem_address": "k",
    "acl.rt.reserve_mem_address": "kkkk",
    "acl.rt.unmap_mem": "k",
    "acl.rt.get_mem_uce_info": "iI",
    "acl.rt.get_memcpy_desc_size": "i",
    "acl.rt.mem_uce_repair": "iO",
    "acl.rt.memcpy_async_with_desc": "kik",
    "acl.rt.set_memcpy_desc": "kikkkk",
    "acl.rt.value_wait": "kkIk",
    "acl.rt.value_write": "kkIk",
    "acl.util.ptr_to_bytes": "kk",
    "acl.util.ptr_to_numpy": "kOi",
    "acl.util.bytes_to_ptr": "O",
    "acl.util.numpy_to_ptr": "O",
}
"""Arguments of every function, in the letters of `PyArg_ParseTuple`, as the binding has them."""

EXAMPLES = 1500
SOCS = ("Ascend310P3", "Ascend910B3")


@pytest.fixture(scope="module")
def found(runtime_folder: Path) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """The program on each SoC, side by side."""
    program = PROGRAM.replace("FORMS", repr(FORMS)).replace("EXAMPLES", str(EXAMPLES))

    def run(soc: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "ASCEND_EMULATOR_SOC": soc, "ASCEND_EMULATOR_NODE": f"fuzz-{soc}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    with ThreadPoolExecutor(len(SOCS)) as pool:
        yield dict(zip(SOCS, pool.map(run, SOCS), strict=True))


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.ascend_findings("*")
def test_arbitrary_arguments_are_survived(
    found: dict[str, subprocess.CompletedProcess[str]], soc: str
) -> None:
    ended = found[soc]
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ast.literal_eval(ended.stdout) == {"calls": EXAMPLES, "alive": True}

"""Devices: what they say of themselves, how busy they are, what they may do to each other; boards; the last error."""

import ast
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract

H2H, H2D, D2H, D2D = 0, 1, 2, 3

# acl_rt.h, aclrtDevAttr
AICPU_CORES, AI_CORES, CUBE_CORES, VECTOR_CORES = 1, 101, 102, 201
MEMORY_BYTES, L2_BYTES, PHYSICAL_CHIP, IS_VIRTUAL, ARCH = 301, 302, 402, 501, 601

UTILIZATION_KEYS = [
    "cube_utilization",
    "vector_utilization",
    "aicpu_utilization",
    "memory_utilization",
    "utilization_extend",
]


@pytest.mark.usefixtures("emulator")
def test_a_device_describes_itself(run_python: Callable[..., str]) -> None:
    """`get_device_info` ([C] acl_rt.h aclrtDevAttr); the binding cuts the value to 32 bits ([B] rt_device.cpp)."""
    program = f"""
import acl
attributes = {[AICPU_CORES, AI_CORES, CUBE_CORES, VECTOR_CORES, L2_BYTES, IS_VIRTUAL, ARCH, MEMORY_BYTES]}
print(*(acl.rt.get_device_info(0, attribute) for attribute in attributes))
print(acl.rt.get_device_info(4, 1), acl.rt.get_device_info(0, 7), acl.rt.get_device_info(0, 409))
"""
    described = {
        "Ascend310P3": (7, 8, 8, 7, 16 << 20, 0, 2002, 24_000_000_000),
        "Ascend910B3": (6, 20, 20, 40, 192 << 20, 0, 2201, 64 << 30),
    }
    for soc, values in described.items():
        cut = [(value + (1 << 31)) % (1 << 32) - (1 << 31) for value in values]
        assert run_python(program, ASCEND_EMULATOR_SOC=soc).splitlines() == [
            " ".join(f"({value}, 0)" for value in cut),
            "(0, 107000) (0, 107000) (0, 207000)",
        ]


@pytest.mark.usefixtures("emulator")
def test_physical_chips_are_told_by_ordinal(run_python: Callable[..., str]) -> None:
    """Ordinals are renumbered by `ASCEND_RT_VISIBLE_DEVICES` (facts §5.3), chips are not."""
    program = f"import acl\nprint(*(acl.rt.get_device_info(each, {PHYSICAL_CHIP})[0] for each in (0, 1)))"
    assert run_python(program, ASCEND_RT_VISIBLE_DEVICES="1,3") == "1 3"


def test_utilization_has_five_keys(device: int) -> None:
    """Facts §5.1; memory is always -1 ([C] device.cpp); all is -1 for a device that is not there, with 0."""
    found, ret = acl.rt.get_device_utilization_rate(0)
    assert ret == 0
    assert list(found) == UTILIZATION_KEYS
    assert 0 <= found["cube_utilization"] <= 100
    assert found["memory_utilization"] == -1
    unknown, ret = acl.rt.get_device_utilization_rate(1000)
    assert ret == 0
    assert list(unknown.values()) == [-1, -1, -1, -1, 0]


@pytest.mark.usefixtures("emulator")
def test_utilization_follows_the_work(
    run_python: Callable[..., str], om_files: dict[str, Path], tmp_path: Path
) -> None:
    """The busy share of the compute engine in the last second, in percent."""
    table = tmp_path / "times.json"
    table.write_text('{"models": {"static": {"static": 100}}}')
    program = """
import acl, sys
acl.init(); acl.rt.set_device(0)
model, ret = acl.mdl.load_from_file(sys.argv[1]); assert ret == 0
desc = acl.mdl.create_desc(); acl.mdl.get_desc(desc, model)
def dataset(size):
    made = acl.mdl.create_dataset()
    acl.mdl.add_dataset_buffer(made, acl.create_data_buffer(acl.rt.malloc(size, 0)[0], size))
    return made
inputs = dataset(acl.mdl.get_input_size_by_index(desc, 0)); outputs = dataset(acl.mdl.get_output_size_by_index(desc, 0))
print(acl.rt.get_device_utilization_rate(0)[0]["cube_utilization"])
for _ in range(5):
    assert acl.mdl.execute(model, inputs, outputs) == 0
print(acl.rt.get_device_utilization_rate(0)[0])
print(acl.rt.get_device_utilization_rate(1)[0]["cube_utilization"], acl.rt.reset_device(0))
"""
    idle, busy, rest = run_python(
        program,
        om_files["static"],
        ASCEND_EMULATOR_TIMING="modelled",
        ASCEND_EMULATOR_TIMES=str(table),
        ASCEND_EMULATOR_NODE="busy",
    ).splitlines()
    shares: dict[str, int] = ast.literal_eval(busy)
    assert idle == "0"
    assert 30 <= shares["cube_utilization"] <= 60
    assert shares["vector_utilization"] == shares["cube_utilization"]
    assert rest == "0 0"


def test_saturation_mode_is_of_the_process(run_python: Callable[..., str]) -> None:
    """Modes 0 and 1, else 107000; no device is needed ([C] api_impl.cc SetDeviceSatMode)."""
    program = """
import acl
print(acl.rt.get_device_sat_mode(), acl.rt.set_device_sat_mode(1), acl.rt.get_device_sat_mode())
print(acl.rt.set_device_sat_mode(2), acl.rt.set_device_sat_mode(-1), acl.rt.get_device_sat_mode())
"""
    assert run_python(program).splitlines() == ["(0, 0) 0 (1, 0)", "107000 107000 (1, 0)"]


@pytest.mark.ascend_findings("no-context")
def test_peers_are_two_devices(device: int) -> None:
    """A device is no peer of itself: 100000; flags are reserved: 200006 ([C] memory.cpp)."""
    count, _ = acl.rt.get_device_count()
    assert acl.rt.device_can_access_peer(0, 0) == (0, 100000)
    assert acl.rt.device_can_access_peer(0, count) == (0, 107001)
    assert acl.rt.device_enable_peer_access(0, 0) == 100000
    assert acl.rt.device_enable_peer_access(count, 0) == 107001
    assert acl.rt.device_disable_peer_access(0) == 100000
    if count > 1:
        assert acl.rt.device_enable_peer_access(1, 1) == 200006
        assert acl.rt.device_can_access_peer(0, 1) == (1, 0)
        assert acl.rt.device_enable_peer_access(1, 0) == 0
        assert acl.rt.device_disable_peer_access(1) == 0
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(acl.rt.device_enable_peer_access(1, 0)))
    thread.start()
    thread.join()
    assert codes == [107002]


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    "environment", [{"ASCEND_EMULATOR_SOC": "Ascend310B1"}, {"ASCEND_EMULATOR_RUN_MODE": "0"}]
)
def test_boards_have_no_peers(run_python: Callable[..., str], environment: dict[str, str]) -> None:
    """207000 on the 310B (docs `aclrtDeviceCanAccessPeer`) and in run mode 0 ([C] api_impl.cc)."""
    program = "import acl\nprint(acl.rt.device_can_access_peer(0, 1))"
    assert run_python(program, **environment) == "(0, 207000)"


def test_the_priority_range_is_fixed(device: int) -> None:
    """Facts §5.1: (least, greatest, ret)."""
    assert acl.rt.device_get_stream_priority_range() == (7, 0, 0)


def test_the_primary_context_has_a_state() -> None:
    """(active, flags, ret), flags always 0 ([B] rt_context.cpp)."""
    assert acl.rt.get_primary_ctx_state(0) == (0, 0, 0)
    assert acl.rt.set_device(0) == 0
    assert acl.rt.get_primary_ctx_state(0) == (1, 0, 0)
    assert acl.rt.reset_device_force(0) == 0
    assert acl.rt.get_primary_ctx_state(0) == (0, 0, 0)
    assert acl.rt.get_primary_ctx_state(1000)[2] == 107001


def test_the_last_error_has_two_levels(device: int) -> None:
    """0 thread, 1 context, else 107000 ([C] api_c.cc rtGetLastError); errors of the runtime alone; get clears."""
    assert acl.rt.set_device(1000) == 107001
    assert acl.rt.peek_at_last_error(0) == 107001
    assert acl.rt.peek_at_last_error(1) == 107001
    assert acl.rt.peek_at_last_error(2) == acl.rt.get_last_error(-1) == 107000
    assert acl.rt.set_context(0) == 100000
    assert acl.rt.get_last_error(0) == 107001
    assert acl.rt.get_last_error(0) == 0


def test_devices_of_one_process_work_side_by_side(device: int) -> None:
    """One process drives several devices; a thread is on one at a time (facts §5.2)."""
    count, _ = acl.rt.get_device_count()
    home, _ = acl.rt.get_context()
    contexts, streams, blocks, hosts = [], [], [], []
    for ordinal in range(count):
        assert acl.rt.set_device(ordinal) == 0
        contexts.append(acl.rt.get_context()[0])
        streams.append(acl.rt.create_stream()[0])
        blocks.append(acl.rt.malloc(4096, 0)[0])
        hosts.append(acl.rt.malloc_host(4096)[0])
        assert acl.rt.memset_async(blocks[-1], 4096, ordinal + 1, 4096, streams[-1]) == 0
        assert acl.rt.memcpy_async(hosts[-1], 4096, blocks[-1], 4096, D2H, streams[-1]) == 0
    assert len(set(contexts)) == count
    for ordinal, (context, stream) in enumerate(zip(contexts, streams, strict=True)):
        assert acl.rt.set_context(context) == 0
        assert acl.rt.get_device() == (ordinal, 0)
        assert acl.rt.synchronize_stream(stream) == 0
        assert acl.util.ptr_to_bytes(hosts[ordinal], 4096) == bytes([ordinal + 1]) * 4096
        frees: list[Any] = [
            acl.rt.destroy_stream(stream),
            acl.rt.free(blocks[ordinal]),
            acl.rt.free_host(hosts[ordinal]),
            acl.rt.reset_device(ordinal),
        ]
        assert frees == [0, 0, 0, 0]
    assert acl.rt.set_context(home) == 0


_WHOLE_PROGRAM = """
import acl, numpy as np, sys
ok = lambda ret: None if ret == 0 else sys.exit(f"{ret}: {acl.get_recent_err_msg()}")
def take(pair):
    ok(pair[1])
    return pair[0]
ok(acl.init())
ok(acl.rt.set_device(0))
context, stream, mode = take(acl.rt.create_context(0)), take(acl.rt.create_stream()), take(acl.rt.get_run_mode())
to_device, to_host = (1, 2) if mode == 1 else (3, 3)
model = take(acl.mdl.load_from_file(sys.argv[1]))
desc = acl.mdl.create_desc()
ok(acl.mdl.get_desc(desc, model))
sizes = acl.mdl.get_input_size_by_index(desc, 0), acl.mdl.get_output_size_by_index(desc, 0)
blocks = [take(acl.rt.malloc(size, 0)) for size in sizes]
sets = []
for block, size in zip(blocks, sizes):
    dataset = acl.mdl.create_dataset()
    take(acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(block, size)))
    sets.append(dataset)
x = np.arange(32, dtype=np.float32).reshape(4, 8) / 16
data = x.tobytes()
ok(acl.rt.memcpy(blocks[0], sizes[0], acl.util.bytes_to_ptr(data), len(data), to_device))
ok(acl.mdl.execute_async(model, *sets, stream))
ok(acl.rt.synchronize_stream(stream))
if mode == 1:
    host = take(acl.rt.malloc_host(sizes[1]))
    ok(acl.rt.memcpy(host, sizes[1], blocks[1], sizes[1], to_host))
    result = acl.util.ptr_to_bytes(host, 64)
    ok(acl.rt.free_host(host))
else:
    result = acl.util.ptr_to_bytes(blocks[1], 64)
weights = np.load(sys.argv[2])
expected = np.maximum(x @ weights["w"], 0) + weights["b"]
print(mode, np.allclose(np.frombuffer(result, np.float32).reshape(4, 4), expected, atol=1e-4))
for dataset, block in zip(sets, blocks):
    ok(acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, 0)))
    ok(acl.mdl.destroy_dataset(dataset))
    ok(acl.rt.free(block))
ok(acl.mdl.unload(model))
ok(acl.mdl.destroy_desc(desc))
ok(acl.rt.destroy_stream(stream))
ok(acl.rt.destroy_context(context))
ok(acl.rt.reset_device(0))
ok(acl.finalize())
"""


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("mode", [0, 1])
def test_a_whole_program_runs_on_a_board_and_on_a_card(
    run_python: Callable[..., str], om_files: dict[str, Path], mode: int
) -> None:
    """Run mode 0: one memory, copies of kind 3, results read where they are; 1: copied (facts §5.1, §8.4, §15.3)."""
    found = run_python(
        _WHOLE_PROGRAM,
        om_files["static"],
        om_files["weights"],
        ASCEND_EMULATOR_RUN_MODE=str(mode),
        ASCEND_EMULATOR_NODE=f"mode-{mode}",
    )
    assert found == f"{mode} True"

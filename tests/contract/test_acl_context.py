"""Initialisation, devices and contexts: counting, and which context a thread is bound to."""

import threading
from collections.abc import Callable
from typing import Any

import acl
import pytest

pytestmark = pytest.mark.contract


def in_thread(call: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_init_and_finalize_count(run_python: Callable[..., str]) -> None:
    """Facts §4: 100002 and one more reference; 100037 once finalized."""
    program = """
import acl
print(acl.finalize(), acl.finalize())
print(acl.init(), acl.init(), acl.init())
print(acl.finalize_reference(), acl.finalize_reference(), acl.finalize_reference(), acl.finalize_reference())
print(acl.init(), acl.init(), acl.finalize(), acl.finalize(), acl.finalize_reference())
"""
    assert run_python(program).splitlines() == [
        "0 100037",
        "0 100002 100002",
        "(2, 0) (1, 0) (0, 0) (0, 100037)",
        "0 100002 0 100037 (0, 100037)",
    ]


def test_the_config_file_of_init_is_read(run_python: Callable[..., str], tmp_path: Any) -> None:
    """Facts §4: 100003 for no file, 100006 for no JSON."""
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    program = """
import acl, sys
print(*(acl.init(f"{sys.argv[1]}/{name}.json") for name in ("none", "broken", "empty")))
"""
    assert run_python(program, tmp_path) == "100003 100006 0"


def test_load_needs_init(run_python: Callable[..., str]) -> None:
    """Facts §4: 145001."""
    program = "import acl\nprint(acl.rt.set_device(0), acl.mdl.load_from_file('/nowhere.om'), acl.rt.reset_device(0))"
    assert run_python(program) == "0 (0, 145001) 0"


def test_set_device_counts_its_users(device: int) -> None:
    """Facts §5.2: `set_device` adds 1, `reset_device` takes 1."""
    assert acl.rt.get_primary_ctx_state(0) == (1, 0, 0)
    assert acl.rt.set_device(0) == 0
    first, ret = acl.rt.get_context()
    assert ret == 0
    assert acl.rt.reset_device(0) == 0
    assert acl.rt.get_context() == (first, 0)


def test_reset_without_set_is_refused() -> None:
    """Facts §5.2: 507007."""
    assert acl.rt.reset_device(0) == 507007
    assert acl.rt.get_primary_ctx_state(0) == (0, 0, 0)


def test_force_resets_whatever_the_count() -> None:
    """Facts §5.1; docs `aclrtResetDeviceForce`."""
    assert [acl.rt.set_device(0) for _ in range(3)] == [0, 0, 0]
    assert acl.rt.reset_device_force(0) == 0
    assert acl.rt.get_device() == (0, 107002)
    assert acl.rt.reset_device(0) == 507007


def test_a_bad_device_is_named() -> None:
    """Facts §5.1: 107001 outside [0, count)."""
    count, ret = acl.rt.get_device_count()
    assert ret == 0
    for device in (-1, count):
        assert acl.rt.set_device(device) == 107001
        assert acl.rt.create_context(device) == (0, 107001)
        assert acl.rt.query_device_status(device) == (0, 107001)


def test_a_new_context_is_current_and_needs_no_set_device() -> None:
    """Facts §5.2."""
    context, ret = acl.rt.create_context(0)
    assert ret == 0
    assert acl.rt.get_context() == (context, 0)
    assert acl.rt.get_device() == (0, 0)
    assert acl.rt.destroy_context(context) == 0
    assert acl.rt.get_context() == (0, 107002)


def test_set_device_drops_an_explicit_context(device: int) -> None:
    """Facts §5.2."""
    default, _ = acl.rt.get_context()
    context, _ = acl.rt.create_context(0)
    assert acl.rt.set_device(0) == 0
    assert acl.rt.get_context() == (default, 0)
    assert acl.rt.reset_device(0) == 0
    assert acl.rt.destroy_context(context) == 0


@pytest.mark.ascend_findings("no-context")
def test_the_default_context_is_not_destroyed_by_hand(device: int) -> None:
    """Facts §5.2: 107002."""
    context, _ = acl.rt.get_context()
    assert acl.rt.destroy_context(context) == 107002
    assert acl.rt.get_context() == (context, 0)


def test_a_thread_joins_a_context_by_its_handle(device: int) -> None:
    """Facts §5.2: contexts are bound per thread."""
    context, _ = acl.rt.get_context()

    def join() -> Any:
        return acl.rt.get_device(), acl.rt.set_context(context), acl.rt.get_device(), acl.rt.get_context()

    assert in_thread(join) == ((0, 107002), 0, (0, 0), (context, 0))


@pytest.mark.ascend_findings("use-after-free", "double-free")
def test_a_context_destroyed_elsewhere_is_gone_here(device: int) -> None:
    """Facts §5.2: its threads are left without a context."""
    context, _ = acl.rt.create_context(0)
    assert in_thread(lambda: acl.rt.destroy_context(context)) == 0
    assert acl.rt.get_context() == (0, 107002)
    assert acl.rt.set_context(context) != 0
    assert acl.rt.destroy_context(context) != 0
    assert acl.rt.set_device(0) == 0
    assert acl.rt.reset_device(0) == 0


def test_two_devices_in_one_process(device: int) -> None:
    """Facts §5.2: one process, several devices."""
    if acl.rt.get_device_count()[0] < 2:
        pytest.skip("there is one device only")
    assert acl.rt.set_device(1) == 0
    assert acl.rt.get_device() == (1, 0)
    there, ret = acl.rt.malloc(256, 0)
    assert ret == 0
    assert acl.rt.set_device(0) == 0
    here, ret = acl.rt.malloc(256, 0)
    assert ret == 0
    data = bytes(range(256))
    back = bytes(256)
    assert acl.rt.memcpy(here, 256, acl.util.bytes_to_ptr(data), 256, 1) == 0
    assert acl.rt.memcpy(there, 256, here, 256, 3) == 0
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 256, there, 256, 2) == 0
    assert back == data
    assert [acl.rt.free(here), acl.rt.free(there)] == [0, 0]
    assert [acl.rt.reset_device(1), acl.rt.reset_device(0)] == [0, 0]


@pytest.mark.usefixtures("emulator")
def test_visible_devices_are_counted_as_the_runtime_does(run_python: Callable[..., str]) -> None:
    """Facts §5.3; [C] runtime.cc GetVisibleDevices."""
    cases = {
        "0,1,2,3": (4, 0),
        "1,3,8": (2, 0),
        "1, 2": (1, 0),
        "2": (1, 0),
        "": (0, 207004),
        "8": (0, 207004),
        " 1": (0, 207004),
        "2,1": (0, 207004),
        "1,1": (0, 207004),
        "NoDevFiles": (0, 207004),
    }
    program = """
import acl, os, sys
for visible in sys.argv[1:]:
    os.environ["ASCEND_RT_VISIBLE_DEVICES"] = visible
    print(acl.rt.get_device_count())
"""
    assert run_python(program, *cases).splitlines() == [str(answer) for answer in cases.values()]


@pytest.mark.usefixtures("emulator")
def test_ordinals_are_of_the_visible_devices(run_python: Callable[..., str], runtime_folder: Any) -> None:
    """Facts §5.3: the process sees 0 to n-1."""
    program = """
import acl, os, pathlib, sys
print(acl.rt.set_device(1), acl.rt.set_device(2), acl.rt.get_device())
node = pathlib.Path(sys.argv[1]) / f"ascend-emulator-{os.getuid()}" / os.environ["ASCEND_EMULATOR_NODE"]
print(sorted(path.name for path in node.glob("*.sock")))
print(acl.rt.reset_device(1))
"""
    printed = run_python(
        program, runtime_folder, ASCEND_RT_VISIBLE_DEVICES="1,3", ASCEND_EMULATOR_NODE="visible"
    )
    assert printed.splitlines() == ["0 107001 (1, 0)", "['card3.sock']", "0"]

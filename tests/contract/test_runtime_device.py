import gc
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from ascend_serve.errors import AclMissing, AclResourceError, AclUsageError, ConfigError, DeviceError
from ascend_serve.runtime import _acl, process
from ascend_serve.runtime.context import Context
from ascend_serve.runtime.device import Device, runtime_toolchain
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer
from ascend_serve.runtime.model import Dataset, OmModel
from ascend_serve.runtime.stream import Event, Stream
from ascend_serve.spec.tensors import DataType

pytestmark = pytest.mark.contract


@pytest.fixture
def device():
    with Device.open() as opened:
        yield opened
    assert opened.live == {}


def staged(device):
    if device.shares_memory:
        pytest.skip("a board has no copies between host and device")


def test_an_open_device_knows_what_it_is(device):
    assert device.soc_name.startswith("Ascend")
    assert device.toolchain == runtime_toolchain()
    memory = device.memory()
    assert 0 < memory.free_bytes <= memory.total_bytes
    assert device.live == {"context": 1}


@pytest.mark.parametrize("kind", [Device, Context, Stream, Event, HostBuffer, DeviceBuffer, OmModel, Dataset])
def test_objects_are_handed_out_not_constructed(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__} is not constructed.*: call Device\."):
        kind()


def test_a_device_that_is_not_seen_is_refused_and_leaves_nothing():
    with pytest.raises(AclUsageError, match="ASCEND_RT_VISIBLE_DEVICES") as caught:
        Device.open(4096)
    assert caught.value.code == 107001
    Device.open().close()


def test_a_device_opened_meanwhile_leaves_the_first_in_place(device):
    with Device.open() as inner:
        with Device.open() as innermost:
            innermost.event()
        inner.event()
    device.stream().synchronize()
    second, third = Device.open(), Device.open()
    second.close()
    third.event()
    third.close()
    with device.event():
        assert device.live["event"] == 1


def test_everything_is_counted_and_closed_newest_first(device):
    other = Device.open()
    before = other.memory().free_bytes
    made = [other.stream(), other.event(), other.host_buffer(100), other.device_buffer(100), other.event()]
    made.append(other.dataset([made[3]]))
    assert other.live == {
        "context": 1,
        "stream": 1,
        "event": 2,
        "host_buffer": 1,
        "device_buffer": 1,
        "dataset": 1,
    }
    assert other.memory().free_bytes < before
    made[1].close()
    made[1].close()
    assert made[1].closed
    assert other.live["event"] == 1
    other.close()
    assert other.live == {}
    assert all(handle.closed for handle in made)
    other.close()
    device.bind()
    assert device.memory().free_bytes == before


def test_a_closed_handle_is_refused_by_every_call(device):
    stream, event = device.stream(), device.event()
    event.close()
    with pytest.raises(AclUsageError):
        stream.record(event)


def test_a_child_keeps_its_device(device):
    stream = device.stream()
    assert stream._parent is device


def test_a_forgotten_device_warns_and_calls_no_acl():
    opened = Device.open()
    context = opened._context
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened.__del__()
    assert [w.category for w in caught] == [ResourceWarning]
    assert "was never closed" in str(caught[0].message)
    assert not context.closed
    opened.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del opened, context
        gc.collect()


@pytest.mark.ascend_findings("no-context")
def test_another_thread_needs_to_bind(device):
    found = []

    def use():
        try:
            device.memory()
        except AclUsageError as error:
            found.append(error.code)
        device.bind()
        found.append(device.memory().total_bytes)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [107002, device.memory().total_bytes]


def test_rows_go_to_the_device_and_back(device):
    staged(device)
    stream = device.stream()
    source, target = device.host_buffer(4096), device.host_buffer(4096)
    room = device.device_buffer(4096)
    assert {source.address % 64, target.address % 64, room.address % 64} == {0}
    numbers = source.view((2, 512), DataType.FP32)
    numbers[:] = np.arange(1024, dtype=np.float32).reshape(2, 512)
    back = target.view((1024,), DataType.FP32)
    back.fill(-1)
    stream.copy_in(room, source, 4096)
    stream.copy_out(target, room, 2048)
    stream.synchronize()
    assert back[:512].tolist() == list(range(512))
    assert set(back[512:].tolist()) == {-1.0}


def test_events_order_streams_and_keep_time(device):
    staged(device)
    first, second = device.stream(), device.stream()
    start, end, passed = device.event(), device.event(), device.event()
    source, target = device.host_buffer(1 << 20), device.host_buffer(1 << 20)
    room = device.device_buffer(1 << 20)
    for round_ in range(20):  # the same events again and again
        source.view((1 << 20,), DataType.UINT8).fill(round_)
        first.record(start)
        first.copy_in(room, source, 1 << 20)
        first.record(end)
        second.wait_for(end)
        second.copy_out(target, room, 1 << 20)
        second.record(passed)
        passed.synchronize()
        assert set(np.unique(target.view((1 << 20,), DataType.UINT8))) == {round_}
    end.synchronize()
    assert end.ms_since(start) >= 0.0


def test_views_must_fit_and_end_with_their_buffer(device):
    buffer = device.host_buffer(12)
    assert buffer.view((3,), DataType.FP32).nbytes == 12
    with pytest.raises(ConfigError, match=r"shape \[4\] and type FP32 takes 16 bytes; the buffer has 12"):
        buffer.view((4,), DataType.FP32)
    buffer.close()
    with pytest.raises(ValueError, match="closed buffer"):
        buffer.view((1,), DataType.FP32)


def test_a_cards_memory_cannot_be_looked_at(device):
    staged(device)
    with pytest.raises(ConfigError, match="card's memory"):
        device.device_buffer(4).view((1,), DataType.FP32)


def test_memory_that_is_not_there(device):
    with pytest.raises(AclResourceError) as caught:
        device.device_buffer(device.memory().total_bytes + 1)
    assert caught.value.code in (207001, 207018)
    for make in (device.device_buffer, device.host_buffer):
        with pytest.raises(ConfigError, match="at least 1 byte"):
            make(0)


def test_finalize_waits_for_the_last_device(device):
    with pytest.raises(DeviceError, match="close them before"):
        process.finalize()


def run_python(text):
    done = subprocess.run(
        [sys.executable, "-c", text], env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_room_loads_no_acl():
    text = "import sys, ascend_serve.runtime.lane, ascend_serve.runtime.session; print('acl' in sys.modules)"
    assert run_python(text) == ["False"]


def test_a_missing_acl_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "acl", None)
    _acl._acl.cache_clear()
    try:
        with pytest.raises(AclMissing, match=r"set_env\.sh.*Develop without a card") as caught:
            _acl.run_mode()
    finally:
        _acl._acl.cache_clear()
    assert isinstance(caught.value.__cause__, ImportError)


def test_finalize_is_once_and_only_ours():
    text = """
from ascend_serve.errors import DeviceError
from ascend_serve.runtime import _acl, process
from ascend_serve.runtime.device import Device
with Device.open():
    pass
Device.open().close()
process.finalize()
process.finalize()
try:
    Device.open()
except DeviceError as error:
    print('refused' if 'finalised' in str(error) else error)
"""
    assert run_python(text) == ["refused"]


def test_acl_initialised_by_others_is_theirs_to_finalise():
    text = """
import acl
from ascend_serve.runtime import _acl, process
from ascend_serve.runtime.device import Device
assert acl.init() == 0
Device.open().close()
process.finalize()
print(acl.finalize())
"""
    assert run_python(text) == ["0"]


def test_a_forked_child_is_refused():
    text = """
import os, warnings
from ascend_serve.errors import DeviceError
from ascend_serve.runtime.device import Device
device = Device.open()
warnings.simplefilter('ignore')
child = os.fork()
if child == 0:
    try:
        Device.open()
    except DeviceError as error:
        os._exit(7 if 'fork' in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
device.close()
"""
    assert run_python(text) == ["7"]

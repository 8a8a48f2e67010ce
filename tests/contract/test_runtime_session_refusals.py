"""What a session refuses, and that nothing is left of it then."""

import pytest

from ascend_serve.errors import (
    AclResourceError,
    ArtifactError,
    ConfigError,
    NotAnOm,
    SocMismatch,
)
from ascend_serve.runtime import _acl
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.session import Session
from ascend_serve.runtime.signature import describe
from ascend_serve.runtime.slot import SlotState
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from tests.contract import sessions
from tests.contract.sessions import ONE_ROW, TWO_SIDED

pytestmark = pytest.mark.contract

build, device = sessions.build, sessions.device  # fixtures, by the names that tests ask for them

# --- what goes wrong -------------------------------------------------------------------------------


def test_a_spec_that_disagrees_is_refused_and_nothing_is_left(device, build):
    path = build(ONE_ROW, device.soc_name)
    x, y = TensorSpec("x", DataType.FP32, (-1, 5)), TensorSpec("y", DataType.FP32, (-1, 6))
    with pytest.raises(ArtifactError, match=r"output 0 is 'y' FP32 \[1, 5\] on the device"):
        Session.open(device, path, ModelSpec("m", (x,), (y,), Gears((1,))))
    assert device.live == {"context": 1}


def test_a_device_that_the_session_owns_is_closed_when_opening_fails(build, tmp_path):
    device = Device.open()
    spec = describe(device, build(ONE_ROW, device.soc_name), "m")
    with pytest.raises(ArtifactError, match="does not exist"):
        Session.open(device, tmp_path / "no.om", spec, close_device=True)
    assert device.live == {}


@pytest.mark.parametrize("keep", [0, 100, 700, -1])
def test_a_file_that_is_cut_short_is_no_model(device, build, tmp_path, keep):
    whole = build(ONE_ROW, device.soc_name).read_bytes()
    cut = tmp_path / "cut.om"
    cut.write_bytes(whole[:keep])
    with pytest.raises(NotAnOm, match=r"cut\.om"):
        device.load(cut)
    assert device.live == {"context": 1}


def test_a_model_for_another_architecture_is_refused(device, build):
    other = "Ascend310P3" if not device.soc_name.startswith("Ascend310P") else "Ascend910B3"
    with pytest.raises(SocMismatch, match="another architecture"):
        device.load(build(ONE_ROW, other))
    assert device.live == {"context": 1}


def test_a_session_that_does_not_fit_leaves_nothing(device, build, monkeypatch):
    path = build(TWO_SIDED, device.soc_name)
    spec = describe(device, path, "m")
    before = device.memory().free_bytes
    whole = device.memory().total_bytes
    real, calls = _acl.malloc, []

    def greedy(size):
        calls.append(size)
        return real(size if len(calls) < 7 else whole + 1)

    monkeypatch.setattr(_acl, "malloc", greedy)
    with pytest.raises(AclResourceError):
        Session.open(device, path, spec)
    assert device.live == {"context": 1}
    assert device.memory().free_bytes == before


def test_a_gear_that_was_not_compiled_is_refused_and_the_slot_is_free(device, build):
    path = build(TWO_SIDED, device.soc_name)
    session = Session.open(device, path, describe(device, path, "m"))
    session.slots[0].begin()
    with pytest.raises(ConfigError, match=r"gear 3: 'm' was compiled for \[1, 2, 4, 8\]"):
        session.enqueue(session.slots[0], 0, 3)
    assert session.slots[0].state is SlotState.FREE
    session.close()


@pytest.mark.parametrize("slots", [0, -1])
def test_a_session_needs_a_slot(device, build, slots):
    path = build(ONE_ROW, device.soc_name)
    with pytest.raises(ConfigError, match="at least 1"):
        Session.open(device, path, describe(device, path, "m"), slots=slots)

"""Settings of the emulated node, and which devices a process sees."""

import json

import pytest
from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings, visible_devices
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit


def test_defaults() -> None:
    settings = read_settings({})
    assert (settings.devices, settings.soc.name, settings.node, settings.run_mode) == (
        4,
        "Ascend310P3",
        "local",
        1,
    )
    assert (settings.timing, settings.values, settings.times) == ("functional", "exact", "")
    assert settings.faults == ""


def test_an_alias_is_resolved() -> None:
    assert read_settings({"ASCEND_EMULATOR_SOC": "Ascend910"}).soc.name == "Ascend910A"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ASCEND_EMULATOR_SOC", "ascend310p3"),
        ("ASCEND_EMULATOR_DEVICES", "-1"),
        ("ASCEND_EMULATOR_DEVICES", "65"),
        ("ASCEND_EMULATOR_DEVICES", "four"),
        ("ASCEND_EMULATOR_DEVICES", "٤"),
        ("ASCEND_EMULATOR_NODE", "../up"),
        ("ASCEND_EMULATOR_NODE", ".."),
        ("ASCEND_EMULATOR_NODE", "a b"),
        ("ASCEND_EMULATOR_NODE", "x" * 65),
        ("ASCEND_EMULATOR_RUN_MODE", "2"),
        ("ASCEND_EMULATOR_TIMING", "fast"),
        ("ASCEND_EMULATOR_VALUES", "cheap"),
        ("ASCEND_EMULATOR_FAULTS", "malloc:nth=0"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(variable: str, value: str) -> None:
    with pytest.raises(Failure) as caught:
        read_settings({variable: value})
    assert caught.value.code == 507033
    assert variable in caught.value.text
    assert repr(value) in caught.value.text


def test_cheap_values_need_modelled_timing() -> None:
    settings = read_settings({"ASCEND_EMULATOR_VALUES": "cheap", "ASCEND_EMULATOR_TIMING": "modelled"})
    assert settings.values == "cheap"


def test_what_cards_take_over_is_what_later_clients_must_ask_for() -> None:
    settings = read_settings(
        {"ASCEND_EMULATOR_SOC": "Ascend910", "ASCEND_EMULATOR_FAULTS": "execute:nth=3;lost"}
    )
    assert settings.of_cards() == {
        "soc": "Ascend910A",
        "run_mode": 1,
        "timing": "functional",
        "values": "exact",
        "times": "",
        "faults": "execute:nth=3;lost",
    }
    assert json.loads(json.dumps(settings.of_cards())) == settings.of_cards()


@given(
    st.integers(1, 16),
    st.sets(st.integers(0, 15), min_size=1),
    st.sampled_from(["", ",", ",,9", ", 1", "x", ",99"]),
)
def test_a_list_counts_up_to_its_first_fault(devices: int, chosen: set[int], tail: str) -> None:
    listed = sorted(chosen)
    wanted = tuple(device for device in listed if device < devices)
    environ = {"ASCEND_RT_VISIBLE_DEVICES": ",".join(map(str, listed)) + tail}
    if wanted:
        assert visible_devices(devices, environ) == wanted
    else:
        with pytest.raises(Failure) as caught:
            visible_devices(devices, environ)
        assert caught.value.code == 207004


@pytest.mark.parametrize("listed", ["1,0", "0,0", "0,2,1", "", "-1", " 0", "NoDevFiles"])
def test_an_unusable_list_is_no_device(listed: str) -> None:
    with pytest.raises(Failure, match=r".") as caught:
        visible_devices(4, {"ASCEND_RT_VISIBLE_DEVICES": listed})
    assert caught.value.code == 207004
    assert f"[{listed}]" in caught.value.text


def test_without_a_list_all_devices_are_seen() -> None:
    assert visible_devices(3, {}) == (0, 1, 2)
    assert visible_devices(0, {}) == ()

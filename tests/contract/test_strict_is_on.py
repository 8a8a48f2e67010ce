"""Strict mode is on in every test, because the emulator's pytest plugin is installed with it."""

import os

import pytest

pytestmark = pytest.mark.contract


@pytest.mark.usefixtures("emulator")
def test_this_process_and_its_children_are_watched(pytestconfig: pytest.Config) -> None:
    from ascend_emulator import strict

    assert pytestconfig.pluginmanager.has_plugin("ascend_emulator.pytest_plugin")
    assert strict.is_enabled()
    assert os.environ["ASCEND_EMULATOR_STRICT"] == "1"

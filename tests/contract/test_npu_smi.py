"""`npu-smi` tells what the emulated cards of the node are doing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

CLIENT = """
import acl, sys
acl.init(); acl.rt.set_device(1)
acl.rt.malloc(3 << 30, 0)
print("ready", flush=True)
sys.stdin.read()
"""


def npu_smi(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ascend_emulator.smi", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def test_a_process_and_its_memory_are_shown_while_it_lives(runtime_folder: Path) -> None:
    """Overview, usages and processes (facts/atc_om_soc.md §5.5) from the card that runs; the other one is idle."""
    node = {
        "ASCEND_EMULATOR_NODE": "smi",
        "ASCEND_EMULATOR_SOC": "Ascend910B3",
        "ASCEND_EMULATOR_DEVICES": "2",
    }
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, **node},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        printed = npu_smi("info", **node)
        assert re.search(r"^\| 0 +\| NA +\| 0 +0 +/ 0 +3072 +/ 65536 +\|$", printed, re.M)
        assert re.search(r"^\| 0 +\| NA +\| 0 +0 +/ 0 +0 +/ 65536 +\|$", printed, re.M)
        assert re.search(rf"^\| 1 +0 +\| {client.pid} +\| python\S* +\| 3072 +\|$", printed, re.M)
        assert "No running processes found in NPU 0" in printed
        assert "HBM Usage Rate(%)              : 4" in npu_smi("info", "-t", "usages", "-i", "1", **node)
        assert f"Process id:{client.pid}" in npu_smi("info", "-t", "proc-mem", "-i", "1", "-c", "0", **node)
    printed = npu_smi("info", **node)
    assert "No running processes found in NPU 1" in printed
    assert "3072" not in printed


def test_a_damaged_and_a_lost_card_are_not_healthy(runtime_folder: Path) -> None:
    """Health words of the driver's tool (`npu_common_get_health_state_str`); which one a fault gives is ours."""
    from ascend_emulator.control import Card

    node = {"ASCEND_EMULATOR_NODE": "smi-ill"}
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, **node},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        with Card(1, "smi-ill") as card:
            card.inject("ecc")
            assert "Health                         : Alarm" in npu_smi(
                "info", "-t", "health", "-i", "1", **node
            )
            assert "DDR Double Bit Error Count               : 1" in npu_smi(
                "info", "-t", "ecc", "-i", "1", **node
            )
            card.lose()
            assert "Health                         : Critical" in npu_smi(
                "info", "-t", "health", "-i", "1", **node
            )
            card.restore()
            assert "Health                         : OK" in npu_smi("info", "-t", "health", "-i", "1", **node)


def test_looking_starts_no_card(runtime_folder: Path) -> None:
    """The tool is no client of a card."""
    npu_smi("info", ASCEND_EMULATOR_NODE="smi-idle")
    assert not (runtime_folder / f"ascend-emulator-{os.getuid()}" / "smi-idle").exists()

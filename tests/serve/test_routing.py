"""One deployment on two emulated nodes of different SoCs: requests go where they are done first, and outlive a node."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.counted_load import RIGHT, is_allowed
from benchmarks.servers import own_grpc_ports
from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, socket_folder: Callable[[], Path]) -> dict[str, Any]:
    """What `routing_fleet` tells."""
    folder = tmp_path_factory.mktemp("mixed")
    scratch = socket_folder()
    (scratch / "token").write_text(uuid.uuid4().hex)
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.routing_fleet", folder],
        cwd=ROOT,
        env={
            **os.environ,
            "RAY_TMPDIR": str(scratch),
            "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
            "XDG_RUNTIME_DIR": str(scratch),
            # What comes up slowly while the machine is busy is no failure.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
            # A node that is gone refuses, and is noticed within seconds; a slow one has its time to answer.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "10000",
            "RAY_health_check_failure_threshold": "5",
            **own_grpc_ports(),
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


def test_a_desk_stands_beside_the_model(told: dict[str, Any]) -> None:
    assert sorted(told["known"]) == ["AscendModel", "RouteDesk"]


def test_haproxy_weighs_replicas_by_their_speed(told: dict[str, Any]) -> None:
    slow, fast = told["weights"]
    assert fast == 256
    # A quarter, where the host computes as fast as the device is said to; when it is busy, it is the limit of both.
    assert slow <= 0.8 * fast


@pytest.mark.parametrize("door", ["over_handle", "over_http"])
def test_who_comes_alone_is_served_by_the_faster_device(told: dict[str, Any], door: str) -> None:
    alone = told[door]["alone"]
    assert alone["batches"] == {"fast": alone["asked"], "slow": 0}
    assert alone["right"] == alone["asked"]


def test_many_at_once_use_both_and_the_faster_one_more(told: dict[str, Any]) -> None:
    together = told["over_handle"]["together"]
    assert together["batches"]["slow"] > 0
    assert together["batches"]["fast"] > together["batches"]["slow"]
    assert together["right"] == together["asked"]


@pytest.mark.parametrize("way", ["http", "grpc", "handle"])
def test_a_node_is_removed_and_the_other_serves_on(told: dict[str, Any], way: str) -> None:
    ends = told["removed"][way]
    print(way, ends["kinds"], *told["removed"]["said"])
    assert ends["faults"] == []
    assert [kind for kind in ends["kinds"] if not is_allowed(kind)] == []
    assert ends["kinds"][RIGHT] >= 0.8 * sum(ends["kinds"].values())

"""Two emulated nodes of different SoCs in one cluster: apart from each other, and building for each other."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, socket_folder: Callable[[], Path]) -> Any:
    """What `compiling_fleet` tells."""
    folder = tmp_path_factory.mktemp("fleet")
    scratch = socket_folder()
    (scratch / "token").write_text(uuid.uuid4().hex)
    done = subprocess.run(
        [sys.executable, "-m", "tests.serve.compiling_fleet", folder],
        cwd=ROOT,
        env={
            **os.environ,
            "RAY_TMPDIR": str(scratch),
            "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
            "XDG_RUNTIME_DIR": str(scratch),
            "ASCEND_EMULATOR_SOC": "Ascend310P1",
            "ASCEND_EMULATOR_TIMING": "modelled",
            # By default Ray takes a node for lost 15 s after it went.
            "RAY_health_check_period_ms": "1000",
        },
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "told.json").read_text())


def test_nodes_keep_their_devices_apart(told: dict[str, Any]) -> None:
    apart = told["apart"]
    assert apart["nodes"] == [["Ascend310P3", 2.0], ["Ascend910B3", 3.0]]
    # The environment of the process that added the nodes is as it was.
    assert apart["changed"] == []
    assert apart["counts"] == {"Ascend310P3": 2, "Ascend910B3": 3}
    first, second = apart["seen"]["Ascend310P3"], apart["seen"]["Ascend910B3"]
    assert (first["soc"], first["count"], first["mode"], first["set"]) == ("Ascend310P3", 1, 1, 0)
    assert (second["soc"], second["count"], second["mode"], second["set"]) == ("Ascend910B3", 1, 0, 0)
    assert (first["node"], second["node"]) == ("first", "second")
    # Each actor is the only client of the only card of its node, and they are two cards.
    assert [clients for _, clients in first["cards"] + second["cards"]] == [[True], [True]]
    assert first["cards"][0][0] != second["cards"][0][0]


def test_targets_are_those_of_the_nodes_and_those_listed(told: dict[str, Any]) -> None:
    labels = ["plain@Ascend310P3", "plain@Ascend910B3"]
    labels += ["listing@Ascend310P3", "listing@Ascend910B3", "listing@Ascend310P1"]
    assert told["automatic"]["first"] == dict.fromkeys(labels, "built")
    assert told["automatic"]["again"] == dict.fromkeys(labels, "cached")


def test_a_build_runs_where_its_recipe_lets_it(told: dict[str, Any]) -> None:
    for name in ("by_resource", "by_label"):
        assert told["placed"]["results"][f"{name}@Ascend310P3"] == "built"
        assert told["placed"]["nodes"][f"{name}@Ascend310P3"] == ["second"]


def test_the_command_runs_as_a_ray_job(told: dict[str, Any]) -> None:
    assert told["submitted"]["done"], told["submitted"]["log"]
    assert '"soc": "Ascend910B3"' in told["submitted"]["log"]
    assert {"job@Ascend310P3", "job@Ascend910B3"} <= set(told["published"])


def test_what_a_lost_node_was_building_is_built_on_another(told: dict[str, Any]) -> None:
    lost = told["lost"]
    both = {label for label, outcome in lost["results"].items() if outcome == "built"}
    assert both == {"left@Ascend310P3", "right@Ascend310P3"}
    (hit,) = both & set(lost["removed"])
    (whole,) = both - {hit}
    assert (lost["nodes"][hit], lost["nodes"][whole]) == (["second", "first"], ["first"])
    assert lost["told"][whole] == ["queued", "starting", "compiling", "built"]
    # It may have to wait until the lost node's worker has noticed, and let go.
    steps = [step for step in lost["told"][hit] if step != "waiting"]
    assert steps == ["queued", "starting", "compiling", "requeued", "starting", "compiling", "built"]


def test_what_no_node_is_left_for_fails_instead_of_waiting_for_ever(told: dict[str, Any]) -> None:
    label = "bound@Ascend310P3"
    assert told["lost"]["results"][label] == "failed"
    assert told["lost"]["told"][label] == ["queued", "starting", "compiling", "requeued", "failed"]
    assert "label cann=8.5, which no node of the cluster has" in told["lost"]["causes"][label]


def test_nothing_is_built_twice_but_what_was_lost(told: dict[str, Any]) -> None:
    assert sorted([*told["published"], *told["lost"]["removed"]]) == told["runs"]

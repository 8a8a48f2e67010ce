"""Nodes of different SoCs and device counts in one cluster, as `ascend_emulator.testing.add_node` makes them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.serve

# A program of its own: the suite's Ray is connected to another cluster in this process.
PROGRAM = """
import json, os
import ray
from ray.cluster_utils import Cluster
from ascend_emulator.testing import add_node

before = dict(os.environ)
cluster = Cluster()
add_node(cluster, soc="Ascend310P3", devices=2, num_cpus=1, include_dashboard=False)
add_node(cluster, soc="Ascend910B3", devices=3, settings={"ASCEND_EMULATOR_RUN_MODE": "0"}, num_cpus=1)
touched = [name for name in before if name.startswith("ASCEND_EMULATOR_") and os.environ.get(name) != before[name]]
left = sorted(name for name in os.environ if name.startswith("ASCEND_") and name not in before)
ray.init(address=cluster.address, log_to_driver=False)

@ray.remote(num_cpus=1, resources={"NPU": 1})
class Look:
    def look(self):
        import acl
        from ascend_emulator.control import cards
        opened = acl.rt.set_device(0)
        return {
            "soc": acl.get_soc_name(), "count": acl.rt.get_device_count()[0], "mode": acl.rt.get_run_mode()[0],
            "set": opened, "node": os.environ["ASCEND_EMULATOR_NODE"],
            "cards": [(state.pid, [client.pid == os.getpid() for client in state.clients]) for state in cards()],
        }

@ray.remote(num_cpus=0)
def count():
    import acl
    return acl.rt.get_device_count()[0]

answers = {}
for soc in ("Ascend310P3", "Ascend910B3"):
    selector = {"ray.io/accelerator-type": soc}
    actor = Look.options(label_selector=selector).remote()
    answers[soc] = (actor, ray.get(actor.look.remote()), ray.get(count.options(label_selector=selector).remote()))
print(json.dumps({
    "touched": touched,
    "left": left,
    "nodes": sorted((node["Labels"]["ray.io/accelerator-type"], node["Resources"]["NPU"]) for node in ray.nodes()),
    "seen": {soc: seen for soc, (_, seen, _) in answers.items()},
    "counts": {soc: devices for soc, (_, _, devices) in answers.items()},
}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short name: sockets of Ray and of the cards lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="en-", dir="/tmp"))
    (folder / "token").write_text(uuid.uuid4().hex)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_two_nodes_of_different_socs_keep_their_devices_apart(scratch: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            "RAY_TMPDIR": str(scratch),
            "RAY_AUTH_TOKEN_PATH": str(scratch / "token"),
            "XDG_RUNTIME_DIR": str(scratch),
            "ASCEND_EMULATOR_SOC": "Ascend310P1",
            "ASCEND_EMULATOR_TIMING": "modelled",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["nodes"] == [["Ascend310P3", 2.0], ["Ascend910B3", 3.0]]
    # The environment of the process that added the nodes is as it was.
    assert (told["touched"], told["left"]) == ([], [])
    assert told["counts"] == {"Ascend310P3": 2, "Ascend910B3": 3}
    first, second = told["seen"]["Ascend310P3"], told["seen"]["Ascend910B3"]
    assert (first["soc"], first["count"], first["mode"], first["set"]) == ("Ascend310P3", 1, 1, 0)
    assert (second["soc"], second["count"], second["mode"], second["set"]) == ("Ascend910B3", 1, 0, 0)
    assert first["node"] != second["node"]
    # Each actor is the only client of the only card of its node, and they are two cards.
    assert [clients for _, clients in first["cards"] + second["cards"]] == [[True], [True]]
    assert first["cards"][0][0] != second["cards"][0][0]

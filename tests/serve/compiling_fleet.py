"""A program for tests: looks at two emulated nodes of different SoCs, compiles on them, loses one, and tells as JSON.

It is one of its own because the suite's Ray is connected to another cluster in the suite's process.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import ray
from ascend_emulator.testing import add_node
from ray.cluster_utils import Cluster
from ray.job_submission import JobStatus, JobSubmissionClient

from compile_jobs import tasks
from compile_jobs.jobs import Job, JobStep, TargetResult
from compile_jobs.tasks import compile_recipes
from tests.serve.compiling_tools import Workshop, alive
from tests.serve.tools import eventually, free_port

FIRST, SECOND = "first", "second"


@ray.remote(num_cpus=1, resources={"NPU": 1})
class Look:
    """Has the one card that it was given open."""

    def look(self) -> Any:
        import acl
        from ascend_emulator.control import cards

        opened = acl.rt.set_device(0)
        return {
            "soc": acl.get_soc_name(),
            "count": acl.rt.get_device_count()[0],
            "mode": acl.rt.get_run_mode()[0],
            "set": opened,
            "node": os.environ["ASCEND_EMULATOR_NODE"],
            "cards": [
                (state.pid, [client.pid == os.getpid() for client in state.clients]) for state in cards()
            ],
        }


@ray.remote(num_cpus=0)
def count() -> int:
    import acl

    return int(acl.rt.get_device_count()[0])


class Fleet:
    """Two nodes of two CPUs each; the first is the head."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.cluster = Cluster()
        port = free_port()
        self.dashboard = f"http://127.0.0.1:{port}"
        before = dict(os.environ)
        add_node(
            self.cluster, soc="Ascend310P3", devices=2, node=FIRST, num_cpus=2,
            include_dashboard=True, dashboard_port=port, dashboard_agent_listen_port=free_port(),
        )  # fmt: skip
        self.second = add_node(
            self.cluster, soc="Ascend910B3", devices=3, node=SECOND, num_cpus=2,
            settings={"ASCEND_EMULATOR_RUN_MODE": "0"}, resources={"cann_8_5": 1}, labels={"cann": "8.5"},
        )  # fmt: skip
        self.changed = [
            name
            for name in before.keys() | os.environ.keys()
            if name.startswith("ASCEND_") and before.get(name) != os.environ.get(name)
        ]
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")

    def compiled(self, recipes: list[Path], note: Any = None, **options: Any) -> dict[str, str]:
        results = compile_recipes(
            recipes, store=self.workshop.store, atc=str(self.workshop.atc), progress=note, **options
        )
        self.causes = {result.job.label: result.cause for result in results}
        return {result.job.label: result.outcome for result in results}

    def apart(self) -> Any:
        """What processes of each node see of it, one with a card and one without, while both cards are open."""
        answers = {}
        for soc in ("Ascend310P3", "Ascend910B3"):
            selector = {"ray.io/accelerator-type": soc}
            actor = Look.options(label_selector=selector).remote()
            seen = ray.get(actor.look.remote())
            answers[soc] = (actor, seen, ray.get(count.options(label_selector=selector).remote()))
        labelled = (
            (node["Labels"]["ray.io/accelerator-type"], node["Resources"]["NPU"]) for node in ray.nodes()
        )
        told = {
            "changed": self.changed,
            "nodes": sorted(labelled),
            "seen": {soc: seen for soc, (_, seen, _) in answers.items()},
            "counts": {soc: devices for soc, (_, _, devices) in answers.items()},
        }
        for actor, _, _ in answers.values():
            ray.kill(actor)
        return told

    def automatic(self) -> Any:
        """Without a word about SoCs: those of both nodes, and what a recipe lists."""
        recipes = [self.workshop.recipe("plain"), self.workshop.recipe("listing", targets=["Ascend310P1"])]
        return {"first": self.compiled(recipes), "again": self.compiled(recipes)}

    def placed(self) -> Any:
        """Builds that only the second node may do."""
        recipes = [
            self.workshop.recipe("by_resource", resources={"cann_8_5": 1}),
            self.workshop.recipe("by_label", node_labels={"cann": "8.5"}),
        ]
        results = self.compiled(recipes, socs=["Ascend310P3"])
        return {"results": results, "nodes": self.workshop.nodes()}

    def submitted(self) -> Any:
        """The command as a Ray job."""
        client = JobSubmissionClient(self.dashboard)
        command = [sys.executable, "-m", "compile_jobs", self.workshop.recipe("job"), "--json"]
        command += ["--store", self.workshop.store, "--atc", self.workshop.atc]
        number = client.submit_job(entrypoint=" ".join(map(str, command)))
        eventually("the job ended", lambda: client.get_job_status(number).is_terminal())
        log = client.get_job_logs(number)
        return {"done": client.get_job_status(number) == JobStatus.SUCCEEDED, "log": log}

    def lost(self) -> Any:
        """Each node builds one of two, and the second one that no other may, when the second node goes."""
        held = self.workshop.hold()
        told: dict[str, list[str]] = defaultdict(list)
        removed: list[str] = []

        def note(job: Job, event: JobStep | TargetResult) -> None:
            told[job.label].append(event.step if isinstance(event, JobStep) else event.outcome)
            building = [label for label, steps in told.items() if "compiling" in steps]
            if len(building) == 3 and not removed:
                eventually("all are in atc", lambda: set(building) <= set(self.workshop.nodes()))
                removed.extend(label for label in building if self.workshop.nodes()[label] == [SECOND])
                self.cluster.remove_node(self.second, allow_graceful=False)
            if sum(steps.count("requeued") for steps in told.values()) == 2:
                held.unlink(missing_ok=True)

        recipes = [
            *(self.workshop.recipe(name, num_cpus=1.5) for name in ("left", "right")),
            self.workshop.recipe("bound", node_labels={"cann": "8.5"}),
        ]
        tasks._ROOM_TIMEOUT_S = tasks._ROOM_POLL_S = 1.0
        results = self.compiled(recipes, note, socs=["Ascend310P3"])
        pids = [pid for label, pid in self.workshop.diary() if label in results]
        eventually("no atc is left", lambda: not any(map(alive, pids)))
        nodes = {label: nodes for label, nodes in self.workshop.nodes().items() if label in results}
        return {"results": results, "told": told, "nodes": nodes, "removed": removed, "causes": self.causes}


def main() -> None:
    folder = Path(sys.argv[1])
    fleet = Fleet(Workshop(folder))
    scenes = (fleet.apart, fleet.automatic, fleet.placed, fleet.submitted, fleet.lost)
    told = {scene.__name__: scene() for scene in scenes}
    told |= {"published": fleet.workshop.published(), "runs": fleet.workshop.runs()}
    (folder / "told.json").write_text(json.dumps(told))  # Ray prints to stdout what befalls a node
    ray.shutdown()
    fleet.cluster.shutdown()


if __name__ == "__main__":
    main()

"""What is made of Ray's account of its nodes; of accounts, so that no cluster is needed."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.cluster import ACCELERATOR_LABEL, check_room, cluster_socs, demands, label_fits
from compile_jobs.jobs import Job

pytestmark = pytest.mark.serve


def node(alive: bool = True, labels: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
    return {
        "Alive": alive,
        "Labels": labels or {},
        "Resources": {"CPU": 2.0, "memory": 4.0 * 2**30, **resources},
    }


def soc(name: str) -> dict[str, str]:
    return {ACCELERATOR_LABEL: name}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what Ray tells: its nodes, and the node groups of an autoscaler as (fewest, most)."""

    def tell(nodes: list[dict[str, Any]], groups: list[tuple[int, int]] | None = None) -> None:
        told = [SimpleNamespace(min_count=low, max_count=high) for low, high in groups or ()]
        config = None if groups is None else SimpleNamespace(node_group_configs=told)
        monkeypatch.setattr(ray, "nodes", lambda: nodes)
        monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: config)

    return tell


def job(**settings: Any) -> Job:
    return Job(CompileRecipe.parse({"name": "net", "source": "/net.onnx", **settings}), "Ascend310P3", 2**28)


def test_socs_are_those_of_living_nodes_that_this_version_knows(account: Any) -> None:
    labels = ["Ascend910B3", "Ascend310P3", "Ascend310P3", "A100"]
    account(
        [*(node(labels=soc(name)) for name in labels), node(), node(alive=False, labels=soc("Ascend310B4"))]
    )
    assert cluster_socs() == ["Ascend310P3", "Ascend910B3"]


def test_a_task_asks_for_no_card_unless_its_recipe_needs_one() -> None:
    plain = demands(job(resources={"cann": 1}, node_labels={"zone": "a"}, num_cpus=2))
    assert plain == {
        "num_cpus": 2,
        "memory": 2**30 + 2**30,
        "resources": {"cann": 1},
        "label_selector": {"zone": "a"},
    }
    for section in ({"verify": {}}, {"tune": {"job_type": "operator"}}):
        asked = demands(job(node_labels={"zone": "a"}, **section))
        assert asked["resources"] == {"NPU": 1}
        assert asked["label_selector"] == {"zone": "a", ACCELERATOR_LABEL: "Ascend310P3"}
    assert demands(job(memory_bytes=0))["memory"] is None


@pytest.mark.parametrize(
    ("label", "wanted", "fits"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (None, "a", False),
        ("a", "!a", False),
        ("b", "!a", True),
        (None, "!a", True),
        ("b", "in(a, b)", True),
        ("c", "in(a,b)", False),
        ("c", "!in(a,b)", True),
        ("a", "!in(a,b)", False),
    ],
)
def test_labels_fit_as_ray_reads_selectors(label: str | None, wanted: str, fits: bool) -> None:
    assert label_fits(label, wanted) is fits


def test_room_has_to_be_on_one_node(account: Any) -> None:
    halves = [node(labels={"zone": "a"}), node(cann=1)]
    account(halves)
    check_room(job(node_labels={"zone": "a"}))
    check_room(job(resources={"cann": 1}))
    with pytest.raises(ConfigError, match=r"2\.0 GiB of memory, 1 cann, label zone=a, which no node"):
        check_room(job(resources={"cann": 1}, node_labels={"zone": "a"}))
    account([*halves, node(labels={"zone": "a"}, cann=1)])
    check_room(job(resources={"cann": 1}, node_labels={"zone": "a"}))
    account([node(alive=False)])
    with pytest.raises(ConfigError, match="no node of the cluster"):
        check_room(job())


def test_what_an_autoscaler_may_add_is_not_refused(account: Any) -> None:
    account([node(CPU=0)], groups=[(1, 1), (0, 4)])
    check_room(job())
    account([node(CPU=0)], groups=[(0, -1)])
    check_room(job())
    account([node(CPU=0)], groups=[(1, 1)])
    with pytest.raises(ConfigError, match="asks for 1 CPU"):
        check_room(job())

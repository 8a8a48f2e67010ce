"""What Serve and Ray's autoscaler read out of the manifests in `kubernetes/`; no cluster is needed."""

import pytest

from tests.unit.manifests import ROOT, SERVICES, groups, ray_service, serve_file

pytestmark = pytest.mark.serve


@pytest.mark.parametrize("name", SERVICES)
def test_the_serve_file_inside_is_right(name: str) -> None:
    from ascend_serve.serving.serve_file import Findings, check_serve_file

    assert check_serve_file(serve_file(name), ROOT) == Findings((), ())


@pytest.mark.parametrize("name", SERVICES)
def test_rays_autoscaler_knows_what_a_pod_of_each_group_would_bring(name: str) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = {
        "metadata": {"name": "resnet", "namespace": "default"},
        "spec": ray_service(name)["spec"]["rayClusterConfig"],
    }
    kinds = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert kinds["headgroup"]["resources"]["CPU"] == 0
    for group in groups(name)[1:]:
        kind = kinds[group["groupName"]]
        assert (kind["min_workers"], kind["max_workers"]) == (group["minReplicas"], group["maxReplicas"])
        assert kind["resources"] == {"CPU": 4, "memory": 16 * 2**30, "NPU": 1}
        assert kind["labels"] == group["labels"]

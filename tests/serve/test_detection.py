"""Ray finds the devices by asking `acl` itself; nothing else was done."""

from typing import Any

import pytest

pytestmark = pytest.mark.serve


def test_ray_finds_the_npus_and_their_type(ray_cluster: None) -> None:
    import ray

    (node,) = ray.nodes()
    assert node["Resources"]["NPU"] == 4
    assert node["Labels"]["ray.io/accelerator-type"] == "Ascend310P3"


def test_each_task_sees_the_device_it_was_given(ray_cluster: None) -> None:
    import ray

    @ray.remote(resources={"NPU": 1}, num_cpus=0)
    def look() -> tuple[Any, Any, str]:
        import os

        import acl

        return acl.rt.get_device_count(), acl.get_soc_name(), os.environ["ASCEND_RT_VISIBLE_DEVICES"]

    count, soc, shown = ray.get(look.remote())
    assert (count, soc) == ((1, 0), "Ascend310P3")
    assert shown in {"0", "1", "2", "3"}

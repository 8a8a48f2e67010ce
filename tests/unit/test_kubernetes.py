"""The manifests in `kubernetes/` agree with themselves and with what Ray and the device plugin call things.

Whether their fields are those of their kinds is `test_manifest_schema.py`'s.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from ascend_serve import env
from ascend_serve.spec.soc import resolve_soc
from tests.unit.manifests import FOLDER, ROOT, SERVICES, container, groups, objects, ray_service, serve_file

pytestmark = pytest.mark.unit

PLUGIN = {"Ascend310P": "310p", "Ascend910B": "910b"}
"""Family of a SoC's name, and the chip in the tags of images."""
RESOURCE = {"310p": "huawei.com/Ascend310P", "910b": "huawei.com/Ascend910"}
"""What Huawei's device plugin calls the NPUs of a family (mind-cluster, ascend-common/api/default_name.go)."""

OF_ONE_MACHINE = {
    f"RAY_SERVE_{name}"
    for name in (
        "HAPROXY_CONFIG_FILE_LOC",
        "HAPROXY_SOCKET_PATH",
        "HAPROXY_SERVER_STATE_BASE",
        "HAPROXY_SERVER_STATE_FILE",
        "HAPROXY_STATS_PORT",
        "HAPROXY_METRICS_PORT",
        "FALLBACK_PROXY_HTTP_PORT",
        "FALLBACK_PROXY_GRPC_PORT",
    )
}
"""What the command sets so that several runs get along on a machine; a pod has its own files and ports."""

HAPROXY = "/opt/ascend-serve-haproxy"
"""Where the image has the command; the interpreter's own folder of scripts has its version in the name."""

DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def chip_of(soc: str) -> str:
    return next(chip for family, chip in PLUGIN.items() if resolve_soc(soc).name.startswith(family))


def environment(of: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in of["env"]}


@pytest.mark.parametrize("name", SERVICES)
def test_a_worker_has_the_npus_the_image_and_the_label_of_its_soc(name: str) -> None:
    head, *workers = groups(name)
    assert not any(key.startswith("huawei.com/") for key in container(head)["resources"]["limits"])
    assert head["resources"] == {"CPU": "0"}
    for group in workers:
        of = container(group)
        chip = chip_of(group["labels"]["ray.io/accelerator-type"])
        npus = {key: n for key, n in of["resources"]["limits"].items() if key.startswith("huawei.com/")}
        # Kubernetes wants both to be the same of what a device plugin gives.
        assert npus == {
            key: n for key, n in of["resources"]["requests"].items() if key.startswith("huawei.com/")
        }
        assert npus == {RESOURCE[chip]: group["resources"]["NPU"]}
        assert of["image"].endswith(f"-{chip}")
        assert chip in group["groupName"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", SERVICES)
def test_nodes_have_one_environment_and_the_store_that_it_names(name: str) -> None:
    found = [container(group)["env"] for group in groups(name)]
    assert all(told == found[0] for told in found)
    store = environment(container(groups(name)[0]))["ASCEND_SERVE_STORE"]
    for group in groups(name):
        mounts = {mount["mountPath"]: mount["name"] for mount in container(group)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert set(mounts.values()) == set(volumes)
        assert volumes[mounts[store]]["persistentVolumeClaim"]["claimName"] == "ascend-store"
    (claim,) = objects("store.yaml")
    assert (claim["metadata"]["name"], claim["spec"]["accessModes"]) == ("ascend-store", ["ReadWriteMany"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_of_the_driver_is_mounted_lies_where_it_does_on_the_host(name: str) -> None:
    head, *workers = groups(name)
    assert all("hostPath" not in volume for volume in head["template"]["spec"]["volumes"])
    for group in workers:
        paths = {
            volume["name"]: volume["hostPath"]["path"]
            for volume in group["template"]["spec"]["volumes"]
            if "hostPath" in volume
        }
        assert {"/usr/local/Ascend/driver", "/usr/local/dcmi"} <= set(paths.values())
        mounts = {mount["name"]: mount for mount in container(group)["volumeMounts"]}
        for volume, path in paths.items():
            assert (mounts[volume]["mountPath"], mounts[volume]["readOnly"]) == (path, True)


@pytest.mark.parametrize("name", SERVICES)
def test_the_fast_path_is_as_the_command_switches_it_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_by_command: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", set_by_command)
    env.switch_on_fast_path(Path("/run"), lambda port: port)
    told = {key: value for key, value in environment(container(groups(name)[0])).items() if "RAY_" in key}
    assert set(told) == set(set_by_command) - OF_ONE_MACHINE
    assert set_by_command.keys() >= OF_ONE_MACHINE
    otherwise = {key: value for key, value in told.items() if set_by_command[key] != value}
    assert otherwise == {
        # Long enough for the HAProxys of other nodes, and short beside the 20 s in which a replica has to end.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "RAY_SERVE_HAPROXY_BINARY_PATH": HAPROXY,
    }
    assert f'RUN ln -s "$(command -v ascend-serve-haproxy)" {HAPROXY}\n' in DOCKERFILE


def test_the_hook_that_manifests_name_is_there() -> None:
    for name in SERVICES:
        hook = environment(container(groups(name)[0]))["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
        module, _, function = hook.rpartition(".")
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert f"\ndef {function}() -> " in source


@pytest.mark.parametrize("name", SERVICES)
def test_ports_and_versions_agree(name: str) -> None:
    serve = serve_file(name)
    ports = {"serve": serve["http_options"]["port"], "serve-grpc": serve["grpc_options"]["port"]}
    for group in groups(name):
        told = {port["name"]: port["containerPort"] for port in container(group)["ports"]}
        assert ports.items() <= told.items()
    version = ray_service(name)["spec"]["rayClusterConfig"]["rayVersion"]
    least = re.search(r'"ray\[serve\]>=([\d.]+),', (ROOT / "pyproject.toml").read_text())
    assert least is not None
    assert version.startswith(least[1])
    for ingress in objects("ingress.yaml"):
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        service = path["backend"]["service"]
        assert service["name"] == f"{ray_service(name)['metadata']['name']}-serve-svc"
        # Of the head's ports KubeRay gives the service these (1.6: isServingPort in its service.go).
        port = service["port"]["name"]
        assert re.fullmatch(r"serve(-.+)?", port)
        assert port in {told["name"] for told in container(groups(name)[0])["ports"]}
        is_grpc = ingress["metadata"]["annotations"].get("nginx.ingress.kubernetes.io/backend-protocol")
        assert (port, is_grpc) in {("serve", None), ("serve-grpc", "GRPC")}
        assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


@pytest.mark.parametrize("name", SERVICES)
def test_socs_are_those_of_the_groups_and_no_more_replicas_than_npus(name: str) -> None:
    (application,) = serve_file(name)["applications"]
    workers = groups(name)[1:]
    socs = [group["labels"]["ray.io/accelerator-type"] for group in workers]
    assert application["args"]["targets"] == socs
    scaling = application["args"].get("autoscaling")
    most = sum(group["maxReplicas"] for group in workers)
    if scaling is None:
        (deployment,) = application["deployments"]
        assert deployment["num_replicas"] <= sum(group["minReplicas"] for group in workers)
    else:
        assert scaling["max_replicas"] <= most
        assert ray_service(name)["spec"]["rayClusterConfig"]["enableInTreeAutoscaling"] is True


def test_one_job_compiles_for_each_group_that_does_not_compile_itself() -> None:
    jobs = objects("compile.yaml")
    built = {}
    for job in jobs:
        pod = job["spec"]["template"]["spec"]
        (of,) = pod["containers"]
        verb, recipe, option, soc = of["command"][1:]
        assert (of["command"][0], verb, option) == ("ascend-serve", "compile", "--soc")
        assert not any(key.startswith("huawei.com/") for key in of["resources"]["limits"])
        assert environment(of)["ASCEND_SERVE_STORE"] == of["volumeMounts"][0]["mountPath"]
        built[soc] = (of["image"], recipe)
    for name in SERVICES:
        args = serve_file(name)["applications"][0]["args"]
        if args.get("compile") == "never":
            for group in groups(name)[1:]:
                soc = group["labels"]["ray.io/accelerator-type"]
                assert built[soc] == (container(group)["image"], args["recipe"])


def test_the_image_is_of_cann_for_each_chip_that_a_manifest_names() -> None:
    assert "FROM quay.io/ascend/cann:${CANN}-${CHIP}-ubuntu22.04-py3.11" in DOCKERFILE
    built = set(re.findall(r"--build-arg CHIP=(\S+) -t ascend-serve:(\S+) ", DOCKERFILE))
    images = {container(group)["image"] for name in SERVICES for group in groups(name)}
    assert {f"registry.example.com/ascend-serve:{tag}" for _, tag in built} == images
    assert all(tag.endswith(f"-{chip}") for chip, tag in built)
    extras = re.search(r"'\.\[(\S+)\]'", DOCKERFILE)
    assert extras is not None
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in pyproject for extra in extras[1].split(","))


def test_every_manifest_is_on_the_page() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    assert all(f"kubernetes/{path.name}" in page for path in FOLDER.iterdir())

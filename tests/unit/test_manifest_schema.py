"""The manifests in `kubernetes/` have the fields of their kinds and no others.

Each is held against a schema of ours; and both against KubeRay's own by `pytest -m kuberay`, for which
`ASCEND_TEST_KUBERAY_CRDS` names the folder of its CRDs (helm-chart/kuberay-operator/crds in its repository).
"""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.manifest_schema import SCHEMAS
from tests.unit.manifests import FOLDER, SERVICES, container, objects, ray_service

pytestmark = pytest.mark.unit

VALIDATORS = {kind: jsonschema.Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
OF_EACH_KIND = {told["kind"]: told for name in reversed(FILES) for told in objects(name)}
AUTHORS = {"labels", "annotations", "requests", "limits", "rayStartParams"}
"""Objects whose keys are the author's."""


def faults(told: dict[str, Any]) -> list[str]:
    return [f"{fault.json_path}: {fault.message}" for fault in VALIDATORS[told["kind"]].iter_errors(told)]


def is_taken(kind: str, told: dict[str, Any]) -> bool:
    return VALIDATORS[kind].is_valid(told)


def places(told: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Every field and item: the names above it, its holder, and its key there."""
    for key, value in list(told.items() if isinstance(told, dict) else enumerate(told)):
        yield above, told, key
        if isinstance(value, dict | list):
            yield from places(value, *above, str(key))


@pytest.mark.parametrize("name", FILES)
def test_its_fields_are_those_of_its_kind(name: str) -> None:
    assert objects(name)
    assert [fault for told in objects(name) for fault in faults(told)] == []


def test_each_kind_has_a_manifest() -> None:
    assert set(OF_EACH_KIND) == set(SCHEMAS)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_wrong_type_is_found_wherever_it_is(kind: str) -> None:
    told = copy.deepcopy(OF_EACH_KIND[kind])
    for above, holder, key in list(places(told)):
        right = holder[key]
        for wrong in (None, [1.5]):
            holder[key] = wrong
            assert not is_taken(kind, told), (*above, key, wrong)
        holder[key] = right
    assert is_taken(kind, told)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_misspelt_field_is_found_wherever_it_is(kind: str) -> None:
    told = copy.deepcopy(OF_EACH_KIND[kind])
    for above, holder, key in list(places(told)):
        # What a group brings has the author's keys; what a container asks for does not.
        of_group = above[-1:] == ("resources",) and "containers" not in above and kind == "RayService"
        # A claim may ask for one thing.
        of_author = above[-1:] and above[-1] in AUTHORS and key != "storage"
        if isinstance(holder, list) or of_group or of_author:
            continue
        value = holder.pop(key)
        holder[f"{key}x"] = value
        assert not is_taken(kind, told), (*above, key)
        del holder[f"{key}x"]
        holder[key] = value
    assert is_taken(kind, told)


MISSING = {
    "RayService": "apiVersion kind metadata spec serveConfigV2 rayClusterConfig headGroupSpec workerGroupSpecs "
    "template groupName minReplicas maxReplicas containers image mountPath claimName type mode",
    "Job": "apiVersion kind metadata spec template restartPolicy containers image mountPath claimName",
    "PersistentVolumeClaim": "apiVersion kind metadata spec accessModes resources requests storage",
    "Ingress": "apiVersion kind metadata spec rules host http paths path pathType backend service port",
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_missing_field_is_found(kind: str) -> None:
    told = copy.deepcopy(OF_EACH_KIND[kind])
    wanted = set(MISSING[kind].split())
    found = set()
    for _, holder, key in list(places(told)):
        if isinstance(holder, dict) and key in wanted:
            value = holder.pop(key)
            if not is_taken(kind, told):
                found.add(key)
            holder[key] = value
    assert found == wanted


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("type", "Recreate"),
        ("mode", "tokens"),
        ("version", 2),
        ("name", "Ray_Head"),
        ("memory", "8 GB"),
        ("NPU", 1),
    ],
)
def test_a_wrong_word_is_found(field: str, wrong: object) -> None:
    told = copy.deepcopy(ray_service("rayservice-310p.yaml"))
    holder = next(holder for _, holder, key in places(told) if key == field)
    holder[field] = wrong
    assert not is_taken("RayService", told)


# --- KubeRay's own --------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """A schema of Kubernetes for whom an unknown key is an error, as `kubectl apply --validate=strict` has it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: strict(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        told.pop("type", None)
    closed = schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields")
    if closed and isinstance(schema.get("properties"), dict):
        told.setdefault("additionalProperties", False)
    return told


@pytest.fixture(scope="module")
def kuberay() -> Any:
    folder = os.environ["ASCEND_TEST_KUBERAY_CRDS"]
    told = yaml.safe_load((Path(folder) / "ray.io_rayservices.yaml").read_text())
    (version,) = (version for version in told["spec"]["versions"] if version["name"] == "v1")
    return version["schema"]["openAPIV3Schema"]


@pytest.mark.kuberay
@pytest.mark.parametrize("name", SERVICES)
def test_kuberay_takes_it(name: str, kuberay: Any) -> None:
    found = jsonschema.Draft202012Validator(strict(kuberay)).iter_errors(ray_service(name))
    assert [f"{fault.json_path}: {fault.message}" for fault in found] == []


@pytest.mark.kuberay
def test_its_schema_finds_what_is_wrong(kuberay: Any) -> None:
    told = ray_service(SERVICES[0])
    worker = told["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    worker["maxReplica"] = worker.pop("maxReplicas")
    container(worker)["image"] = 5
    found = jsonschema.Draft202012Validator(strict(kuberay)).iter_errors(told)
    assert {"workerGroupSpecs[0]", "image"} <= {fault.json_path.rpartition(".")[2] for fault in found}


def differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """Where a schema of ours takes what theirs does not know, or does not want what theirs does."""
    if (
        ours.get("type")
        and not theirs.get("x-kubernetes-int-or-string")
        and theirs.get("type") != ours["type"]
    ):
        yield f"{where}: {ours['type']}, theirs is {theirs.get('type')}"
    if theirs.get("x-kubernetes-preserve-unknown-fields") or (
        theirs.keys() == {"type"} and where.endswith("metadata")
    ):
        return
    for name in set(theirs.get("required", ())) - set(ours.get("required", ())):
        yield f"{where}: '{name}' is required"
    for name, own in ours.get("properties", {}).items():
        if name in theirs.get("properties", {}):
            yield from differences(own, theirs["properties"][name], f"{where}.{name}")
        else:
            yield f"{where}: has no '{name}'"
    for part in ("items", "additionalProperties"):
        if isinstance(ours.get(part), dict):
            yield from differences(ours[part], theirs[part], f"{where}[]")


@pytest.mark.kuberay
def test_ours_knows_nothing_that_kuberay_does_not(kuberay: Any) -> None:
    assert list(differences(SCHEMAS["RayService"], kuberay, "RayService")) == []

"""Manifests as Kubernetes' own client knows the fields of their kinds. Argument: the folder of the manifests.

Of a RayService it knows the pod templates; the rest is KubeRay's.
"""

import copy
import pathlib
import re
import sys

import yaml
from reporting import tell

from kubernetes import client

PLAIN = {"str": str, "int": int, "bool": bool}
KINDS = {"Job": "V1Job", "PersistentVolumeClaim": "V1PersistentVolumeClaim", "Ingress": "V1Ingress"}


def made(kind, value, where):
    """The client's object of a part; raises ValueError where it knows no such field, type, or misses one."""
    if kind in PLAIN:
        if type(value) is not PLAIN[kind]:
            raise ValueError(f"{where}: {value!r} is no {kind}")
        return value
    container = re.fullmatch(r"([Ll]ist|[Dd]ict)[\[(](?:str, )?(.+)[\])]", kind)
    if container:
        wanted = list if container[1].lower() == "list" else dict
        if type(value) is not wanted:
            raise ValueError(f"{where}: {value!r} is no {kind}")
        if wanted is list:
            return [made(container[2], item, f"{where}[{number}]") for number, item in enumerate(value)]
        return {key: made(container[2], item, f"{where}.{key}") for key, item in value.items()}
    model = getattr(client, kind)
    attributes = {field: attribute for attribute, field in model.attribute_map.items()}
    if type(value) is not dict or not set(value) <= set(attributes):
        raise ValueError(f"{where}: {value!r} has what {kind} does not know")
    fields = {
        attributes[field]: made(model.openapi_types[attributes[field]], part, f"{where}.{field}")
        for field, part in value.items()
    }
    return model(**fields)


def parts(folder):
    """What the client knows: its kind there, and the part."""
    for path in sorted(pathlib.Path(folder).glob("*.yaml")):
        for told in yaml.safe_load_all(path.read_text()):
            if told["kind"] in KINDS:
                yield KINDS[told["kind"]], told
                continue
            assert told["kind"] == "RayService", f"{told['kind']} is of no kind that is checked"
            cluster = told["spec"]["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                yield "V1PodTemplateSpec", group["template"]


def knows_every_field(folder):
    found = list(parts(folder))
    assert {kind for kind, _ in found} == {*KINDS.values(), "V1PodTemplateSpec"}
    for kind, part in found:
        made(kind, part, kind)


def finds_what_is_wrong(folder):
    template = next(part for kind, part in parts(folder) if kind == "V1PodTemplateSpec")

    def misspelt(container):
        container["volumeMount"] = container.pop("volumeMounts")

    def mistyped(container):
        container["ports"][0]["containerPort"] = "6379"

    def missing(container):
        del container["name"]

    for change in (misspelt, mistyped, missing):
        wrong = copy.deepcopy(template)
        change(wrong["spec"]["containers"][0])
        try:
            made("V1PodTemplateSpec", wrong, "template")
        except ValueError:
            continue
        raise AssertionError(f"{change.__name__}: not found")


tell([knows_every_field, finds_what_is_wrong], sys.argv[1])

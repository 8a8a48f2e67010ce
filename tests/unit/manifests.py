"""The manifests in `kubernetes/`, read."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "kubernetes"
SERVICES = sorted(path.name for path in FOLDER.glob("rayservice-*.yaml"))


def objects(name: str) -> list[dict[str, Any]]:
    """Every object of a file."""
    return [told for told in yaml.safe_load_all((FOLDER / name).read_text()) if told is not None]


def ray_service(name: str) -> dict[str, Any]:
    """The one RayService of a file."""
    (told,) = objects(name)
    assert told["kind"] == "RayService"
    return told


def serve_file(name: str) -> dict[str, Any]:
    """The Serve file inside a RayService."""
    told = yaml.safe_load(ray_service(name)["spec"]["serveConfigV2"])
    assert isinstance(told, dict)
    return told


def groups(name: str) -> list[dict[str, Any]]:
    """The head group and those of workers."""
    cluster = ray_service(name)["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    """Ray's container in a pod of a group."""
    (told,) = group["template"]["spec"]["containers"]
    assert isinstance(told, dict)
    return told

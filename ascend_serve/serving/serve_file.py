"""The check of a whole Serve file.

Ray Serve drops unknown keys in silence (`ServeDeploySchema` allows extras on purpose), so a misspelt
`max_ongoing_request` costs nothing but throughput. Here every key is held against Ray's own schema, and the
`args:` of our applications against `AppConfig`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from ascend_serve.errors import ConfigError
from ascend_serve.serving.config import describe_faults, parse_app_config
from ascend_serve.serving.served_files import check_named_files
from ascend_serve.spec.text import nearest

BUILDER = "ascend_serve.serving.app:build"
DEPLOYMENT = "AscendModel"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found: `errors` stop a deployment, `notes` are worth a look."""

    errors: tuple[str, ...]
    notes: tuple[str, ...]


def read_serve_file(path: Path) -> dict[str, Any]:
    """The mapping that a Serve file holds.

    Raises:
        ConfigError: no such file, no YAML, or YAML that is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the Serve file {path}: {error.strerror}: give the path of a YAML file, such as those in "
            "deployments/"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"cannot read the Serve file {path}: it is not UTF-8 text: give the path of a YAML file, such as those in "
            "deployments/"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise ConfigError(f"{path}: not YAML:{line} {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        held = type(content).__name__
        raise ConfigError(f"{path}: a Serve file is a mapping with the key 'applications', not a {held}")
    return content


def check_serve_file(content: Mapping[str, Any], base: Path) -> Findings:
    """Hold a Serve file against Ray's schema and ours.

    Args:
        content: the mapping in the file.
        base: folder from which Serve will be started; relative paths in `args:` are looked up there.
    """
    errors = [f"{path}: unknown key{hint}" for path, hint in _unknown_keys(content, ServeDeploySchema, "")]
    notes: list[str] = []
    try:
        ServeDeploySchema.model_validate(content)
    except ValidationError as error:
        errors.append(describe_faults(error, ServeDeploySchema, ""))
    applications = content.get("applications")
    for index, application in enumerate(applications if isinstance(applications, list) else []):
        if isinstance(application, dict) and _is_ours(application.get("import_path")):
            _check_application(application, f"applications[{index}]", base, errors, notes)
    return Findings(tuple(errors), tuple(notes))


def autoscaling_config(options: Mapping[str, Any], target_ongoing_requests: float) -> AutoscalingConfig:
    """Serve's autoscaling options out of `args.autoscaling`.

    Args:
        options: as the user wrote them.
        target_ongoing_requests: the target where they name none.

    Raises:
        ConfigError: a key that Ray does not know, which it would drop, or a value that it refuses.
    """
    at = "args.autoscaling"
    if unknown := [
        f"{path}: unknown key{hint}" for path, hint in _unknown_keys(options, AutoscalingConfig, at)
    ]:
        raise ConfigError("; ".join(unknown))
    try:
        return AutoscalingConfig(**{"target_ongoing_requests": target_ongoing_requests, **options})
    except ValidationError as error:
        raise ConfigError(describe_faults(error, AutoscalingConfig, at)) from None


def _is_ours(import_path: object) -> bool:
    """Whether an application is built by this package; Ray takes a dot for the colon too."""
    return isinstance(import_path, str) and import_path.replace(":", ".") == BUILDER.replace(":", ".")


def _check_application(
    application: dict[str, Any], where: str, base: Path, errors: list[str], notes: list[str]
) -> None:
    try:
        config = parse_app_config(application.get("args") or {})
        if config.autoscaling is not None:
            autoscaling_config(config.autoscaling, target_ongoing_requests=1)
    except ConfigError as error:
        errors.append(f"{where}.{error}")
    else:
        working_dir = _mapping(application.get("runtime_env")).get("working_dir")
        for kind, text in check_named_files(config, base, working_dir):
            (errors if kind == "error" else notes).append(f"{where}.args: {text}")
    deployments = application.get("deployments")
    for number, deployment in enumerate(deployments if isinstance(deployments, list) else []):
        if isinstance(deployment, dict):
            _check_deployment(deployment, f"{where}.deployments[{number}]", errors, notes)


def _check_deployment(deployment: dict[str, Any], at: str, errors: list[str], notes: list[str]) -> None:
    if deployment.get("name") != DEPLOYMENT:
        errors.append(
            f"{at}.name: '{deployment.get('name')}' is no deployment of this application; it has '{DEPLOYMENT}'"
        )
    actor = deployment.get("ray_actor_options")
    if isinstance(actor, dict) and _mapping(actor.get("resources")).get("NPU") != 1:
        errors.append(
            f"{at}.ray_actor_options: replaces the builder's, so it must say resources: {{NPU: 1}} again; "
            "a replica owns exactly one NPU"
        )
    scaling = deployment.get("autoscaling_config")
    if isinstance(scaling, dict) and "target_ongoing_requests" not in scaling:
        default = AutoscalingConfig().target_ongoing_requests
        notes.append(
            f"{at}.autoscaling_config: without target_ongoing_requests Ray uses {default:g}, which keeps batches "
            "small; about twice the largest gear suits, and `args.autoscaling` derives it"
        )


def _mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: what else is wrong with it, Ray's schema says."""
    return value if isinstance(value, Mapping) else {}


def _unknown_keys(content: Any, model: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(content, Mapping):
        return
    known = model.model_fields
    for key, value in content.items():
        at = f"{path}.{key}" if path else str(key)
        if key not in known:
            yield at, nearest(str(key), known)
            continue
        inner = _models_in(known[key].annotation)
        if inner is None:
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _unknown_keys(item, inner, f"{at}[{index}]")
        else:
            yield from _unknown_keys(value, inner, at)


def _models_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation such as `list[Model] | None`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _models_in(part))), None)

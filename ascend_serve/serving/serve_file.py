"""The check of a whole Serve file.

Ray Serve drops unknown keys in silence (`ServeDeploySchema` allows extras on purpose), so a misspelt
`max_ongoing_request` costs nothing but throughput. Here every key is held against Ray's own schema, and the
`args:` of our applications against `AppConfig`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve._private.constants import DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from ascend_serve import env
from ascend_serve.errors import ConfigError
from ascend_serve.serving import DEPLOYMENT
from ascend_serve.serving.config import AppConfig, parse_app_config
from ascend_serve.serving.fleet.scaling_settings import (
    CAPACITY,
    CapacityScaling,
    capacity_scaling,
    names_capacity,
)
from ascend_serve.serving.served_files import check_named_files, check_user_config
from ascend_serve.serving.setting_faults import describe_faults
from ascend_serve.serving.tls import check_tls
from ascend_serve.spec.text import nearest

BUILDER = "ascend_serve.serving.app:build"
GRPC_SERVICER = "ascend_serve.serving.doors.grpc.add_GRPCInferenceServiceServicer_to_server"
"""What `grpc_options.grpc_servicer_functions` has to name."""


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
    except (ImportError, AttributeError) as error:
        # Ray imports the policies and routers that deployments name as it reads them.
        errors.append(f"what a deployment names cannot be imported here: {error}")
    http_options, grpc_options = _mapping(content.get("http_options")), _mapping(content.get("grpc_options"))
    for kind, text in check_tls(http_options, grpc_options, base, haproxy=env.on_fast_path()):
        (errors if kind == "error" else notes).append(f"http_options.{text}")
    functions = grpc_options.get("grpc_servicer_functions")
    errors += [
        f"grpc_options.grpc_servicer_functions[{index}]: '{function}' is not there: write {GRPC_SERVICER}"
        for index, function in enumerate(functions if isinstance(functions, list) else [])
        if _misnames(function, GRPC_SERVICER)
    ]
    applications = content.get("applications")
    for index, application in enumerate(applications if isinstance(applications, list) else []):
        if not isinstance(application, dict):
            continue  # Ray's schema has said so
        path, at = application.get("import_path"), f"applications[{index}]"
        if _is_named(path, BUILDER):
            _check_application(application, at, base, errors, notes)
        elif _misnames(path, BUILDER):
            errors.append(f"{at}.import_path: '{path}' is no builder of applications: write {BUILDER}")
    return Findings(tuple(errors), tuple(notes))


def autoscaling_config(
    options: Mapping[str, Any], target_ongoing_requests: float, replica_npus: float = 1.0
) -> AutoscalingConfig:
    """Serve's autoscaling options out of `args.autoscaling`.

    Args:
        options: as the user wrote them; with `policy: capacity` those of `scaling_settings.CapacityScaling`.
        target_ongoing_requests: the target where they name none; without meaning for `policy: capacity`.
        replica_npus: NPUs of a replica.

    Raises:
        ConfigError: a key that Ray does not know, which it would drop, a value that it refuses, or a policy that is
            not there.
    """
    at = "args.autoscaling"
    scaling = capacity_scaling(options, at)
    if scaling is None:
        if isinstance(policy := options.get("policy"), str):
            raise ConfigError(
                f"{at}.policy: there is no policy '{policy}': write {CAPACITY}, or policy_function: module:function "
                "below it, or leave it out for Serve's own"
            )
        known = AutoscalingConfig.model_fields.keys()
        if unknown := [
            f"{path}: unknown key{hint}" for path, hint in _unknown_keys(options, AutoscalingConfig, at)
        ]:
            own = [key for key in options if key in CapacityScaling.model_fields.keys() - known]
            hint = f"; {own[0]} belongs to 'policy: capacity', which is not named" if own else ""
            raise ConfigError("; ".join(unknown) + hint)
        told = {"target_ongoing_requests": target_ongoing_requests, **options}
    else:
        told = scaling.for_serve(replica_npus)
    try:
        with warnings.catch_warnings():
            # Serve deprecates metrics_interval_s for variables that nothing reads yet (ray/serve/config.py,
            # ray/serve/_private/constants.py); until then it is what decides how old an autoscaler's figures are.
            warnings.simplefilter("ignore", DeprecationWarning)
            return AutoscalingConfig(**told)
    except ValidationError as error:
        raise ConfigError(describe_faults(error, AutoscalingConfig, at)) from None
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{at}.policy: its function cannot be imported: {error}: it has to be importable here and where Serve's "
            "controller runs"
        ) from error


def _is_named(path: object, name: str) -> bool:
    """Whether an import path is that of `name`; Ray takes a dot for the colon too."""
    return isinstance(path, str) and path.replace(":", ".") == name.replace(":", ".")


def _misnames(path: object, name: str) -> bool:
    """Whether an import path leads into this package, and not to `name`."""
    return isinstance(path, str) and path.startswith("ascend_serve.") and not _is_named(path, name)


def _check_application(
    application: dict[str, Any], where: str, base: Path, errors: list[str], notes: list[str]
) -> None:
    config = None
    working_dir = _mapping(application.get("runtime_env")).get("working_dir")
    try:
        config = parse_app_config(application.get("args") or {})
        if config.autoscaling is not None:
            autoscaling_config(config.autoscaling, target_ongoing_requests=1)
    except ConfigError as error:
        errors.append(f"{where}.{error}")
    else:
        for kind, text, at in check_named_files(config, base, working_dir):
            (errors if kind == "error" else notes).append(f"{where}.args{at}: {text}")
    deployments = application.get("deployments")
    for number, deployment in enumerate(deployments if isinstance(deployments, list) else []):
        if isinstance(deployment, dict):
            at = f"{where}.deployments[{number}]"
            _check_deployment(deployment, at, config, errors, notes)
            live = deployment.get("user_config")
            if config is not None and live is not None:
                errors += [f"{at}.{text}" for text in check_user_config(live, config, base, working_dir)]
    if config is not None:
        notes += [f"{where}.args{text}" for text in _unfinished(config, deployments)]


def _unfinished(config: AppConfig, deployments: object) -> Iterator[str]:
    """Deadlines that reach past the time that a replica has to finish what it accepted."""
    told = [_mapping(one) for one in deployments] if isinstance(deployments, list) else []
    own = next((one for one in told if one.get("name") == DEPLOYMENT), {})
    timeout_s = own.get("graceful_shutdown_timeout_s", DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S)
    longest_s = max(model.batching.default_deadline_s or 0.0 for model in config.served)
    if isinstance(timeout_s, int | float) and longest_s > timeout_s:
        yield (
            f": by default_deadline_ms requests may take {longest_s:g} s, and Serve kills a replica that goes after "
            f"{timeout_s:g} s, whatever it has left: give the deployment '{DEPLOYMENT}' a graceful_shutdown_timeout_s "
            f"above {longest_s:g}"
        )


def _check_deployment(
    deployment: dict[str, Any], at: str, config: AppConfig | None, errors: list[str], notes: list[str]
) -> None:
    npus = 1.0 if config is None else config.replica_npus
    scaled = config is not None and config.autoscaling is not None
    if deployment.get("name") != DEPLOYMENT:
        errors.append(
            f"{at}.name: '{deployment.get('name')}' is no deployment of this application; it has '{DEPLOYMENT}'"
        )
    actor = deployment.get("ray_actor_options")
    if isinstance(actor, dict) and _mapping(actor.get("resources")).get("NPU") != npus:
        whole = "a replica owns exactly one NPU" if npus == 1 else "as args.replica_npus says"
        errors.append(
            f"{at}.ray_actor_options: replaces the builder's, so it must say resources: {{NPU: {npus:g}}} again; "
            f"{whole}"
        )
    scaling = deployment.get("autoscaling_config")
    if scaled and isinstance(deployment.get("num_replicas"), int):
        notes.append(
            f"{at}.num_replicas: counts for nothing beside args.autoscaling, whose initial_replicas says how many to "
            "begin with: leave it out"
        )
    if scaling is None and not scaled and deployment.get("num_replicas") == "auto":
        scaling = {}
    if scaled and scaling is not None:
        errors.append(
            f"{at}.autoscaling_config: takes the place of args.autoscaling as a whole: keep one of the two"
        )
    elif isinstance(scaling, dict) and names_capacity(scaling.get("policy")):
        errors.append(
            f"{at}.autoscaling_config.policy: replicas tell it nothing here, and it would keep as many as there are: "
            f"write {{policy: {CAPACITY}, slo_ms: 50, max_replicas: 8}} into args.autoscaling instead"
        )
    elif isinstance(scaling, dict) and "target_ongoing_requests" not in scaling:
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

"""The app builder: `import_path: ascend_serve.serving.app:build`.

Serve runs it in a Ray task on some node of the cluster. It finds or makes the artefacts, and binds one deployment.
An error ends as a `RayServeException`, which Serve reports in its own words and does not try again; its first line
says everything, because `serve run` prints no more.
"""

# No `from __future__ import annotations` in this module: Serve reads the annotation of the builder's parameter as a
# class, and hands over an unchecked dict if it is a string (ray/serve/_private/api.py; facts §2.1).
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from ray import serve
from ray.serve.exceptions import RayServeException

from ascend_serve import env
from ascend_serve.artifacts.store import Artifact, Store, ready_made
from ascend_serve.batching.policy import check_fits
from ascend_serve.compiling.build import prepare, stored
from ascend_serve.compiling.recipes import anchored, load_recipe
from ascend_serve.errors import AclMissing, ArtifactMissing, AscendServeError, CompileError, ConfigError
from ascend_serve.serving import DEPLOYMENT
from ascend_serve.serving.config import AppConfig, BatchingConfig, ModelConfig, check_distinct
from ascend_serve.serving.deployment import AscendModel
from ascend_serve.serving.doors.labels import check_outputs
from ascend_serve.serving.fleet.route_desk import with_desk
from ascend_serve.serving.fleet.router import router_config
from ascend_serve.serving.fleet.scaling_settings import capacity_scaling
from ascend_serve.serving.log import SERVE_LOGGING
from ascend_serve.serving.opening import ANY_SOC, Served
from ascend_serve.serving.processors import check_fit, settled
from ascend_serve.serving.serve_file import autoscaling_config
from ascend_serve.serving.served_model import queue_of
from ascend_serve.serving.setting_faults import describe_faults
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import padded_axes
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.cluster import cluster_socs
from compile_jobs.tasks import compile_recipes

logger = logging.getLogger("ray.serve")

GEARS_ONGOING = 4
"""Requests that a replica admits, in largest gears: Serve's default of 5 would never fill one. A gear below
`LEAST_GEAR` counts as that, for small models still get many callers. Of several models all gears are added up."""

LEAST_GEAR = 16

GEARS_TARGET = 2
"""Ongoing requests per replica that autoscaling aims at, in largest gears: one on the device, one forming."""


class Args(AppConfig):
    """`AppConfig` as Serve validates it: its faults become one line that Serve passes on."""

    @model_validator(mode="wrap")
    @classmethod
    def _say_it_in_one_line(cls, data: Any, handler: ModelWrapValidatorHandler["Args"]) -> "Args":
        try:
            return handler(data)
        except ValidationError as error:
            raise RayServeException(describe_faults(error, cls, "args")) from None


def build(args: Args) -> serve.Application:
    """Build the application of one model, or of several on one NPU.

    Raises:
        RayServeException: bad settings, an artefact that is missing, or a compile that failed: cause and way out.
    """
    if not env.on_fast_path():
        logger.warning(
            "Serve's Python proxy is in front of this model; the HAProxy data path (`ascend-serve run FILE`, or "
            "RAY_SERVE_ENABLE_HA_PROXY=1 on every node) is several times faster, but speaks no TLS."
        )
    try:
        return _bind(args, _served(args))
    except (AscendServeError, OSError) as error:
        raise RayServeException(str(error)) from error


def _bind(args: AppConfig, served: tuple[Served, ...]) -> serve.Application:
    largest = []
    for model, told in zip(args.served, served, strict=True):
        specs = [artifact.spec for artifact in told.artifacts.values()]
        _check_batching(model.batching, specs)
        check_fit(model, told.name, specs)
        for spec in specs:
            check_outputs(model.labels, spec)
        largest.append(max(spec.gears.largest for spec in specs))
    options: dict[str, Any] = {}
    if args.autoscaling is not None:
        # The smallest, since the load may be on that model alone.
        options["autoscaling_config"] = autoscaling_config(
            args.autoscaling, GEARS_TARGET * min(largest), args.replica_npus
        )
    if args.router == "finish_first":
        options["request_router_config"] = router_config()
    deployment: serve.Deployment = serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=_ongoing(args, served, largest),
        ray_actor_options={"num_cpus": args.replica_cpus, "resources": {"NPU": args.replica_npus}},
        # Answered from the lane's heartbeat, so a short period costs next to nothing.
        health_check_period_s=2,
        health_check_timeout_s=10,
        logging_config=SERVE_LOGGING,
        **options,
    )(AscendModel)
    # Replicas get the settings themselves, not `Args`: what Serve makes of a fault is the builder's business. Without
    # defaults, because what the user said is judged otherwise than what was left out.
    config = AppConfig.model_validate(settled(args.model_dump(exclude_unset=True)))
    app: serve.Application = deployment.bind(config, served)
    if args.router == "finish_first" and env.on_fast_path():
        return with_desk(app)
    return app


def _ongoing(args: AppConfig, served: Sequence[Served], largest: Sequence[int]) -> int:
    """How many requests a replica admits.

    Scaled by capacity it admits all that may wait and run: it has to see what comes, and what waits for Serve to admit
    it is told to nobody (ray/serve/_private/replica.py: `_start_request`).
    """
    usual = GEARS_ONGOING * sum(max(gear, LEAST_GEAR) for gear in largest)
    if capacity_scaling(args.autoscaling) is None:
        return usual
    holds = sum(
        max(queue_of(model, model.limits.rows_of(artifact.spec)) for artifact in told.artifacts.values())
        for model, told in zip(args.served, served, strict=True)
    )
    return holds + usual


def _check_batching(batching: BatchingConfig, specs: Sequence[ModelSpec]) -> None:
    """Tell here, in one line, what each replica would tell as it fails."""
    policy = batching.chosen_policy()
    for spec in specs:
        for bucket in spec.buckets:
            check_fits(policy, bucket.gears)
        padded_axes(spec, batching.padded)


def _served(args: AppConfig) -> tuple[Served, ...]:
    """What replicas are told of each model."""
    compiled = iter(_compiled(args))
    served = []
    for model in args.served:
        if model.om is not None:
            artifacts = _ready_made(model.om, model)
            remedy = "Give an .om for it in its 'om'"
        else:
            artifacts, remedy = next(compiled)
        name = model.name or next(iter(artifacts.values())).spec.name
        served.append(Served(name, model.version, artifacts, remedy))
    check_distinct((told.name, told.version) for told in served)
    return tuple(served)


def _ready_made(om: Path | dict[str, Path], model: ModelConfig) -> dict[str, Artifact]:
    paths = om if isinstance(om, dict) else {ANY_SOC: om}
    return {
        soc: ready_made(path.absolute(), model.name or path.stem, model.batched)
        for soc, path in paths.items()
    }


def _compiled(args: AppConfig) -> list[tuple[dict[str, Artifact], str]]:
    """Artefacts by SoC of each recipe, in their order, and what to do when one is missing.

    All recipes are compiled for all SoCs, since every replica has all models.
    """
    paths = [model.recipe for model in args.served if model.recipe is not None]
    if not paths:
        return []
    store = Store.lasting(args.store or env.store_url())
    recipes = [load_recipe(path.absolute()) for path in paths]
    targets = [target for recipe in recipes for target in recipe.targets]
    socs = list(dict.fromkeys([*targets, *args.targets, *cluster_socs()]))
    if not socs and not env.acl_installed():
        raise AclMissing("no node of the cluster names an NPU, and there is no such module here")
    if not socs:
        names = " and ".join(f"'{recipe.name}'" for recipe in recipes)
        raise ConfigError(
            f"no SoC to serve {names} on: no node of the cluster names one (label ray.io/accelerator-type, "
            "which Ray sets where pyACL finds a device) and neither the recipe nor args.targets lists one"
        )
    found: list[dict[str, Artifact]] = []
    if args.compile == "never":
        for path, recipe in zip(paths, recipes, strict=True):
            found.append({soc: _stored(path, recipe, soc, store) for soc in socs})
    else:
        results = compile_recipes(recipes, socs, store, retry_failed=args.retry_failed)
        if causes := [result.cause for result in results if result.cause is not None]:
            raise CompileError("; ".join(causes))
        for recipe in recipes:
            own = anchored(recipe, Path.cwd())  # as jobs have it; of two that are the same there is one job
            mine = [result for result in results if result.job.recipe == own]
            found.append({result.soc: result.artifact for result in mine if result.artifact is not None})
    remedies = [f"Compile it: {_compile_command(path, 'SOC', store)}, then deploy again" for path in paths]
    return list(zip(found, remedies, strict=True))


def _stored(path: Path, recipe: CompileRecipe, soc: str, store: Store) -> Artifact:
    artifact = stored(prepare(recipe, soc, store), store)
    if artifact is None:
        raise ArtifactMissing(
            f"'{recipe.name}' is not compiled for {soc} in {store.url}, and args.compile is 'never': run "
            f"{_compile_command(path, soc, store)}"
        )
    return artifact


def _compile_command(path: Path, soc: str, store: Store) -> str:
    return f"python -m compile_jobs {path} --soc {soc} --store {store.url}"

"""The app builder: `import_path: ascend_serve.serving.app:build`.

Serve runs it in a Ray task on some node of the cluster. It finds or makes the artefacts, and binds one deployment.
An error ends as a `RayServeException`, which Serve reports in its own words and does not try again; its first line
says everything, because `serve run` prints no more.
"""

# No `from __future__ import annotations` in this module: Serve reads the annotation of the builder's parameter as a
# class, and hands over an unchecked dict if it is a string (ray/serve/_private/api.py; facts §2.1).
import logging
from pathlib import Path
from typing import Any

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from ray import serve
from ray.serve.exceptions import RayServeException

from ascend_serve import env
from ascend_serve.artifacts.store import Artifact, Store, ready_made
from ascend_serve.compiling.build import prepare, stored
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import AclMissing, ArtifactMissing, AscendServeError, CompileError, ConfigError
from ascend_serve.serving.config import AppConfig, describe_faults
from ascend_serve.serving.deployment import AscendModel
from ascend_serve.serving.log import SERVE_LOGGING
from ascend_serve.serving.opening import ANY_SOC, Served
from ascend_serve.serving.serve_file import DEPLOYMENT, autoscaling_config
from ascend_serve.spec.padding import padded_axes
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.cluster import cluster_socs
from compile_jobs.tasks import compile_recipes

logger = logging.getLogger("ray.serve")

GEARS_ONGOING = 4
"""Requests that a replica admits, in largest gears: Serve's default of 5 would never fill one. A gear below
`LEAST_GEAR` counts as that, for small models still get many callers."""

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
    """Build the application of one model.

    Raises:
        RayServeException: bad settings, an artefact that is missing, or a compile that failed: cause and way out.
    """
    if not env.on_fast_path():
        logger.warning(
            "Serve's Python proxy is in front of this model; `ascend-serve run FILE` (or RAY_SERVE_ENABLE_HA_PROXY=1 "
            "on every node) uses the several times faster HAProxy data path."
        )
    try:
        return _bind(args, _served(args))
    except (AscendServeError, OSError) as error:
        raise RayServeException(str(error)) from error


def _bind(args: AppConfig, served: Served) -> serve.Application:
    specs = [artifact.spec for artifact in served.artifacts.values()]
    policy = args.batching.chosen_policy()
    for bucket in (bucket for spec in specs for bucket in spec.buckets):
        policy.usable(
            bucket.gears
        )  # a wrong gear is told here, in one line, and not by each replica as it fails
    for spec in specs:
        padded_axes(spec, args.batching.padded)
    largest = max(spec.gears.largest for spec in specs)
    options: dict[str, Any] = {}
    if args.autoscaling is not None:
        options["autoscaling_config"] = autoscaling_config(args.autoscaling, GEARS_TARGET * largest)
    deployment: serve.Deployment = serve.deployment(
        name=DEPLOYMENT,
        max_ongoing_requests=GEARS_ONGOING * max(largest, LEAST_GEAR),
        ray_actor_options={"num_cpus": args.replica_cpus, "resources": {"NPU": 1}},
        # Answered from the lane's heartbeat, so a short period costs next to nothing.
        health_check_period_s=5,
        health_check_timeout_s=10,
        logging_config=SERVE_LOGGING,
        **options,
    )(AscendModel)
    # Replicas get the settings themselves, not `Args`: what Serve makes of a fault is the builder's business. Without
    # defaults, because what the user said is judged otherwise than what was left out.
    config = AppConfig.model_validate(args.model_dump(exclude_unset=True))
    app: serve.Application = deployment.bind(config, served)
    return app


def _served(args: AppConfig) -> Served:
    """What replicas are told."""
    if args.om is not None:
        artifacts = _ready_made(args.om, args)
        remedy = "Give an .om for it in args.om"
    else:
        store = Store.lasting(args.store or env.store_url())
        artifacts = _from_recipe(args, store)
        remedy = f"Compile it: {_compile_command(args, 'SOC', store)}, then deploy again"
    specs = [artifact.spec for artifact in artifacts.values()]
    return Served(args.name or specs[0].name, artifacts, remedy)


def _ready_made(om: Path | dict[str, Path], args: AppConfig) -> dict[str, Artifact]:
    paths = om if isinstance(om, dict) else {ANY_SOC: om}
    return {
        soc: ready_made(path.absolute(), args.name or path.stem, args.batched) for soc, path in paths.items()
    }


def _from_recipe(args: AppConfig, store: Store) -> dict[str, Artifact]:
    assert args.recipe is not None, "AppConfig lets exactly one of recipe and om through"
    recipe = load_recipe(args.recipe.absolute())
    socs = list(dict.fromkeys([*recipe.targets, *args.targets, *cluster_socs()]))
    if not socs and not env.acl_installed():
        raise AclMissing("no node of the cluster names an NPU, and there is no such module here")
    if not socs:
        raise ConfigError(
            f"no SoC to serve '{recipe.name}' on: no node of the cluster names one (label ray.io/accelerator-type, "
            "which Ray sets where pyACL finds a device) and neither the recipe nor args.targets lists one"
        )
    if args.compile == "never":
        return {soc: _stored(recipe, soc, store, args) for soc in socs}
    results = compile_recipes([recipe], socs, store, retry_failed=args.retry_failed)
    if causes := [result.cause for result in results if result.cause is not None]:
        raise CompileError("; ".join(causes))
    return {result.soc: result.artifact for result in results if result.artifact is not None}


def _stored(recipe: CompileRecipe, soc: str, store: Store, args: AppConfig) -> Artifact:
    artifact = stored(prepare(recipe, soc, store), store)
    if artifact is None:
        raise ArtifactMissing(
            f"'{recipe.name}' is not compiled for {soc} in {store.url}, and args.compile is 'never': run "
            f"{_compile_command(args, soc, store)}"
        )
    return artifact


def _compile_command(args: AppConfig, soc: str, store: Store) -> str:
    return f"python -m compile_jobs {args.recipe} --soc {soc} --store {store.url}"

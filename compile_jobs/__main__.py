"""`python -m compile_jobs RECIPE --soc …`: compile one recipe for several SoCs, in parallel, never twice."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import ray
from rich.console import Console

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import prepare, stored
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc
from compile_jobs.display import progress_of, show_results
from compile_jobs.tasks import TargetResult, cluster_socs, compile_targets

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130


@click.command(name="python -m compile_jobs", context_settings={"max_content_width": 100})
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--soc",
    "socs",
    multiple=True,
    help="SoC to compile for, such as Ascend310P3; may be given several times. "
    "[default: the recipe's targets, else those of the cluster's nodes]",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the artifact store. [default: $ASCEND_SERVE_STORE, else ~/.cache/ascend_serve/artifacts]",
)
@click.option("--atc", help="The atc to compile with. [default: $ASCEND_SERVE_ATC, else searched for]")
@click.option("--retry-failed", is_flag=True, help="Build again what failed before.")
def main(
    recipe: Path, socs: tuple[str, ...], store: Path | None, atc: str | None, retry_failed: bool
) -> None:
    """Compile RECIPE for several SoCs, as parallel Ray tasks.

    Uses the Ray cluster that RAY_ADDRESS names, else starts one on this machine for as long as it takes. Ends
    with status 0 when every target is there, 1 when a build failed, 2 when nothing could be started.
    """
    try:
        results = _compile(recipe, socs, store or env.store_root(), atc, retry_failed)
    except (AscendServeError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_WRONG)
    except KeyboardInterrupt:
        click.echo("interrupted: what was not finished is not in the store", err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(_FAILED if any(result.outcome == "failed" for result in results) else 0)


def _compile(
    path: Path, asked: tuple[str, ...], store: Path, atc: str | None, retry_failed: bool
) -> list[TargetResult]:
    console = Console()
    recipe = load_recipe(path)
    socs = list(dict.fromkeys(resolve_soc(soc).name for soc in asked)) or list(recipe.targets)
    results = _all_stored(recipe, socs, Store(store), atc) if env.ray_address() is None else []
    if not results:
        results = _compile_on_ray(recipe, socs, store, atc, retry_failed, console)
    show_results(console, results)
    return results


def _all_stored(recipe: CompileRecipe, socs: list[str], store: Store, atc: str | None) -> list[TargetResult]:
    """Results without starting Ray, when the builds would run on this machine and all are there; else none.

    It also finds what is wrong with this machine before Ray takes its seconds to start.
    """
    results = []
    for soc in socs:
        began = time.monotonic()
        artifact = stored(prepare(recipe, soc, atc=atc), store)
        if artifact is not None:
            results.append(TargetResult(recipe.name, soc, "cached", time.monotonic() - began, artifact))
    return results if len(results) == len(socs) else []


def _compile_on_ray(
    recipe: CompileRecipe, socs: list[str], store: Path, atc: str | None, retry_failed: bool, console: Console
) -> list[TargetResult]:
    with _ray():
        socs = socs or cluster_socs()
        if not socs:
            raise ConfigError(
                f"recipe '{recipe.name}': no SoC to compile for: give --soc, or `targets` in the "
                "recipe; no node of the cluster reports one"
            )
        with progress_of(console, recipe.name, socs) as progress:
            return compile_targets(recipe, socs, store, atc=atc, retry_failed=retry_failed, progress=progress)


@contextmanager
def _ray() -> Iterator[None]:
    """A connection to the cluster of RAY_ADDRESS, or a quiet cluster of our own, gone at the end."""
    address = env.ray_address()
    local = {} if address else {"include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **local,  # type: ignore[arg-type]  # a cluster that runs already refuses this one
        )
    except ConnectionError as error:
        raise ConfigError(f"RAY_ADDRESS is {address}, where no Ray cluster answers: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()

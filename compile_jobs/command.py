"""The command of `python -m compile_jobs` and of `ascend-serve compile`."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import click
import orjson
import ray
from ray.exceptions import AuthenticationError
from rich.console import Console

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.parameters import read_settings
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.display import as_json, progress_on, show_results
from compile_jobs.exports import check_outputs, export
from compile_jobs.jobs import AUTO, TargetResult, jobs_of
from compile_jobs.tasks import compile_recipes, found

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_CONNECT_TIMEOUT_S = 10.0


@click.command(name="compile", context_settings={"max_content_width": 110})
@click.argument("recipes", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--soc",
    "socs",
    multiple=True,
    metavar="SOC",
    help="SoC to compile for, such as Ascend310P3; may be given several times. `auto`: those that the cluster's nodes "
    "name, and those that each recipe lists. [default: auto]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of a recipe's parameter; may be given several times.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Folder or URL of the artifact store. [default: $ASCEND_SERVE_STORE, else ~/.cache/ascend_serve/artifacts]",
)
@click.option(
    "--atc",
    metavar="PROGRAM",
    help="The atc to compile with. [default: $ASCEND_SERVE_ATC, else searched for]",
)
@click.option("--retry-failed", is_flag=True, help="Build again what failed before.")
@click.option("--skip-preflight", is_flag=True, help="Leave it to ATC to find what is wrong with a model.")
@click.option("--json", "json", is_flag=True, help="Print the results as JSON; progress goes to stderr.")
def command(
    recipes: tuple[Path, ...],
    socs: tuple[str, ...],
    settings: tuple[str, ...],
    store: str | None,
    atc: str | None,
    retry_failed: bool,
    skip_preflight: bool,
    json: bool,
) -> None:
    """Compile RECIPES for several SoCs, as parallel Ray tasks.

    Uses the Ray cluster that RAY_ADDRESS names, else starts one on this machine for as long as it takes. Ends
    with status 0 when every target is there, 1 when one is not, 2 when nothing could be started.
    """
    # Progress is for people; with --json stdout belongs to a program.
    console = Console(file=sys.stderr if json else sys.stdout)
    try:
        read = [load_recipe(path, read_settings(settings)) for path in recipes]
        check_outputs(read)
        where = Store.lasting(store or env.store_url())
        # Ray prints what befalls its workers to stdout.
        with redirect_stdout(sys.stderr):
            results = _compile(read, socs or (AUTO,), where, atc, retry_failed, skip_preflight, console)
        faults = export(results)
    except (AscendServeError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(_WRONG)
    except KeyboardInterrupt:
        click.echo("interrupted: what was not finished is not in the store", err=True)
        sys.exit(_INTERRUPTED)
    if json:
        click.echo(orjson.dumps(as_json(results), option=orjson.OPT_INDENT_2))
    else:
        show_results(console, results)
    for fault in faults:
        click.echo(f"error: {fault}", err=True)
    sys.exit(_FAILED if faults or any(result.outcome == "failed" for result in results) else 0)


def _compile(
    recipes: list[CompileRecipe],
    socs: Sequence[str],
    store: Store,
    atc: str | None,
    retry_failed: bool,
    skip_preflight: bool,
    console: Console,
) -> list[TargetResult]:
    if AUTO not in socs and env.ray_address() is None:
        # The builds would run on this machine; when all are there, Ray need not take its seconds to start.
        jobs = jobs_of(recipes, socs, ())
        results = found(jobs, store, atc)
        if len(results) == len(jobs):
            return [results[number] for number in range(len(jobs))]
    with _ray(), progress_on(console) as progress:
        return compile_recipes(
            recipes,
            socs,
            store,
            atc=atc,
            retry_failed=retry_failed,
            skip_preflight=skip_preflight,
            progress=progress,
        )


@contextmanager
def _ray() -> Iterator[None]:
    """The connection there is, or one to the cluster of RAY_ADDRESS, or a quiet cluster of our own, gone at the end."""
    if ray.is_initialized():
        yield
        return
    address = env.ray_address()
    if address is not None:
        _check_address(address)
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
    except AuthenticationError as error:
        first = " ".join(str(error).split())
        raise ConfigError(f"Ray's token authentication refuses this user: {first}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """See that Ray could connect; by itself it would try for many minutes."""
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS is {address}: progress does not pass through Ray Client, and an http address is for "
            "`ray job submit`: submit this command as a job, or give HOST:PORT of the cluster's head, or `auto`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # `auto` and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ConfigError(
            f"RAY_ADDRESS is {address}, where no Ray cluster answers ({error}): give HOST:PORT of the head, or unset "
            "it to use a cluster of this machine alone"
        ) from error

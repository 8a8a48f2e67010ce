"""Copies of artifacts where their recipes want them too: the field `output`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path

from ascend_serve.artifacts.store import Artifact
from ascend_serve.errors import AscendServeError, ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from compile_jobs.jobs import TargetResult


def check_outputs(recipes: Sequence[CompileRecipe]) -> None:
    """See that no recipe would overwrite what another puts out.

    Raises:
        ConfigError: two of them have one `output`; the message names both.
    """
    places = {id(recipe): normpath(recipe.output) for recipe in recipes if recipe.output is not None}
    for output, times in Counter(places.values()).items():
        if times > 1:
            names = ", ".join(recipe.name for recipe in recipes if places.get(id(recipe)) == output)
            raise ConfigError(
                f"output {output} is that of {times} recipes ({names}): give each one of its own"
            )


def export(results: Sequence[TargetResult]) -> list[str]:
    """Copy the artifacts of recipes with an `output`; with several SoCs each name tells its own.

    Returns:
        What could not be copied, and why; what can be is.
    """
    faults = []
    for result in results:
        recipe = result.job.recipe
        if recipe.output is None or result.artifact is None:
            continue
        stem = Path(recipe.output)
        several = sum(other.job.recipe == recipe for other in results) > 1
        to = stem.with_name(f"{stem.name}_{result.soc}.om" if several else f"{stem.name}.om")
        try:
            _copy(result.artifact, to)
        except (AscendServeError, OSError) as error:
            faults.append(f"{result.job.label}: cannot be copied to {to} (`output`): {error}")
    return faults


def _copy(artifact: Artifact, to: Path) -> None:
    om = artifact.fetch()
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(om, to)
    for file in artifact.manifest.files[1:] if artifact.manifest else ():
        beside = to.parent / file.name
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(om.parent / file.name, beside)

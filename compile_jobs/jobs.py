"""What is to be built: each recipe for each of its SoCs, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ascend_serve.artifacts.store import Artifact
from ascend_serve.compiling.build import Step
from ascend_serve.compiling.sources import external_files
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import resolve_soc

AUTO = "auto"
"""Stands for the SoCs that the cluster's nodes name, together with those that the recipe lists."""

_LEAST_MEMORY = 1 << 30
_MEMORY_PER_BYTE = 4


@dataclass(frozen=True, slots=True)
class Job:
    """One build.

    Attributes:
        recipe: what to compile, with absolute paths.
        soc: the target.
        source_bytes: size of the model's files as far as this machine sees them.
    """

    recipe: CompileRecipe
    soc: str
    source_bytes: int = 0

    @property
    def label(self) -> str:
        """What it is called in a terminal."""
        return f"{self.recipe.name}@{self.soc}"

    @property
    def memory_bytes(self) -> int:
        """Memory to ask Ray for: the recipe's, else what a build of a model of that size was seen to need."""
        if self.recipe.memory_bytes is not None:
            return self.recipe.memory_bytes
        return _LEAST_MEMORY + _MEMORY_PER_BYTE * self.source_bytes

    @property
    def expected_work(self) -> int:
        """Something that grows as the time of the build does: ATC compiles the whole graph once for each gear."""
        return self.source_bytes * max(1, len(self.recipe.gear_sizes))


@dataclass(frozen=True, slots=True)
class JobStep:
    """A job is at its next step.

    Attributes:
        step: `queued` until there are CPUs for its task, `starting`, then the steps of `compiling.build`; `requeued`
            when its node was lost, and it shall start again on another.
    """

    step: Literal["queued", "starting", "requeued"] | Step


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What became of one job.

    Attributes:
        job: what was to be built.
        outcome: `built` now, `cached` in the store already (or built meanwhile by another), or `failed`.
        seconds: how long it took, from the start of its task.
        artifact: the artifact, unless it failed.
        error: why it failed; `BuildFailed` has the code, operator, node and log in parts.
    """

    job: Job
    outcome: Literal["built", "cached", "failed"]
    seconds: float
    artifact: Artifact | None = None
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.job.recipe.name

    @property
    def soc(self) -> str:
        """The target."""
        return self.job.soc

    @property
    def cause(self) -> str | None:
        """Why it failed, in one line."""
        return None if self.error is None else " ".join(str(self.error).split())


Progress = Callable[["Job", "JobStep | TargetResult"], None]


def jobs_of(recipes: Sequence[CompileRecipe], asked: Sequence[str], in_cluster: Sequence[str]) -> list[Job]:
    """Every recipe for every SoC it is wanted for, each once.

    Args:
        recipes: with absolute paths.
        asked: names of SoCs, `AUTO` among them or alone.
        in_cluster: SoCs that the cluster's nodes name; node groups scaled to zero have no label, so a recipe may list
            more.

    Raises:
        ConfigError: an unknown SoC, or none at all for a recipe.
    """
    jobs: list[Job] = []
    for recipe in recipes:
        automatic = [*in_cluster, *recipe.targets] if AUTO in asked else []
        named = [soc for soc in asked if soc != AUTO] + automatic
        socs = list(dict.fromkeys(resolve_soc(soc).name for soc in named))
        if not socs:
            raise ConfigError(
                f"recipe '{recipe.name}': no SoC to compile for: give --soc, or `targets` in the recipe; no node of "
                "the cluster names one"
            )
        size = _source_bytes(recipe)
        jobs += [job for job in (Job(recipe, soc, size) for soc in socs) if job not in jobs]
    return jobs


def _source_bytes(recipe: CompileRecipe) -> int:
    """Size of the files that hold a recipe's model; 0 where this machine cannot read them: its task will tell why."""
    source = Path(recipe.source)
    files = [Path(recipe.weight)] if recipe.weight else []
    try:
        if source.is_dir():
            files += [file for file in source.rglob("*") if file.is_file()]
        else:
            beside = external_files(source) if recipe.framework_of() == "onnx" else []
            files += [source, *(source.parent / name for name in beside)]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0

"""One build, not yet run: the tools and keys that decide its result, and whether the store holds that already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ascend_serve import env
from ascend_serve.artifacts.store import Artifact, Bank, Store
from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.recipes import anchored
from ascend_serve.compiling.toolchain import check_one_kind, find_atc, fingerprint
from ascend_serve.compiling.tuning import tuning_key
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc, resolve_soc


@dataclass(frozen=True, slots=True)
class Build:
    """One build, not yet run: everything that decides its result.

    Attributes:
        recipe: what to compile, with absolute paths.
        soc: the target.
        atc: the program that will compile it.
        key: what the store files the result under; empty until a model to be tuned is.
        tuning_key: what the store files the knowledge bank under; empty when nothing is tuned.
        bank: the knowledge bank, once there is one.
    """

    recipe: CompileRecipe
    soc: Soc
    atc: Path
    key: str
    tuning_key: str = ""
    bank: Bank | None = None

    @property
    def label(self) -> str:
        """What it is called, for people."""
        return f"{self.recipe.name}@{self.soc.name}"


def prepare(recipe: CompileRecipe, soc: str, store: Store, *, atc: str | Path | None = None) -> Build:
    """Find the tools and compute the key; raises as `compile_target` does, and builds nothing."""
    target = resolve_soc(soc)
    recipe = anchored(recipe, Path.cwd())
    build = Build(recipe, target, find_atc(atc), "")
    if recipe.tune is not None:
        key = tuning_key(recipe, target, fingerprint(build.atc), env.build_influences())
        build = replace(build, tuning_key=key, bank=store.bank(key))
    return keyed(build)


def stored(build: Build, store: Store) -> Artifact | None:
    """What the store already holds of a build, or None; what is not all there is none, and is built again.

    Raises:
        ToolchainMismatch: it does, and the installed `acl` is of another kind.
    """
    artifact = store.get_whole(build.key) if build.key else None
    if artifact is not None:
        check_one_kind(artifact.toolchain, build.atc)
    return artifact


def keyed(build: Build) -> Build:
    """The build with its key, computed from its files as they are now; without one until a model to be tuned is."""
    if build.tuning_key and build.bank is None:
        return build
    bank = build.bank.digest if build.bank else ""
    key = artifact_key(build.recipe, build.soc, fingerprint(build.atc), env.build_influences(), bank)
    return replace(build, key=key)

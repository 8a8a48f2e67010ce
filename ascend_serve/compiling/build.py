"""Compiles one target: from a recipe and a SoC to an artifact in the store.

Nothing is published that was not read back: the file must be whole, of the SoC asked for, with the inputs and
gears of the recipe. A failure is kept under its key with its diagnosis, because what failed once fails again under
the same circumstances, however often it is deployed.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ascend_serve import env
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.om import Om
from ascend_serve.artifacts.store import Artifact, Failure, Store, read_om_file, sha256
from ascend_serve.compiling.atc import arguments, compiled_shapes
from ascend_serve.compiling.diagnose import Diagnosis, diagnose
from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.process import run
from ascend_serve.compiling.recipes import anchored
from ascend_serve.compiling.toolchain import check_one_kind, find_atc, fingerprint
from ascend_serve.errors import BuildFailed, ConfigError, NotAnOm
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc, resolve_soc

_SUCCESS = "ATC run success"
_RETRY = "Kept from {at}: correct the cause, or build again with --retry-failed (retry_failed=True)"


@dataclass(frozen=True, slots=True)
class Build:
    """One build, not yet run: everything that decides its result.

    Attributes:
        recipe: what to compile, with absolute paths.
        soc: the target.
        atc: the program that will compile it.
        key: what the store files the result under.
    """

    recipe: CompileRecipe
    soc: Soc
    atc: Path
    key: str


def compile_target(
    recipe: CompileRecipe,
    soc: str,
    store: Store,
    *,
    atc: str | Path | None = None,
    retry_failed: bool = False,
) -> Artifact:
    """The artifact of a recipe for one SoC: from the store, or built and put there.

    Args:
        recipe: what to compile; relative paths start at the working directory.
        soc: the target, such as `Ascend310P3`.
        store: where artifacts are.
        atc: the program to compile with; None looks for it (`toolchain.find_atc`).
        retry_failed: build again what failed before.

    Raises:
        ConfigError: an unknown SoC, or a source that does not exist.
        ToolMissing: there is no `atc`.
        ToolchainMismatch: `atc` and the installed `acl` are not of one kind.
        BuildFailed: `atc` said no, now or, without `retry_failed`, earlier.
        CompileError: `atc` cannot be run at all.
    """
    build = prepare(recipe, soc, atc=atc)
    return stored(build, store) or run_build(build, store, retry_failed=retry_failed)


def prepare(recipe: CompileRecipe, soc: str, *, atc: str | Path | None = None) -> Build:
    """Find the tools and compute the key; raises as `compile_target` does, and builds nothing."""
    target = resolve_soc(soc)
    recipe = anchored(recipe, Path.cwd())
    program = find_atc(atc)
    key = artifact_key(recipe, target, fingerprint(program), env.build_influences())
    return Build(recipe, target, program, key)


def stored(build: Build, store: Store) -> Artifact | None:
    """What the store already holds of a build, or None.

    Raises:
        ToolchainMismatch: it does, and the installed `acl` is of another kind.
    """
    artifact = store.get(build.key)
    if artifact is not None:
        check_one_kind(artifact.toolchain, build.atc)
    return artifact


def run_build(build: Build, store: Store, *, retry_failed: bool = False) -> Artifact:
    """Run a build and publish its result; raises as `compile_target` does."""
    earlier = None if retry_failed else store.failure(build.key)
    if earlier is not None and earlier.circumstances == _circumstances(build):
        raise BuildFailed(
            earlier.cause,
            target=build.soc.name,
            code=earlier.code,
            hint=f"{_ended(earlier.hint)}{_RETRY.format(at=earlier.at)}",
            log_path=earlier.log_path,
        )
    recipe = build.recipe
    with tempfile.TemporaryDirectory(prefix="ascend-serve-") as folder:
        scratch = Path(folder)
        log = scratch / "atc.log"
        # ATC drops files of fixed names into its working directory, so each build has its own (facts: ATC §2.8).
        (scratch / "cwd").mkdir()
        stem = scratch / "out" / recipe.name
        stem.parent.mkdir()
        began = time.monotonic()
        status = run(
            [str(build.atc), *arguments(recipe, build.soc, recipe.source, str(stem))],
            cwd=scratch / "cwd",
            log=log,
            timeout_s=recipe.timeout_s,
        )
        seconds = time.monotonic() - began
        outcome = _outcome(build, status, log, stem)
        if isinstance(outcome, Diagnosis):
            raise _failed(build, store, log, outcome)
        path, om, spec = outcome
        check_one_kind(om.toolchain, build.atc)
        manifest = Manifest(
            key=build.key,
            soc=build.soc.name,
            toolchain=om.toolchain,
            sha256=sha256(path),
            size_bytes=path.stat().st_size,
            spec=spec,
            recipe=recipe.model_dump(mode="json"),
            seconds=round(seconds, 3),
            created=_now(),
        )
        return store.publish(path, manifest)


def _outcome(
    build: Build, status: int | None, log: Path, stem: Path
) -> Diagnosis | tuple[Path, Om, ModelSpec]:
    """What a run of ATC came to: the file, what it says and its signature, or why there is none."""
    recipe = build.recipe
    output = log.read_text(encoding="utf-8", errors="replace")
    if status != 0 or _SUCCESS not in output:
        return diagnose(output, status, recipe.timeout_s)
    path = _result(stem)
    if path is None:
        return Diagnosis(f"atc reported success and left no {stem.name}.om")
    try:
        om = read_om_file(path)
        if difference := _difference(om, build):
            return Diagnosis(f"atc reported success and compiled something else: {difference}")
        return path, om, om.model_spec(recipe.name, batched=recipe.batched)
    except NotAnOm as error:
        return Diagnosis(f"atc reported success and left a file that is {error}")
    except ConfigError as error:
        return Diagnosis(f"the compiled model cannot be served: {error}")


def _result(stem: Path) -> Path | None:
    """The file ATC wrote: `<stem>.om`, or `<stem>_<os>_<cpu>.om` for a model with open shapes."""
    plain = stem.with_name(f"{stem.name}.om")
    candidates = [plain, *sorted(stem.parent.glob(f"{stem.name}_*_*.om"))]
    return next((path for path in candidates if path.is_file()), None)


def _difference(om: Om, build: Build) -> str:
    """Where a compiled model departs from its recipe, or an empty string."""
    recipe = build.recipe
    if om.soc and om.soc != build.soc.name:
        return f"it is for {om.soc}"
    gears = recipe.gears if len(recipe.gears) > 1 else ()
    if om.gears != gears:
        return f"it has the gears {list(om.gears)}, asked for were {list(gears)}"
    shapes = {tensor.name: tensor.dims for tensor in om.inputs}
    asked = compiled_shapes(recipe)
    if asked and shapes != asked:
        return f"its inputs are {_shown(shapes)}, asked for were {_shown(asked)}"
    return ""


def _shown(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))


def _failed(build: Build, store: Store, log: Path, diagnosis: Diagnosis) -> BuildFailed:
    """Keep a failure and turn it into the exception to raise."""

    def describe(kept: str) -> Failure:
        return Failure(
            diagnosis.cause,
            diagnosis.code,
            diagnosis.hint,
            log_path=kept,
            at=_now(),
            circumstances=_circumstances(build),
        )

    failure = store.keep_failure(build.key, log, describe)
    return BuildFailed(
        failure.cause,
        target=build.soc.name,
        code=failure.code,
        hint=failure.hint,
        log_path=failure.log_path,
    )


def _circumstances(build: Build) -> dict[str, str]:
    """What may make a build fail here and now, and is in no key because it changes no model."""
    return {
        "atc": str(build.atc),
        "ASCEND_HOME_PATH": str(env.cann_root() or ""),
        "timeout_s": f"{build.recipe.timeout_s:g}",
    }


def _ended(sentence: str | None) -> str:
    return f"{sentence.rstrip('.')}. " if sentence else ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

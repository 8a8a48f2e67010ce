"""Compiles one target: from a recipe and a SoC to an artifact in the store.

Nothing is published that was not read back: the file must be whole, of the SoC asked for, with the inputs and
gears of the recipe. Of several builds of one key at a time, wherever they run, one builds and the others wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ascend_serve import env
from ascend_serve.artifacts.files import describe_file
from ascend_serve.artifacts.locks import Lock, pause
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.om.report import report
from ascend_serve.artifacts.store import Artifact, Store
from ascend_serve.compiling.atc import arguments
from ascend_serve.compiling.diagnosis.diagnose import Diagnosis
from ascend_serve.compiling.failures import kept, refuse_known
from ascend_serve.compiling.outcome import outcome, result_files, served_as, warned
from ascend_serve.compiling.preflight import preflight
from ascend_serve.compiling.prepared import Build, keyed, prepare, stored
from ascend_serve.compiling.process import run
from ascend_serve.compiling.scratch import scratch
from ascend_serve.compiling.sources import input_order, prepared_source
from ascend_serve.compiling.toolchain import check_one_kind
from ascend_serve.compiling.tuning import AOE_LOG, bank_environment, bank_options, find_aoe, tune
from ascend_serve.errors import ConfigError, PreflightFailed, VerificationFailed
from ascend_serve.spec import aipp
from ascend_serve.spec.recipe import CompileRecipe

__all__ = ["Build", "Gate", "Step", "Steps", "compile_target", "prepare", "run_build", "stored"]

_DEPARTS = "`ascend-serve verify RECIPE --bisect` finds the operator; the bounds are in the recipe's `verify`"

Step = Literal["waiting", "tuning", "compiling", "verifying"]
"""What a build is at: `waiting` for another build of the same, or at work."""

Steps = Generator[Step, None, Artifact]

Gate = Callable[[CompileRecipe, Path], dict[str, Any]]
"""Compares a compiled model with its source: gives a report, or raises `VerificationFailed`."""


def compile_target(
    recipe: CompileRecipe,
    soc: str,
    store: Store,
    *,
    atc: str | Path | None = None,
    retry_failed: bool = False,
    skip_preflight: bool = False,
    gate: Gate | None = None,
) -> Artifact:
    """The artifact of a recipe for one SoC: from the store, or built and put there.

    Args:
        recipe: what to compile; relative paths start at the working directory.
        soc: the target, such as `Ascend310P3`.
        store: where artifacts are.
        atc: the program to compile with; None looks for it (`toolchain.find_atc`).
        retry_failed: build again what failed before.
        skip_preflight: leave it to ATC to find what is wrong with the model.
        gate: what a recipe with `verify` is verified by (`ascend_serve.verifying.gate`).

    Raises:
        ConfigError: an unknown SoC, a source that does not exist, or a recipe with `verify` and no gate.
        ToolMissing: there is no `atc`, or no `aoe` for a recipe with `tune`.
        ToolchainMismatch: `atc` and the installed `acl` are not of one kind.
        PreflightFailed: the model and the recipe cannot become a compiled model.
        BuildFailed: `atc` said no, now or, without `retry_failed`, earlier.
        VerificationFailed: the compiled model departs from its source.
        CompileError: `atc` cannot be run at all.
    """
    build = prepare(recipe, soc, store, atc=atc)
    artifact = stored(build, store)
    if artifact is not None:
        return artifact
    steps = run_build(build, store, retry_failed=retry_failed, skip_preflight=skip_preflight, gate=gate)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            built: Artifact = end.value
            return built


def run_build(
    build: Build,
    store: Store,
    *,
    retry_failed: bool = False,
    skip_preflight: bool = False,
    gate: Gate | None = None,
) -> Steps:
    """Run a build and publish its result; raises as `compile_target` does.

    Yields:
        Each step as it begins. The generator's value is the artifact: of this build, or of the one it waited for.
    """
    if build.recipe.verify is not None and gate is None:
        raise ConfigError(
            f"recipe '{build.recipe.name}' is to be verified before it is published, which needs a card and a gate: "
            "use `ascend-serve compile`, or pass gate=ascend_serve.verifying.gate"
        )
    if not skip_preflight:
        _preflight(build)
    if build.tuning_key and build.bank is None:
        build = yield from _tuned(build, store, retry_failed)
    lock = store.lock(build.key)
    try:
        yield from _taken(lock)
        # Who waited may find it built, and who came late too: between the look and the lock there is time.
        artifact = stored(build, store)
        if artifact is None:
            if not retry_failed:
                refuse_known(build, build.key, store)
            artifact = yield from _build(build, store, gate)
        return artifact
    finally:
        lock.release()


def _taken(lock: Lock) -> Generator[Step, None, None]:
    """Take a lock, after as long as another build of the same needs."""
    if not lock.try_acquire():
        yield "waiting"
        while not lock.try_acquire():
            pause(lock.poll_s)


def _build(build: Build, store: Store, gate: Gate | None) -> Steps:
    recipe = build.recipe
    with scratch() as folder:
        log = folder / "atc.log"
        # ATC drops files of fixed names into its working directory, so each build has its own (facts: ATC §2.8).
        (folder / "cwd").mkdir()
        stem = folder / "out" / recipe.name
        stem.parent.mkdir()
        source = prepared_source(recipe, folder)
        yield "compiling"
        began = time.monotonic()
        status = run(
            [
                str(build.atc),
                *arguments(_as_built(build, source, folder), build.soc.name, str(source), str(stem)),
            ],
            cwd=folder / "cwd",
            log=log,
            timeout_s=recipe.timeout_s,
            environment=_environment(build),
        )
        seconds = time.monotonic() - began
        result = outcome(recipe, build.soc, status, log, stem)
        if isinstance(result, Diagnosis):
            raise kept(build, build.key, store, log, result)
        _refuse_changed_files(build)
        om_path, om = result
        check_one_kind(om.toolchain, build.atc)
        verification = None
        if gate is not None and recipe.verify is not None:
            yield "verifying"
            try:
                verification = gate(recipe, om_path)
            except VerificationFailed as error:
                departs = Diagnosis(str(error), hint=_DEPARTS)
                kept(build, build.key, store, log, departs)
                raise VerificationFailed(f"{str(error).rstrip('.')}. {_DEPARTS}") from error
        files = result_files(recipe, om_path)
        spec, unservable = served_as(om, recipe)
        manifest = Manifest(
            key=build.key,
            name=recipe.name,
            soc=build.soc.name,
            toolchain=om.toolchain,
            files=tuple(describe_file(path, name) for name, path in files.items()),
            spec=spec,
            unservable=unservable,
            origin="built",
            recipe=recipe.model_dump(mode="json", exclude_defaults=True),
            seconds=round(seconds, 3),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            verification=verification,
            # A store keeps the banks that its artifacts name here.
            details=report(om) | {"warnings": warned(log), "bank": build.tuning_key},
        )
        return store.publish(files, manifest)


def _refuse_changed_files(build: Build) -> None:
    """See that what was compiled is what the key tells of: builds wait for others, and last."""
    if keyed(build).key != build.key:
        raise ConfigError(
            f"{build.label}: its model, or a file that the recipe names, changed while it was compiled, so nothing "
            "was published: compile it again"
        )


def _tuned(build: Build, store: Store, retry_failed: bool) -> Generator[Step, None, Build]:
    """The build with its knowledge bank: from the store, or made now."""
    assert build.recipe.tune is not None
    lock = store.lock(build.tuning_key)
    try:
        yield from _taken(lock)
        bank = store.bank(build.tuning_key)
        if bank is None:
            if not retry_failed:
                refuse_known(build, build.tuning_key, store)
            yield "tuning"
            with scratch() as folder:
                source = prepared_source(build.recipe, folder)
                limit_s = build.recipe.tune.timeout_s
                made = tune(build.recipe, build.soc, source, folder, aoe=find_aoe(), timeout_s=limit_s)
                if isinstance(made, Diagnosis):
                    raise kept(build, build.tuning_key, store, folder / AOE_LOG, made)
                bank = store.keep_bank(build.tuning_key, made)
    finally:
        lock.release()
    return keyed(replace(build, bank=bank))


def _preflight(build: Build) -> None:
    findings = preflight(build.recipe, build.soc).errors
    if findings:
        raise PreflightFailed(
            build.label,
            tuple(
                f"{finding.code}: {finding.text}" if finding.code else finding.text for finding in findings
            ),
        )


def _as_built(build: Build, source: Path, scratch: Path) -> CompileRecipe:
    """The recipe with what this build adds: the AIPP file, the knowledge bank, and a log that tells of errors."""
    changes: dict[str, Any] = {}
    if build.recipe.aipp:
        file = scratch / "aipp.cfg"
        file.write_text(aipp.render(build.recipe.aipp, input_order(build.recipe, source)), encoding="utf-8")
        changes["insert_op_conf"] = str(file)
    if build.bank is not None:
        changes |= bank_options(build.recipe, build.bank.fetch())
    if build.recipe.log is None:
        changes["log"] = "error"
    return build.recipe.model_copy(update=changes)


def _environment(build: Build) -> dict[str, str]:
    """Variables for `atc`: as many compile workers as Ray was asked CPUs for, and the knowledge bank."""
    # Eight workers by default, each a process of its own.
    told = (
        {} if env.compile_workers() else {"TE_PARALLEL_COMPILER": str(max(1, round(build.recipe.num_cpus)))}
    )
    return told if build.bank is None else told | bank_environment(build.bank.fetch())

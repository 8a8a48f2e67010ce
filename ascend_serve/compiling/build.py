"""Compiles one target: from a recipe and a SoC to an artifact in the store.

Nothing is published that was not read back: the file must be whole, of the SoC asked for, with the inputs and
gears of the recipe. Of several builds of one key at a time, wherever they run, one builds and the others wait for it. A
failure is kept under its key with its diagnosis, because what failed once fails again under the same circumstances,
however often it is deployed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from ascend_serve import env
from ascend_serve.artifacts.files import describe_file
from ascend_serve.artifacts.locks import Lock, pause
from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.artifacts.om.report import report
from ascend_serve.artifacts.store import Artifact, Bank, Failure, Store
from ascend_serve.compiling.atc import arguments, compiled_shapes
from ascend_serve.compiling.diagnosis.diagnose import NO_FILE_HINT, Diagnosis, diagnose, warnings
from ascend_serve.compiling.key import artifact_key
from ascend_serve.compiling.preflight import preflight
from ascend_serve.compiling.process import run
from ascend_serve.compiling.recipes import anchored
from ascend_serve.compiling.sources import input_order, prepared_source
from ascend_serve.compiling.toolchain import check_one_kind, find_atc, fingerprint
from ascend_serve.compiling.tuning import AOE_LOG, bank_environment, bank_options, find_aoe, tune, tuning_key
from ascend_serve.errors import BuildFailed, ConfigError, NotAnOm, PreflightFailed, VerificationFailed
from ascend_serve.spec import aipp
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import OPEN, is_open
from ascend_serve.spec.soc import Soc, resolve_soc

_PREFIX = "ascend-serve-"
_SUCCESS = "ATC run success"
_RETRY = "Kept from {at}: correct the cause, or build again with --retry-failed (retry_failed=True)"

_DEPARTS = "`ascend-serve verify RECIPE --bisect` finds the operator; or widen the bounds under `verify`"

Step = Literal["waiting", "tuning", "compiling", "verifying"]
"""What a build is at: `waiting` for another build of the same, or at work."""

Steps = Generator[Step, None, Artifact]

Gate = Callable[[CompileRecipe, Path], dict[str, Any]]
"""Compares a compiled model with its source: gives a report, or raises `VerificationFailed`."""


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


def prepare(recipe: CompileRecipe, soc: str, store: Store, *, atc: str | Path | None = None) -> Build:
    """Find the tools and compute the key; raises as `compile_target` does, and builds nothing."""
    target = resolve_soc(soc)
    recipe = anchored(recipe, Path.cwd())
    build = Build(recipe, target, find_atc(atc), "")
    if recipe.tune is not None:
        key = tuning_key(recipe, target, fingerprint(build.atc), env.build_influences())
        build = replace(build, tuning_key=key, bank=store.bank(key))
    return _keyed(build)


def stored(build: Build, store: Store) -> Artifact | None:
    """What the store already holds of a build, or None.

    Raises:
        ToolchainMismatch: it does, and the installed `acl` is of another kind.
    """
    artifact = store.get(build.key) if build.key else None
    if artifact is not None:
        check_one_kind(artifact.toolchain, build.atc)
    return artifact


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
    yield from _taken(lock)
    try:
        # Who waited may find it built, and who came late too: between the look and the lock there is time.
        artifact = stored(build, store)
        if artifact is None:
            _refuse_known_failure(build, build.key, store, retry_failed)
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
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        scratch = Path(folder)
        log = scratch / "atc.log"
        # ATC drops files of fixed names into its working directory, so each build has its own (facts: ATC §2.8).
        (scratch / "cwd").mkdir()
        stem = scratch / "out" / recipe.name
        stem.parent.mkdir()
        source = prepared_source(recipe, scratch)
        yield "compiling"
        began = time.monotonic()
        status = run(
            [
                str(build.atc),
                *arguments(_as_built(build, source, scratch), build.soc.name, str(source), str(stem)),
            ],
            cwd=scratch / "cwd",
            log=log,
            timeout_s=recipe.timeout_s,
            environment=_environment(build),
        )
        seconds = time.monotonic() - began
        outcome = _outcome(build, status, log, stem)
        if isinstance(outcome, Diagnosis):
            raise _failed(build, build.key, store, log, outcome)
        _refuse_changed_files(build)
        om_path, om = outcome
        check_one_kind(om.toolchain, build.atc)
        verification = None
        if gate is not None and recipe.verify is not None:
            yield "verifying"
            try:
                verification = gate(recipe, om_path)
            except VerificationFailed as error:
                departs = Diagnosis(str(error), hint=_DEPARTS)
                _failed(build, build.key, store, log, departs)
                raise
        files = _result_files(recipe, om_path)
        spec, unservable = _served_as(om, recipe)
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
            created=_now(),
            verification=verification,
            # A store keeps the banks that its artifacts name here.
            details=report(om) | {"warnings": _warned(log), "bank": build.tuning_key},
        )
        return store.publish(files, manifest)


def _refuse_changed_files(build: Build) -> None:
    """See that what was compiled is what the key tells of: builds wait for others, and last."""
    if _keyed(build).key != build.key:
        raise ConfigError(
            f"{_label(build)}: its model, or a file that the recipe names, changed while it was compiled, so nothing "
            "was published: compile it again"
        )


def _keyed(build: Build) -> Build:
    if build.tuning_key and build.bank is None:
        return build
    bank = build.bank.digest if build.bank else ""
    key = artifact_key(build.recipe, build.soc, fingerprint(build.atc), env.build_influences(), bank)
    return replace(build, key=key)


def _tuned(build: Build, store: Store, retry_failed: bool) -> Generator[Step, None, Build]:
    """The build with its knowledge bank: from the store, or made now."""
    assert build.recipe.tune is not None
    lock = store.lock(build.tuning_key)
    yield from _taken(lock)
    try:
        bank = store.bank(build.tuning_key)
        if bank is None:
            _refuse_known_failure(build, build.tuning_key, store, retry_failed)
            yield "tuning"
            with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
                scratch = Path(folder)
                source = prepared_source(build.recipe, scratch)
                limit_s = build.recipe.tune.timeout_s
                made = tune(build.recipe, build.soc, source, scratch, aoe=find_aoe(), timeout_s=limit_s)
                if isinstance(made, Diagnosis):
                    raise _failed(build, build.tuning_key, store, scratch / AOE_LOG, made)
                bank = store.keep_bank(build.tuning_key, made)
    finally:
        lock.release()
    return _keyed(replace(build, bank=bank))


def _preflight(build: Build) -> None:
    findings = preflight(build.recipe, build.soc).errors
    if findings:
        raise PreflightFailed(
            _label(build),
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


def _outcome(build: Build, status: int | None, log: Path, stem: Path) -> Diagnosis | tuple[Path, Om]:
    """What a run of ATC came to: the file and what it says, or why there is none."""
    output = log.read_text(encoding="utf-8", errors="replace")
    if status != 0 or _SUCCESS not in output:
        return diagnose(output, status, build.recipe.timeout_s)
    path = _result(stem)
    if path is None:
        return Diagnosis(f"atc reported success and left no {stem.name}.om", hint=NO_FILE_HINT)
    try:
        om = read_om_file(path)
    except NotAnOm as error:
        return Diagnosis(f"atc reported success and left a file that is {error}")
    if difference := _difference(om, build):
        return Diagnosis(f"atc reported success and compiled something else: {difference}")
    return path, om


def _result(stem: Path) -> Path | None:
    """The file ATC wrote: `<stem>.om`, or `<stem>_<os>_<cpu>.om` for a model with open shapes."""
    plain = stem.with_name(f"{stem.name}.om")
    candidates = [plain, *sorted(stem.parent.glob(f"{stem.name}_*_*.om"))]
    return next((path for path in candidates if path.is_file()), None)


def _result_files(recipe: CompileRecipe, om: Path) -> dict[str, Path]:
    """The `.om` and what ATC wrote beside it (weights of `external_weight`), under the names they must keep."""
    folder = om.parent
    beside = sorted(file for file in folder.rglob("*") if file.is_file() and file != om)
    return {f"{recipe.name}.om": om} | {file.relative_to(folder).as_posix(): file for file in beside}


def _warned(log: Path) -> list[str]:
    """What ATC warned of although it succeeded."""
    told = warnings(log.read_text(encoding="utf-8", errors="replace"))
    return [f"{warning.code}: {warning.cause}" if warning.code else warning.cause for warning in told]


def _served_as(om: Om, recipe: CompileRecipe) -> tuple[Any, str]:
    """The signature under which a model is served, or None and why it cannot be."""
    try:
        return om.model_spec(recipe.name, batched=recipe.batched), ""
    except ConfigError as error:
        return None, str(error)


def _difference(om: Om, build: Build) -> str:
    """Where a compiled model departs from its recipe, or an empty string."""
    recipe = build.recipe
    if om.soc and resolve_soc(om.soc) != build.soc:
        return f"it is for {om.soc}"
    gears = recipe.gear_sizes if len(recipe.gear_sizes) > 1 else ()
    if sorted(om.gear_groups) != sorted(gears):
        return f"it has the gears {_lists(om.gear_groups)}, asked for were {_lists(gears)}"
    if recipe.aipp or recipe.insert_op_conf or recipe.is_input_adjust_hw_layout:
        return ""  # its inputs have another layout than the network's
    shapes = {tensor.name: tensor.dims for tensor in om.inputs}
    asked = {
        name: tuple(OPEN if is_open(dim) else int(dim) for dim in shape)
        for name, shape in compiled_shapes(recipe).items()
    }
    if any(shapes.get(name) != shape for name, shape in asked.items()):
        return f"its inputs are {_shown(shapes)}, asked for were {_shown(asked)}"
    return ""


def _lists(gears: tuple[tuple[int, ...], ...]) -> str:
    return str([gear[0] if len(gear) == 1 else list(gear) for gear in sorted(gears)])


def _shown(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))


def _refuse_known_failure(build: Build, key: str, store: Store, retry_failed: bool) -> None:
    earlier = None if retry_failed else store.failure(key)
    if earlier is not None and earlier.repeats and earlier.circumstances == _circumstances(build):
        hint = f"{_ended(earlier.hint)}{_RETRY.format(at=earlier.at)}"
        raise _raised(build, replace(earlier, hint=hint))


def _failed(build: Build, key: str, store: Store, log: Path, diagnosis: Diagnosis) -> BuildFailed:
    """Keep a failure under a key and turn it into the exception to raise."""

    def describe(kept: str) -> Failure:
        return Failure(
            cause=diagnosis.cause,
            code=diagnosis.code,
            operator=diagnosis.operator,
            node=diagnosis.node,
            hint=diagnosis.hint,
            reference=diagnosis.reference,
            log_path=kept,
            at=_now(),
            circumstances=_circumstances(build),
            target=_label(build),
            repeats=diagnosis.repeats,
        )

    return _raised(build, store.keep_failure(key, log, describe))


def _raised(build: Build, failure: Failure) -> BuildFailed:
    return BuildFailed(
        failure.cause,
        target=_label(build),
        code=failure.code,
        operator=failure.operator,
        node=failure.node,
        hint=failure.hint,
        reference=failure.reference,
        log_path=failure.log_path,
    )


def _label(build: Build) -> str:
    return f"{build.recipe.name}@{build.soc.name}"


def _circumstances(build: Build) -> dict[str, str]:
    """What may make a build fail here and now, and is in no key because it changes no model."""
    told = {
        "atc": str(build.atc),
        "ASCEND_HOME_PATH": str(env.cann_root() or ""),
        "timeout_s": f"{build.recipe.timeout_s:g}",
    }
    if build.recipe.tune is not None:
        told |= {"aoe": env.explicit_aoe() or "", "tune.timeout_s": f"{build.recipe.tune.timeout_s:g}"}
    return told


def _ended(sentence: str | None) -> str:
    return f"{sentence.rstrip('.')}. " if sentence else ""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

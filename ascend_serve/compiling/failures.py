"""Builds that failed: kept with their diagnosis, and not repeated as long as nothing changes.

What failed once fails again under the same circumstances, however often it is deployed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ascend_serve import env
from ascend_serve.artifacts.store import Failure, Store
from ascend_serve.compiling.diagnosis.diagnose import Diagnosis
from ascend_serve.compiling.prepared import Build
from ascend_serve.errors import BuildFailed

_RETRY = "Kept from {at}: correct the cause, or build again with --retry-failed (retry_failed=True)"


def refuse_known(build: Build, key: str, store: Store) -> None:
    """See that a build has not failed before under the circumstances of now.

    Args:
        build: what is to be built.
        key: what its failure would be kept under: the build's own, or that of its tuning.
        store: where failures are kept.

    Raises:
        BuildFailed: it has, and would again; the message says when it was.
    """
    earlier = store.failure(key)
    if earlier is not None and earlier.repeats and earlier.circumstances == _circumstances(build):
        hint = f"{_ended(earlier.hint)}{_RETRY.format(at=earlier.at)}"
        raise _raised(build, replace(earlier, hint=hint))


def kept(build: Build, key: str, store: Store, log: Path, diagnosis: Diagnosis) -> BuildFailed:
    """Keep a failure, and give the exception to raise.

    Args:
        build: what failed.
        key: what it is kept under: the build's own, or that of its tuning.
        store: where it is kept.
        log: the whole output; it is copied.
        diagnosis: what is wrong.
    """

    def describe(log_path: str) -> Failure:
        return Failure(
            cause=diagnosis.cause,
            code=diagnosis.code,
            operator=diagnosis.operator,
            node=diagnosis.node,
            hint=diagnosis.hint,
            reference=diagnosis.reference,
            log_path=log_path,
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            circumstances=_circumstances(build),
            target=build.label,
            repeats=diagnosis.repeats,
        )

    return _raised(build, store.keep_failure(key, log, describe))


def _raised(build: Build, failure: Failure) -> BuildFailed:
    return BuildFailed(
        failure.cause,
        target=build.label,
        code=failure.code,
        operator=failure.operator,
        node=failure.node,
        hint=failure.hint,
        reference=failure.reference,
        log_path=failure.log_path,
    )


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

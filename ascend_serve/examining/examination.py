"""All checks, in the order in which a person mends things: what is below comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ascend_serve.examining.checks.artifacts import check_artifacts
from ascend_serve.examining.checks.cluster import check_cluster, check_environment, check_fast_path
from ascend_serve.examining.checks.devices import check_devices, check_ids, check_memory, check_visible
from ascend_serve.examining.checks.driver import check_device_files, check_driver
from ascend_serve.examining.checks.toolkit import check_acl, check_atc, check_cann
from ascend_serve.examining.facts import Facts
from ascend_serve.examining.finding import Finding

CHECKS: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
    check_driver,
    check_device_files,
    check_cann,
    check_acl,
    check_atc,
    check_visible,
    check_ids,
    check_devices,
    check_memory,
    check_artifacts,
    check_environment,
    check_cluster,
    check_fast_path,
)


def examine(facts: Facts) -> list[Finding]:
    """Everything that the checks find, what is in order too."""
    return [finding for check in CHECKS for finding in check(facts)]

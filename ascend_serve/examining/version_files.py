"""The version files of the driver, the firmware and CANN's toolkit. Pure.

    driver/version.info            Version=24.1.rc3
                                   Innerversion=V100R001C19SPC001B124
                                   compatible_version=[V100R001C18],[V100R001C19]
                                   compatible_version_fw=[7.0.0,7.5.99]
    firmware/version.info          Version=7.5.0.1.129
    ascend_toolkit_install.info    version=8.2.RC1
                                   innerversion=V100R001C22SPC001B231
                                   compatible_version=[V100R001C15],[V100R001C18],[V100R001C22]

So machines print them in public reports, such as the issues of vllm-project/vllm-ascend, whose form asks for the last.
"""

from __future__ import annotations

import re

from ascend_serve.examining.facts import Package

_BRACKETS = re.compile(r"\[([^\]]*)\]")
_NUMBER = re.compile(r"\d+")


def parse_package(file: str, text: str) -> Package | None:
    """What a version file says, or None if it names no version."""
    told: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            # The first of a name counts: packages append what they require of others.
            told.setdefault(name.strip().lower(), value.strip().strip('"'))
    version = told.get("package_version") or told.get("version") or ""
    if "firmware_version" in told:
        version = told.get("version", version)
    if not version:
        return None
    ranges = [found.split(",") for found in _BRACKETS.findall(told.get("compatible_version_fw", ""))]
    return Package(
        file,
        version,
        told.get("innerversion", ""),
        tuple(filter(None, _BRACKETS.findall(told.get("compatible_version", "")))),
        tuple((low.strip(), high.strip()) for low, high in (pair for pair in ranges if len(pair) == 2)),
    )


def works_together(one: Package, other: Package) -> bool | None:
    """Whether either package names the other among those it works with; None if neither tells."""
    told = [
        any(whose.inner.startswith(prefix) for prefix in teller.compatible)
        for teller, whose in ((one, other), (other, one))
        if teller.compatible and whose.inner
    ]
    return any(told) if told else None


def within(version: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    """Whether a firmware version lies in one of the ranges, compared number by number."""
    numbers = _numbers(version)
    return any(
        _numbers(low) <= numbers and numbers[: len(_numbers(high))] <= _numbers(high) for low, high in ranges
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, _NUMBER.findall(version)))

"""CANN, pyACL and ATC: which answer, and whether they are of one kind."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_serve.examining.facts import Facts, Package
from ascend_serve.examining.finding import Finding, error, note, ok, warning
from ascend_serve.examining.version_files import works_together
from ascend_serve.spec.toolchain import CANN

_SET_ENV = "`source /usr/local/Ascend/ascend-toolkit/set_env.sh` (CANN 9: /usr/local/Ascend/cann/set_env.sh)"


def check_cann(facts: Facts) -> Iterator[Finding]:
    """CANN's environment is set, it is whole, and it fits the driver."""
    host, root = facts.host, facts.environment.ascend_home_path
    if root is None:
        if host.set_env is not None:
            yield error(
                "CANN",
                f"{host.set_env} is there, and ASCEND_HOME_PATH is not set",
                "CANN is found through variables that its set_env.sh sets in each shell",
                f"`source {host.set_env}`, in the shell that starts Ray too",
            )
        elif host.driver is not None:
            yield error(
                "CANN",
                "a driver, but no toolkit",
                "pyACL comes with CANN's toolkit or its runtime package",
                f"install CANN for this driver, then {_SET_ENV}",
            )
        else:
            yield note("CANN", "not installed")
        return
    if host.toolkit is None:
        yield error(
            "CANN",
            f"ASCEND_HOME_PATH is {root}, which has no ascend_toolkit_install.info and no version file",
            "it names CANN's install root",
            f"open a new shell and {_SET_ENV}",
        )
        return
    yield ok("CANN", f"{host.toolkit.version} ({root})")
    if host.driver is None:
        return
    if host.hal_folder is None:
        yield warning(
            "libraries",
            "no libascend_hal.so in LD_LIBRARY_PATH",
            "CANN's runtime loads the driver's library",
            "add /usr/local/Ascend/driver/lib64, lib64/common and lib64/driver to LD_LIBRARY_PATH, or mount them",
        )
    if works_together(host.toolkit, host.driver) is False:
        yield error(
            "versions",
            f"CANN {_named(host.toolkit)} with driver {_named(host.driver)}",
            f"neither names the other as compatible: {host.toolkit.file}, {host.driver.file}",
            "install a driver of CANN's release or a later one; CANN's release notes have the table",
        )
    elif works_together(host.toolkit, host.driver):
        yield ok("versions", f"CANN {host.toolkit.version} fits driver {host.driver.version}")


def _named(package: Package) -> str:
    return f"{package.version} ({package.inner})"


def check_acl(facts: Facts) -> Iterator[Finding]:
    """A module `acl` answers, and it is the one that is meant."""
    acl, root = facts.pyacl, facts.environment.ascend_home_path
    if acl.origin is None or acl.provider is None:
        where = f"source {facts.host.set_env}" if facts.host.set_env else _SET_ENV
        yield error("acl", "no module acl", "models run through pyACL", f"with CANN: {where}")
        return
    if root is not None and acl.provider.vendor != CANN:
        yield error(
            "acl",
            f"{acl.origin}, of {acl.provider}, although CANN is set up in {root}",
            "CANN's pyACL is to stand before it on PYTHONPATH",
            f"{_SET_ENV} again, or uninstall {acl.provider.vendor}",
        )
    elif acl.provider.vendor != CANN:
        yield note("acl", f"{acl.origin}, of {acl.provider}: not CANN's, so devices are not real cards")
    else:
        yield ok("acl", f"{acl.origin}, of {acl.provider}")
    if acl.trouble:
        yield error(
            "acl",
            acl.trouble,
            "pyACL answers when driver, device files and libraries are in order",
            "mend what is said above first; then ASCEND_GLOBAL_LOG_LEVEL=1 ASCEND_SLOG_PRINT_TO_STDOUT=1 shows more",
        )
    version = acl.provider.version
    toolkit = facts.host.toolkit
    if (
        acl.provider.vendor == CANN
        and toolkit is not None
        and version
        and not _alike(version, toolkit.version)
    ):
        yield warning(
            "acl",
            f"pyACL says CANN {version}, ASCEND_HOME_PATH has {toolkit.version}",
            "both are of one installation",
            f"open a new shell and {_SET_ENV} once: a shell that has set two versions mixes them",
        )


def _alike(one: str, other: str) -> bool:
    """Whether versions agree as far as both go: 8.5.0 and 8.5.0.2.220 do, 8.2.RC1 and 8.2.rc1 too."""
    pairs = zip(one.lower().split("."), other.lower().split("."), strict=False)
    return all(left == right for left, right in pairs)


def check_atc(facts: Facts) -> Iterator[Finding]:
    """An `atc` answers, and what it compiles can be run by this `acl`."""
    atc, acl = facts.atc, facts.pyacl
    if atc.path is None:
        yield warning(
            "atc",
            atc.trouble,
            "without it only compiled models can be served",
            f"{_SET_ENV}, or name the program in ASCEND_SERVE_ATC",
        )
    elif acl.provider is not None and atc.vendor != acl.provider.vendor:
        yield error(
            "atc",
            f"{atc.path} is of {atc.vendor}, acl is of {acl.provider}",
            "one cannot run what the other compiled",
            f"name the atc of {acl.provider.vendor} in ASCEND_SERVE_ATC, or have Python import the acl of {atc.vendor}",
        )
    else:
        yield ok("atc", f"{atc.path}, of {atc.vendor}")

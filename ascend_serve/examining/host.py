"""Reads the machine: device files, version files, and who asks. It changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ascend_serve.examining.checks.driver import MANAGERS
from ascend_serve.examining.facts import DeviceFile, Environment, Host, Package
from ascend_serve.examining.version_files import parse_package

_DEVICE = re.compile(r"davinci(\d+)")
_HAL = "libascend_hal.so"
_SET_ENV = tuple(
    f"usr/local/Ascend/{package}/set_env.sh" for package in ("cann", "ascend-toolkit", "nnae", "nnrt")
)
_TOOLKIT_FILES = (
    "*-linux/ascend_toolkit_install.info",
    "ascend_*_install.info",
    "*-linux/ascend_*_install.info",
    "share/info/*/version.info",
    "opp/version.info",
)
"""Where CANN 5 to 9 write their versions below ASCEND_HOME_PATH; the first that is there counts."""

_INSTALLED_AT = re.compile(r"^Driver_Install_Path_Param=(.+)$", re.MULTILINE)
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv")


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


class HostReader:
    """Reads one machine.

    Args:
        variables: the process's environment.
        root: what stands for `/`.
        may_use: whether this process may read and write a file.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        *,
        root: Path = Path("/"),
        may_use: Callable[[Path], bool] = _may_use,
    ) -> None:
        self._variables = variables
        self._root = root
        self._may_use = may_use

    def environment(self) -> Environment:
        """The variables that matter."""
        get = self._variables.get
        return Environment(
            ascend_home_path=get("ASCEND_HOME_PATH"),
            ascend_rt_visible_devices=get("ASCEND_RT_VISIBLE_DEVICES"),
            ascend_visible_devices=get("ASCEND_VISIBLE_DEVICES"),
            ray_keeps_visible_devices=bool(get("RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES")),
            on_fast_path=get("RAY_SERVE_ENABLE_HA_PROXY") == "1",
        )

    def host(self) -> Host:
        """The machine. What cannot be read is as if it were not there."""
        driver = self._driver_folder()
        return Host(
            user=_user(os.geteuid()),
            groups=tuple(_group(group) for group in sorted({os.getegid(), *os.getgroups()})),
            contained="KUBERNETES_SERVICE_HOST" in self._variables
            or any((self._root / mark).exists() for mark in _CONTAINER_MARKS),
            device_files=self._devices(),
            manager_files={name: file for name in MANAGERS if (file := self._file(name)) is not None},
            driver=self._package([driver / "driver/version.info"]),
            firmware=self._package([driver / "firmware/version.info"]),
            toolkit=self._package(self._toolkit_files()),
            set_env=next((f"/{name}" for name in _SET_ENV if (self._root / name).is_file()), None),
            hal_folder=next(filter(self._has_hal, self._library_folders()), None),
        )

    # --- /dev --------------------------------------------------------------------------------------

    def _devices(self) -> dict[int, DeviceFile]:
        found: dict[int, DeviceFile] = {}
        for name in _names(self._root / "dev"):
            if (numbered := _DEVICE.fullmatch(name)) and (file := self._file(name)) is not None:
                found[int(numbered[1])] = file
        return dict(sorted(found.items()))

    def _file(self, name: str) -> DeviceFile | None:
        path = self._root / "dev" / name
        try:
            status = path.stat()
        except OSError:
            return None
        owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        return DeviceFile(f"/dev/{name}", owner, status.st_mode & 0o777, self._may_use(path))

    # --- version files -----------------------------------------------------------------------------

    def _driver_folder(self) -> Path:
        told = _INSTALLED_AT.search(_text(self._root / "etc/ascend_install.info"))
        return self._inside(told[1].strip() if told else "/usr/local/Ascend")

    def _toolkit_files(self) -> Iterator[Path]:
        given = self._variables.get("ASCEND_HOME_PATH")
        if given:
            for pattern in _TOOLKIT_FILES:
                yield from sorted(self._inside(given).glob(pattern))

    def _package(self, files: Iterable[Path]) -> Package | None:
        for file in files:
            if package := parse_package(self._shown(file), _text(file)):
                return package
        return None

    # --- libraries ---------------------------------------------------------------------------------

    def _library_folders(self) -> Iterator[str]:
        yield from filter(None, self._variables.get("LD_LIBRARY_PATH", "").split(":"))
        for file in sorted((self._root / "etc/ld.so.conf.d").glob("*.conf")):
            yield from (line.strip() for line in _text(file).splitlines() if line.startswith("/"))

    def _has_hal(self, folder: str) -> bool:
        return (self._inside(folder) / _HAL).exists()

    def _inside(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _shown(self, file: Path) -> str:
        return f"/{file.relative_to(self._root)}"


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)

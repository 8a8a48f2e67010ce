"""The environment, read here and nowhere else.

Every variable the product reads stands in `VARIABLES`, with what it means; the functions below are the only
way to their values. Nothing is read at import, so that a test or a launcher may set a variable late.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from ascend_serve.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: its name, its default in words, and what it does.

    `shapes_builds` marks those that ATC reads itself and that change what it builds.
    """

    name: str
    default: str
    meaning: str
    shapes_builds: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "ASCEND_SERVE_STORE",
        "~/.cache/ascend_serve/artifacts",
        "The artifact store: a folder, or a URL that fsspec knows, such as s3://bucket/prefix.",
    ),
    Variable(
        "ASCEND_SERVE_CACHE",
        "~/.cache/ascend_serve/cache",
        "Folder of this node's copies of what lies in a store that is no folder.",
    ),
    Variable("ASCEND_SERVE_CACHE_BYTES", "20 GiB", "Size to which that folder is held."),
    Variable("ASCEND_SERVE_ATC", "searched for", "Path of the `atc` to compile with; nothing else is tried."),
    Variable("ASCEND_SERVE_AOE", "searched for", "Path of the `aoe` to tune with; nothing else is tried."),
    Variable(
        "ASCEND_SERVE_TENSORFLOW_PYTHON",
        "the running interpreter",
        "Python that has TensorFlow and tf2onnx, for sources that are a SavedModel.",
    ),
    Variable(
        "ASCEND_HOME_PATH", "unset", "CANN's install root, set by its set_env.sh; `atc` is looked for in it."
    ),
    Variable("PATH", "the shell's", "Where `atc` is looked for after CANN's install root."),
    Variable(
        "RAY_ADDRESS",
        "unset",
        "The Ray cluster that `python -m compile_jobs` uses; unset, it starts a local one.",
    ),
    Variable(
        "TE_PARALLEL_COMPILER",
        "the recipe's num_cpus",
        "Compile workers of one `atc`, each a process; ATC's own default is 8.",
    ),
    *(
        Variable(name, "unset", "Looked at by `ascend-serve doctor`.")
        for name in (
            "ASCEND_RT_VISIBLE_DEVICES",
            "ASCEND_VISIBLE_DEVICES",
            "LD_LIBRARY_PATH",
            "KUBERNETES_SERVICE_HOST",
            "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES",
        )
    ),
    *(
        Variable(name, "unset", "Read by Ray Serve; `ascend-serve run` sets it where it is not set.")
        for name in (
            "RAY_SERVE_ENABLE_HA_PROXY",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED",
            "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP",
            "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH",
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
            "RAY_SERVE_HAPROXY_METRICS_ENABLED",
            "RAY_SERVE_HAPROXY_BINARY_PATH",
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S",
            "RAY_worker_niceness",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC",
            "RAY_SERVE_HAPROXY_SOCKET_PATH",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE",
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE",
            "RAY_SERVE_HAPROXY_STATS_PORT",
            "RAY_SERVE_HAPROXY_METRICS_PORT",
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
        )
    ),
    *(
        Variable(name, "unset", "Read by ATC; part of an artifact's key.", shapes_builds=True)
        for name in (
            "ASCEND_CUSTOM_OPP_PATH",
            "ASCEND_GE_PY_PASS_PATH",
            "ENABLE_NETWORK_ANALYSIS_DEBUG",
            "GE_USE_STATIC_MEMORY",
            "IGNORE_INFER_ERROR",
            "OP_NO_REUSE_MEM",
            "TUNE_BANK_PATH",
        )
    ),
)
"""Every variable that is read. Those of CANN are listed in facts: ATC §2.6 and §5.7."""


def store_url() -> str:
    """The artifact store, a folder or a URL: `ASCEND_SERVE_STORE`, else a folder in the user's cache."""
    return os.environ.get("ASCEND_SERVE_STORE") or str(_user_cache() / "artifacts")


def cache_folder() -> Path:
    """Folder of this node's copies: `ASCEND_SERVE_CACHE`, else a folder in the user's cache."""
    given = os.environ.get("ASCEND_SERVE_CACHE")
    return Path(given).expanduser() if given else _user_cache() / "cache"


def cache_limit_bytes() -> int:
    """Size to which that folder is held: `ASCEND_SERVE_CACHE_BYTES`, else 20 GiB.

    Raises:
        ConfigError: it is set and no whole number.
    """
    given = os.environ.get("ASCEND_SERVE_CACHE_BYTES")
    if not given:
        return 20 << 30
    if not given.isdigit():
        raise ConfigError(f"ASCEND_SERVE_CACHE_BYTES is {given!r}: give a whole number of bytes")
    return int(given)


def _user_cache() -> Path:
    return Path.home() / ".cache" / "ascend_serve"


def explicit_aoe() -> str | None:
    """The `aoe` that `ASCEND_SERVE_AOE` names, or None."""
    return os.environ.get("ASCEND_SERVE_AOE") or None


def tensorflow_python() -> str:
    """The Python that has TensorFlow and tf2onnx: `ASCEND_SERVE_TENSORFLOW_PYTHON`, else the running one."""
    return os.environ.get("ASCEND_SERVE_TENSORFLOW_PYTHON") or sys.executable


def explicit_atc() -> str | None:
    """The `atc` that `ASCEND_SERVE_ATC` names, or None."""
    return os.environ.get("ASCEND_SERVE_ATC") or None


def cann_root() -> Path | None:
    """CANN's install root as its `set_env.sh` tells it in `ASCEND_HOME_PATH`, or None."""
    given = os.environ.get("ASCEND_HOME_PATH")
    return Path(given) if given else None


def search_path() -> str:
    """`PATH`, as `shutil.which` takes it."""
    return os.environ.get("PATH", "")


def ray_address() -> str | None:
    """The cluster that `RAY_ADDRESS` names, or None."""
    return os.environ.get("RAY_ADDRESS") or None


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with changes, for a child."""
    return {**os.environ, **changes}


def compile_workers() -> str | None:
    """The number of compile workers of one `atc` that `TE_PARALLEL_COMPILER` sets, or None."""
    return os.environ.get("TE_PARALLEL_COMPILER") or None


def build_influences() -> dict[str, str]:
    """The variables that are set and change what ATC builds, so that they belong in an artifact's key."""
    names = (variable.name for variable in VARIABLES if variable.shapes_builds)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def on_fast_path() -> bool:
    """Whether Serve puts HAProxy in front of replicas here, not its Python proxy."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"


_RAY_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": 9500,
}
"""Ray's own defaults of the ports on which no caller calls."""


def switch_on_fast_path(folder: Path, free_port: Callable[[int], int], *, haproxy: bool = True) -> None:
    """Set what Serve's fast data path needs, where it is not set; processes started later inherit it.

    Ray reads these when it is imported, so this comes before (facts: Ray Serve §4.1, §4.4, §5).

    Args:
        folder: for HAProxy's configuration, state and admin socket; short, since a socket's path is bounded.
        free_port: the port given, or another if that is taken, as by a second Serve on this machine.
        haproxy: whether HAProxy may stand in front of replicas; it speaks no TLS.
    """
    wanted = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy else "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Otherwise a handle's router runs on its caller's loop, and a plain driver has none.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
        # Throughput mode passes handle calls by value over gRPC, with a limit of 4 MB each way by default.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
        # A replica that goes waits this long for a balancer to notice; the one here is on the same machine.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Replicas answer inference ahead of Serve's work, and look out for clients that leave by themselves.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "ascend_serve.serving.doors.hook.middlewares",
        # Otherwise HAProxy writes a line for each request, from which a Python process counts them.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # By default the controller looks over replicas and proxies ten times a second, which keeps it and the GCS
        # busy; they are found ill or gone, started and stopped that much later.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        # Ray starts workers at 15, behind everything else on the machine.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
    if haproxy and (command := _haproxy_command()):
        # Otherwise HAProxy answers 500 where clients look for 502 to 504, and has two pages on all interfaces.
        wanted["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(command)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    for name, port in _RAY_PORTS.items():
        if name not in os.environ:
            os.environ[name] = str(free_port(port))


def _haproxy_command() -> Path | None:
    """Our `ascend-serve-haproxy` among the scripts of this interpreter; None where it is not installed."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        command = folder / "ascend-serve-haproxy"
        if os.access(command, os.X_OK):
            return command
    return None


def acl_installed() -> bool:
    """Whether a module `acl` could be imported; it is not."""
    return importlib.util.find_spec("acl") is not None


@functools.cache
def acl_distribution() -> tuple[str, str] | None:
    """Name and version of the installed distribution that provides the module `acl`, without importing it.

    CANN's pyACL belongs to none: `set_env.sh` puts it on `PYTHONPATH`, before site-packages, so the file that
    an import would load decides, not what is installed besides it.

    Returns:
        Name and version, or None when `acl` is CANN's own or cannot be found.
    """
    spec = importlib.util.find_spec("acl")
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    root = cann_root()
    if root is not None and origin.is_relative_to(root.resolve()):
        return None
    for distribution in distributions():
        if _provides(distribution, origin):
            return distribution.name, distribution.version
    return None


def _provides(distribution: Distribution, origin: Path) -> bool:
    """Whether `origin` is a file of the distribution, or lies where its editable install points to."""
    # RECORD is read as text: building Path objects for every file of every distribution takes a third of a second.
    record = distribution.read_text("RECORD") or ""
    for line in record.splitlines():
        name = line.split(",", 1)[0]
        if name.startswith("acl") and Path(str(distribution.locate_file(name))).resolve() == origin:
            return True
        if name.endswith(".pth") and "/" not in name:
            # An editable install lists no modules; its .pth file names the folder they are imported from.
            lines = Path(str(distribution.locate_file(name))).read_text(encoding="utf-8").splitlines()
            holder = origin.parent.parent if origin.name == "__init__.py" else origin.parent
            if any(Path(folder.strip()).resolve() == holder for folder in lines if folder.startswith("/")):
                return True
    return False

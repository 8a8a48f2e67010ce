"""`ascend-serve run` of a file with a certificate: HTTPS, and nothing on its port without it."""

import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import yaml

from tests.serve.tools import ROOT, Served, free_port, processes_of
from tests.unit.certificates import Issuer

pytestmark = pytest.mark.serve

COMMAND = [str(Path(sys.executable).parent / "ascend-serve"), "run"]
TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Secured(Served):
    """The small model of `deployments/simple.yaml` with a certificate, a token and gRPC."""

    def __init__(self, scratch: Path, store: Path) -> None:
        self.issuer = Issuer(scratch)
        key, certificate = self.issuer.server(password="hush")
        self.grpc_port = free_port()
        told = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())
        told["http_options"].update(
            ssl_keyfile=str(key), ssl_certfile=str(certificate), ssl_keyfile_password="hush"
        )
        told["grpc_options"]["port"] = self.grpc_port
        told["applications"][0]["args"]["tokens"] = {"variable": "SIMPLE_TOKENS"}
        file = scratch / "simple.yaml"
        file.write_text(yaml.safe_dump(told))
        port = free_port()
        super().__init__(
            [*COMMAND, str(file), "--port", str(port)],
            port,
            scratch,
            SIMPLE_TOKENS=TOKEN,
            ASCEND_SERVE_STORE=str(store),
        )
        self.url = f"https://127.0.0.1:{port}/v2/models/simple"
        self.trusting = ssl.create_default_context(cafile=str(self.issuer.certificate))

    def told(self) -> str:
        return self._log.read_text()

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.told()[-2000:]}"
        try:
            answer = httpx.get(f"{self.url}/ready", headers=BEARER, timeout=2, verify=self.trusting)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and "ready: " in self.told()


@pytest.fixture(scope="module")
def secured(socket_folder: Callable[[], Path], store: Path) -> Iterator[Secured]:
    run = Secured(socket_folder(), store)
    try:
        run.wait_until_ready()
        yield run
    finally:
        run.end()


def test_a_client_that_trusts_the_issuer_is_answered(secured: Secured) -> None:
    rows = [[list(range(16))], [[2] * 16]]
    tensors = [
        {"name": f"INPUT{number}", "shape": [1, 16], "datatype": "INT32", "data": row}
        for number, row in enumerate(rows)
    ]
    with httpx.Client(verify=secured.trusting, timeout=60) as client:
        refused = client.post(f"{secured.url}/infer", json={"inputs": tensors})
        answer = client.post(f"{secured.url}/infer", json={"inputs": tensors}, headers=BEARER)
    assert refused.status_code == 401
    outputs = {tensor["name"]: tensor["data"] for tensor in answer.raise_for_status().json()["outputs"]}
    assert outputs["OUTPUT0"] == [number + 2 for number in range(16)]
    assert outputs["OUTPUT1"] == [number - 2 for number in range(16)]


def test_one_that_does_not_leaves_and_one_without_tls_is_told_nothing(secured: Secured) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{secured.url}/ready", timeout=10)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{secured.url}/ready".replace("https", "http"), timeout=10)


def test_it_says_how_it_listens_and_starts_no_haproxy(secured: Secured) -> None:
    told = secured.told()
    assert f"ready: 'simple' on https://127.0.0.1:{secured.port} after" in told
    assert "note: http_options.ssl_certfile: TLS is spoken by Serve's Python proxy" in told
    assert "note: http_options.ssl_certfile: gRPC stays without TLS" in told
    assert "haproxy" not in {process.info["name"] for process in processes_of(secured.scratch)}


def test_grpc_beside_it_speaks_no_tls_as_the_note_says(secured: Secured) -> None:
    address = f"127.0.0.1:{secured.grpc_port}"
    trusting = grpc.ssl_channel_credentials(secured.issuer.certificate.read_bytes())

    def ready(channel: grpc.Channel) -> bool:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
        answer = call(b"\x0a\x06simple", timeout=10, metadata=list(BEARER.items()))
        return bool(answer == b"\x08\x01")

    with grpc.insecure_channel(address) as channel:
        assert ready(channel)
    with grpc.secure_channel(address, trusting) as channel:
        with pytest.raises(grpc.RpcError) as error:
            ready(channel)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_key_that_is_not_here_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ascend_serve.cli.run import run_file
    from ascend_serve.errors import ConfigError

    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    _, certificate = Issuer(tmp_path).server()
    told = yaml.safe_load((ROOT / "deployments/simple.yaml").read_text())
    told["http_options"].update(ssl_keyfile=str(tmp_path / "gone.key"), ssl_certfile=str(certificate))
    file = tmp_path / "simple.yaml"
    file.write_text(yaml.safe_dump(told))
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"http_options\.ssl_keyfile: no file .*gone\.key"):
        run_file(file, free_port())

"""What a Serve file says of TLS and Serve would not do is told before anything listens."""

from pathlib import Path
from typing import Any

import pytest

from ascend_serve.serving.tls import absent_files, check_tls, speaks_tls
from tests.unit.certificates import Issuer

pytestmark = pytest.mark.unit

GRPC = {"port": 9000, "grpc_servicer_functions": ["a.b"]}
NOTE = "ssl_certfile: TLS is spoken by Serve's Python proxy"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


def told(
    options: dict[str, Any], grpc: dict[str, Any] | None = None, *, haproxy: bool = False
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"error": [], "note": []}
    for kind, text in check_tls(options, grpc or {}, Path("/"), haproxy=haproxy):
        found[kind].append(text)
    return found


def pair(issuer: Issuer, **more: str) -> dict[str, str]:
    key, certificate = issuer.server()
    return {"ssl_keyfile": str(key), "ssl_certfile": str(certificate), **more}


@pytest.mark.parametrize("haproxy", [False, True])
def test_without_tls_nothing_is_said(haproxy: bool) -> None:
    assert told({"host": "0.0.0.0"}, GRPC, haproxy=haproxy) == {"error": [], "note": []}
    assert not speaks_tls({"host": "0.0.0.0"})


def test_a_right_pair_is_worth_a_note_on_what_it_costs(issuer: Issuer) -> None:
    options = pair(issuer)
    found = told(options)
    assert found["error"] == []
    assert [note.startswith(NOTE) for note in found["note"]] == [True]
    assert speaks_tls(options)
    assert absent_files(options, Path("/")) == {}


def test_behind_haproxy_it_is_an_error(issuer: Issuer) -> None:
    found = told(pair(issuer), haproxy=True)
    assert len(found["error"]) == 1
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in found["error"][0]
    assert found["note"] == []


def test_grpc_beside_it_is_said_to_be_in_the_clear(issuer: Issuer) -> None:
    (_, note) = told(pair(issuer), GRPC)["note"]
    assert "gRPC stays without TLS" in note


def test_an_issuer_of_clients_is_refused_since_serve_asks_no_client(issuer: Issuer) -> None:
    options = pair(issuer, ssl_ca_certs=str(issuer.certificate))
    (error,) = told(options)["error"]
    assert error.startswith("ssl_ca_certs: Ray Serve asks no client for a certificate")
    (error,) = told({"ssl_ca_certs": str(issuer.certificate)})["error"]
    assert error.startswith("ssl_ca_certs")


@pytest.mark.parametrize("option", ["ssl_keyfile", "ssl_keyfile_password"])
def test_a_key_without_its_certificate_is_an_error(option: str) -> None:
    (error,) = told({option: "x"})["error"]
    assert error.startswith("ssl_certfile: not given beside the key")


def test_files_that_are_elsewhere_are_worth_a_note() -> None:
    options = {"ssl_keyfile": "/no.key", "ssl_certfile": "/nowhere/no.pem"}
    found = told(options)
    assert found["error"] == []
    assert found["note"][1:] == [
        "ssl_keyfile: no file /no.key here; each node with a proxy reads it there",
        "ssl_certfile: no file /nowhere/no.pem here; each node with a proxy reads it there",
    ]
    assert set(absent_files(options, Path("/"))) == {"ssl_keyfile", "ssl_certfile"}


def test_a_relative_path_is_worth_a_note_even_where_the_file_is_here(issuer: Issuer) -> None:
    options = pair(issuer)
    relative = options["ssl_keyfile"].removeprefix("/")
    found = told({**options, "ssl_keyfile": relative})
    assert found["error"] == []
    assert found["note"][1:] == [
        f"ssl_keyfile: '{relative}' is a relative path, which each proxy takes from the folder that Ray was started in "
        "on its node: give an absolute path"
    ]


def test_a_locked_key_needs_its_password(issuer: Issuer) -> None:
    key, certificate = issuer.server("locked", "hush")
    options = {"ssl_keyfile": str(key), "ssl_certfile": str(certificate)}
    assert told(options)["error"] == [f"ssl_keyfile: {key} is locked: add ssl_keyfile_password"]
    wrong = told({**options, "ssl_keyfile_password": "hash"})["error"]
    assert wrong == [f"ssl_keyfile: {key} is locked, and ssl_keyfile_password does not open it"]
    assert told({**options, "ssl_keyfile_password": "hush"})["error"] == []


def test_a_key_of_another_certificate_is_an_error(issuer: Issuer) -> None:
    key, _ = issuer.server("another")
    (error,) = told(pair(issuer, ssl_keyfile=str(key)))["error"]
    assert "another.key is not the key of" in error


def test_what_is_no_pem_is_an_error(issuer: Issuer, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no key")
    (error,) = told(pair(issuer, ssl_keyfile=str(text)))["error"]
    assert "are no key and certificate in PEM" in error

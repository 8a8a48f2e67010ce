"""What a Serve file says of TLS, held against what Serve does with it.

Serve passes `http_options.ssl_*` to the HTTP server of its Python proxy and of replicas (`start_asgi_http_server` in
ray/serve/_private/http_util.py), and to nothing else. HAProxy's configuration knows none of them, so that it listens in
the clear and finds no replica alive (haproxy_templates.py); gRPC has no such option (`gRPCOptions` in
ray/serve/config.py); and `ssl_ca_certs` is passed on without `ssl_cert_reqs`, so that no client is asked for a
certificate. Whoever wrote the option would not notice.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

KEY, CERTIFICATE = "ssl_keyfile", "ssl_certfile"
PASSWORD, CLIENT_CA = "ssl_keyfile_password", "ssl_ca_certs"
_WHERE = "docs/tls.md"


class Finding(NamedTuple):
    """Something about TLS: an error stops a deployment, a note is worth a look."""

    kind: Literal["error", "note"]
    text: str


def speaks_tls(http_options: Mapping[str, Any]) -> bool:
    """Whether these `http_options` make an HTTPS server of Serve's Python proxy."""
    return bool(http_options.get(KEY) and http_options.get(CERTIFICATE))


def check_tls(
    http_options: Mapping[str, Any], grpc_options: Mapping[str, Any], base: Path, *, haproxy: bool
) -> Iterator[Finding]:
    """What is wrong with the TLS of a Serve file, or not what its author may think.

    Args:
        http_options: of the file.
        grpc_options: of the file.
        base: folder in which Serve will be started, and relative paths begin.
        haproxy: whether Serve would put HAProxy in front of replicas.
    """
    if http_options.get(CLIENT_CA):
        yield Finding(
            "error",
            f"{CLIENT_CA}: Ray Serve asks no client for a certificate, so whoever comes is let in: leave it out, and "
            f"use args.tokens, or a balancer that asks ({_WHERE})",
        )
    if not speaks_tls(http_options):
        # A certificate without its key Ray's own schema refuses.
        if any(http_options.get(option) for option in (KEY, PASSWORD)) and not http_options.get(CERTIFICATE):
            yield Finding("error", f"{CERTIFICATE}: not given beside the key, and HTTPS needs both: add it")
        return
    if haproxy:
        yield Finding(
            "error",
            f"{CERTIFICATE}: HAProxy, which RAY_SERVE_ENABLE_HA_PROXY=1 puts in front here, would listen without TLS "
            "and find no replica alive: unset it where Ray is started, or leave ssl_* out and have a balancer in front "
            f"speak TLS ({_WHERE})",
        )
    else:
        yield Finding(
            "note",
            f"{CERTIFICATE}: TLS is spoken by Serve's Python proxy, never by HAProxy, and takes several times the CPU "
            f"a request ({_WHERE})",
        )
    if grpc_options.get("grpc_servicer_functions"):
        yield Finding(
            "note",
            f"{CERTIFICATE}: gRPC stays without TLS, for which Serve has no option; tokens too go over it as they are: "
            f"close its port to strangers, or have a balancer in front speak TLS ({_WHERE})",
        )
    yield from _check_files(http_options, base)


def absent_files(http_options: Mapping[str, Any], base: Path) -> dict[str, Path]:
    """Of key and certificate those that are not on this machine, by option.

    Where a proxy finds none, it does not listen, and Serve says that all is well.
    """
    named = {option: base / str(http_options[option]) for option in (KEY, CERTIFICATE)}
    return {option: path for option, path in named.items() if not path.is_file()}


def _check_files(http_options: Mapping[str, Any], base: Path) -> Iterator[Finding]:
    """See that key and certificate are there and belong together."""
    for option in (KEY, CERTIFICATE):
        if not Path(str(http_options[option])).is_absolute():
            yield Finding(
                "note",
                f"{option}: '{http_options[option]}' is a relative path, which each proxy takes from the folder that "
                "Ray was started in on its node: give an absolute path",
            )
    if absent := absent_files(http_options, base):
        for option, path in absent.items():
            yield Finding("note", f"{option}: no file {path} here; each node with a proxy reads it there")
        return
    named = {option: base / str(http_options[option]) for option in (KEY, CERTIFICATE)}
    password, asked = str(http_options.get(PASSWORD) or ""), []

    def answer() -> str:
        # Were there no answer, OpenSSL would ask the terminal.
        asked.append(True)
        return password

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            named[CERTIFICATE], named[KEY], password=answer
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            wrong = f"is not the key of {named[CERTIFICATE]}: give the pair that was made together"
        elif asked:
            wrong = (
                f"is locked, and {PASSWORD} does not open it" if password else f"is locked: add {PASSWORD}"
            )
        else:
            wrong = f"and {named[CERTIFICATE]} are no key and certificate in PEM: give those, issuers last"
        yield Finding("error", f"{KEY}: {named[KEY]} {wrong}")
    except OSError as error:
        yield Finding("note", f"{KEY}: cannot be read here: {error.strerror}; the proxies have to")

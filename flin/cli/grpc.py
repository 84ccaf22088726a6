"""`flin grpc`: a gateway, gRPC in front of a running server."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flin.cli.parsing import Commands, UsageError, add_command, positive, size

SUMMARY = "answer gRPC in front of a running server"
DETAILS = """\
Answers the calls Get, Put, Batch, Range, Watch and Txn of the service flin.v1.KV, each by requests to a server that
runs already (flin serve), in a process of its own. With health and reflection. SIGTERM or Ctrl-C ends it cleanly.

The password of the server is read from --password-file or from the environment variable FLIN_GRPC_PASSWORD.
docs/grpc.md has the calls, with examples in Python and in Node."""
EXAMPLES = """\
  flin grpc --server unix:/run/flin.sock
  flin grpc --listen 0.0.0.0:9090 --tls-cert-file cert.pem --tls-key-file key.pem --tls-ca-cert-file clients.pem
  grpcurl -plaintext 127.0.0.1:9090 list"""

PACKAGES: Final = ("grpc", "grpc_health", "grpc_reflection", "google.protobuf", "hiredis")
"""What the extra `grpc` installs."""

PASSWORD_VARIABLE: Final = "FLIN_GRPC_PASSWORD"


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "grpc", run, SUMMARY, DETAILS, EXAMPLES)
    add = parser.add_argument
    add("--listen", metavar="ADDRESS", default="127.0.0.1:9090", help="HOST:PORT or unix:PATH (default 127.0.0.1:9090)")
    add(
        "--server",
        metavar="ADDRESS",
        default="127.0.0.1:6380",
        help="where the server listens: unix:PATH or HOST:PORT (default 127.0.0.1:6380)",
    )
    add("--user", metavar="NAME", default="", help="who the gateway is at the server (default: the default user)")
    add("--password-file", metavar="FILE", help="a file whose first line is the password")
    add("--tls-cert-file", metavar="FILE", default="", help="the certificate, in PEM: calls are encrypted")
    add("--tls-key-file", metavar="FILE", default="", help="its key")
    add(
        "--tls-ca-cert-file",
        metavar="FILE",
        default="",
        help="then only clients are answered whose certificate one of these has signed",
    )
    add(
        "--protected-mode",
        choices=("yes", "no"),
        default="yes",
        help="without TLS, listen on this machine only (default yes)",
    )
    add("--max-message-size", type=size, metavar="SIZE", default=64 << 20, help="of a request (default 64mb)")
    add("--max-streams", type=positive, metavar="N", default=64, help="Range and Watch at once (default 64)")
    add("--max-calls", type=positive, metavar="N", default=1024, help="calls at once; more are refused (default 1024)")
    add(
        "--call-timeout",
        type=positive,
        metavar="SECONDS",
        default=30,
        help="the longest that a call waits for the server, whatever its deadline (default 30)",
    )


def run(arguments: argparse.Namespace) -> int:
    missing = [name for name in PACKAGES if find_spec(name.partition(".")[0]) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed: pip install 'flin[grpc]'")
    from flin.gateway.server import GatewayError, GatewayOptions, serve

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        return serve(
            GatewayOptions(
                listen=arguments.listen,
                server=arguments.server,
                user=arguments.user,
                password=_password(arguments.password_file),
                tls_cert_file=arguments.tls_cert_file,
                tls_key_file=arguments.tls_key_file,
                tls_ca_cert_file=arguments.tls_ca_cert_file,
                protected_mode=arguments.protected_mode == "yes",
                max_message_bytes=arguments.max_message_size,
                max_streams=arguments.max_streams,
                max_calls=arguments.max_calls,
                call_timeout=arguments.call_timeout,
            )
        )
    except GatewayError as error:
        raise UsageError(error) from error


def _password(path: str | None) -> str:
    if path is None:
        return os.environ.get(PASSWORD_VARIABLE, "")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the password in {path}: {error}") from error
    if not lines or not lines[0]:
        raise UsageError(f"there is no password in {path}: its first line is empty")
    return lines[0]

"""The gateway's life: it listens, answers until SIGTERM or SIGINT, and ends without breaking a call off.

Calls run in threads, one for each: of grpcio's servers this one takes the least processor time for a call (measured:
docs/grpc.md). Health is that of the server behind it, asked once a second.
"""

from __future__ import annotations

import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from types import FrameType
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from flin.gateway import flin_pb2, flin_pb2_grpc
from flin.gateway.connection import Address, LoginFailed, Pool, ServerGone
from flin.gateway.service import KV

logger = logging.getLogger(__name__)

NAME: Final = flin_pb2.DESCRIPTOR.services_by_name["KV"].full_name

HEALTH_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 5.0
"""At the end: the time that calls under way have."""

UNARY_THREADS: Final = 16
"""Beside one for each stream. On one core a server answers no sooner with more."""

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

_LOCAL: Final = ("127.", "localhost:", "[::1]:", "unix:")


class GatewayError(Exception):
    """It cannot be started as it was told to."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    listen: str = "127.0.0.1:9090"
    server: str = "127.0.0.1:6380"
    user: str = ""
    password: str = ""
    tls_cert_file: str = ""  # empty: no TLS
    tls_key_file: str = ""
    tls_ca_cert_file: str = ""  # then clients must show a certificate that it has signed
    protected_mode: bool = True  # without TLS, listen on this machine only
    max_message_bytes: int = 64 << 20  # of a request
    max_streams: int = 64  # Range and Watch at once
    max_calls: int = 1024  # at once, those that wait for a thread among them
    call_timeout: float = 30.0  # seconds, for a call without a deadline, and the longest for one with


class Gateway:
    """`start`, then `stop`, from one thread."""

    def __init__(self, options: GatewayOptions) -> None:
        try:
            address = Address(options.server, options.user, options.password)
        except ValueError as error:
            raise GatewayError(str(error)) from None
        self.options: Final = options
        self._pool: Final = Pool(address)
        self._service: Final = KV(self._pool, streams=options.max_streams, seconds=options.call_timeout)
        self._health: Final = health.HealthServicer()
        self._stopping: Final = Event()
        self._watcher: Final = Thread(target=self._watch_server, name="flin-health", daemon=True)
        self._threads: Final = ThreadPoolExecutor(UNARY_THREADS + options.max_streams, thread_name_prefix="flin-call")
        self._server: Final = grpc.server(
            self._threads,
            maximum_concurrent_rpcs=options.max_calls,
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a second gateway on the port is an error
            ],
        )
        self.port = 0

    def start(self) -> None:
        """Listen. Raises GatewayError."""
        flin_pb2_grpc.add_KVServicer_to_server(self._service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self._set_health(_NOT_SERVING)
        listen, credentials = self.options.listen, self._credentials()
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(listen)
            else:
                self.port = self._server.add_secure_port(listen, credentials)
        except RuntimeError as error:
            raise GatewayError(f"cannot listen on {listen}: {error}") from None
        self._check_server()
        self._server.start()
        self._watcher.start()

    def stop(self) -> None:
        """Take no new calls, end the watches, wait for the other calls."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        ended = self._server.stop(GRACE_SECONDS)
        self._service.stop()
        ended.wait()
        self._watcher.join()
        self._pool.close()
        self._threads.shutdown()

    def _credentials(self) -> grpc.ServerCredentials | None:
        options = self.options
        if not options.tls_cert_file:
            if options.tls_key_file or options.tls_ca_cert_file:
                raise GatewayError("TLS needs a certificate: give --tls-cert-file and --tls-key-file")
            if options.protected_mode and not options.listen.startswith(_LOCAL):
                raise GatewayError(
                    f"whoever reaches {options.listen} could read and write everything: give --tls-cert-file, "
                    "--tls-key-file and --tls-ca-cert-file, or --protected-mode no if nobody else can reach it"
                )
            return None
        if not options.tls_key_file:
            raise GatewayError("TLS needs the key of the certificate: give --tls-key-file")
        pair = _read(options.tls_key_file), _read(options.tls_cert_file)
        authority = _read(options.tls_ca_cert_file) if options.tls_ca_cert_file else None
        return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)

    def _watch_server(self) -> None:
        while not self._stopping.wait(HEALTH_SECONDS):
            self._check_server()

    def _check_server(self) -> None:
        try:
            self._pool.call([("PING",)], monotonic() + HEALTH_SECONDS)
        except (ServerGone, LoginFailed, TimeoutError) as error:
            if self._is_serving is not False:
                logger.warning("%s", error or "the server does not answer in time")
            self._set_health(_NOT_SERVING)
        else:
            if self._is_serving is False:
                logger.warning("the server at %s answers", self.options.server)
            self._set_health(_SERVING)

    _is_serving: bool | None = None

    def _set_health(self, status: Any) -> None:
        self._is_serving = status == _SERVING
        for name in ("", NAME):
            self._health.set(name, status)


def serve(options: GatewayOptions) -> int:
    """Answer until SIGTERM or SIGINT; the exit code. Raises GatewayError."""
    gateway = Gateway(options)
    ending = Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    gateway.start()
    print(f"Flin answers gRPC on {options.listen}, for the server at {options.server}", flush=True)
    ending.wait()
    logger.info("stopping")
    gateway.stop()
    return 0


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise GatewayError(f"cannot read {path}: {error.strerror}") from None

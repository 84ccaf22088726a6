"""The addresses of a node: what it tells others and clients, and whether it may listen there."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

from flin.net.settings.http_address import parse_http_address
from flin.net.settings.options import ConfigError, ServerOptions

ANY: Final = ("0.0.0.0", "::", "*", "")
"""Not an address where anybody can be reached."""


def check_addresses(options: ServerOptions) -> None:
    """ConfigError if others than this machine's would reach what reads and changes everything."""
    if options.cluster_tls or options.insecure_cluster:
        return
    for name in ("http", "raft"):
        text = getattr(options, name)
        if text and not is_loopback(parse_http_address(text)[0]):
            raise ConfigError(
                f"--{name} {text} is reached from other machines, and who reaches it may read and change everything: "
                "give --cluster-tls DIR (flin cluster certificates makes some for tests), or --insecure-cluster yes"
            )


def is_loopback(host: str) -> bool:
    """Whether all its addresses are this machine's alone. ConfigError if it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"the host {host} has no address: {error.strerror}") from error
    return all(ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def client_host(options: ServerOptions) -> str:
    """Where clients are sent to: what is given for that, else the one address that the port is on, else the host of
    --raft or --http.

    >>> client_host(ServerOptions(bind=("0.0.0.0",), raft="db1:9080", http="db1:8080"))
    'db1'
    """
    if options.cluster_announce_ip:
        return options.cluster_announce_ip
    if options.bind[0] not in ANY:
        return options.bind[0]
    return parse_http_address(options.raft or options.http)[0]

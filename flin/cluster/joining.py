"""Joining a cluster: a question over HTTP to one of its nodes, which needs the cluster's secret, and the answer.

The answer says which cluster it is and where its etcd is. There is no key material in it: who may talk to etcd is
decided by its address (loopback) or by certificates, which are no business of this.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from flin.errors import FlinError
from flin.net.settings.http_address import parse_http_address

PATH: Final = "/cluster/join"
TIMEOUT_SECONDS: Final = 15.0
"""The other node asks etcd up to three times meanwhile."""

MAX_ANSWER_BYTES: Final = 1 << 20

UNKNOWN_SECRET: Final = 401

LATER: Final = 503
"""The status of an answer that may be another one soon."""


class JoinError(FlinError):
    """The node that was asked refuses; the text says why. `is_passing`: soon it may not."""

    def __init__(self, text: str, is_passing: bool = False) -> None:
        super().__init__(text)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class JoinRequest:
    node: str
    peer_url: str
    """Where its member of etcd is; empty: it has none."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    cluster: str
    groups: int
    replicas: int
    token: str = ""
    members: tuple[tuple[str, str], ...] = ()
    """Names and peer URLs, for the start of its etcd."""
    endpoints: tuple[str, ...] = ()


def encode(message: JoinRequest | JoinAnswer) -> bytes:
    return json.dumps(asdict(message)).encode()


def decode_request(content: Any) -> JoinRequest:
    """ValueError if it is none. content: from JSON."""
    names = [field.name for field in fields(JoinRequest)]
    if not isinstance(content, dict) or not all(type(content.get(name)) is str for name in names):
        raise ValueError(f"a node that joins says its {', '.join(names)}")
    return JoinRequest(**{name: content[name] for name in names})


def decode_answer(data: bytes) -> JoinAnswer:
    """JoinError if it is none."""
    try:
        content = json.loads(data)
        members = tuple((str(name), str(url)) for name, url in content["members"])
        endpoints = tuple(map(str, content["endpoints"]))
        groups, replicas = int(content["groups"]), int(content["replicas"])
        return JoinAnswer(str(content["cluster"]), groups, replicas, str(content["token"]), members, endpoints)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise JoinError(f"what answers at {PATH} is no node of Flin: {data[:80]!r}") from error


def join(address: str, request: JoinRequest, secret: bytes, context: ssl.SSLContext | None) -> JoinAnswer:
    """Ask the node whose `--http` is this address. JoinError; OSError if it cannot be reached."""
    return decode_answer(post(address, PATH, encode(request), secret, context))


def post(
    address: str, path: str, body: bytes, secret: bytes, context: ssl.SSLContext | None,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:  # fmt: skip
    """JoinError with what the node says if it refuses; OSError if it cannot be reached."""
    headers = {"Authorization": f"Bearer {secret.decode()}", "Content-Type": "application/json"}
    return ask(address, "POST", path, body, headers, context, timeout)


def ask(
    address: str, method: str, path: str, body: bytes, headers: dict[str, str], context: ssl.SSLContext | None,
    timeout: float = TIMEOUT_SECONDS,
) -> bytes:  # fmt: skip
    host, port = parse_http_address(address)
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read(MAX_ANSWER_BYTES)
    except http.client.RemoteDisconnected as error:
        why = "it may have --cluster-tls" if context is None else "it may not accept this node's certificate"
        raise JoinError(f"{address} closed the connection without an answer: {why}, or is no node's --http") from error
    except http.client.HTTPException as error:
        raise JoinError(
            f"what answers at {address} does not speak HTTP, so it is no node's --http: {error!r}"
        ) from error
    except ssl.SSLEOFError:  # it ends, perhaps: an OSError
        raise
    except ssl.SSLError as error:
        raise JoinError(
            f"{address}: {error}; all nodes must have --cluster-tls, with certificates of one authority, or none"
        ) from error
    finally:
        connection.close()
    if response.status == UNKNOWN_SECRET:
        raise JoinError(
            f"{address} has another secret than this one: copy its file cluster-secret here, or name it with "
            "--cluster-secret-file"
        )
    if response.status >= 300:
        raise JoinError(f"{address}: {_told(data)}", response.status == LATER)
    return data


def _told(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, TypeError, KeyError):
        return f"it is no node's --http, and says {data[:200]!r}"

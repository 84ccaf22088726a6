"""The stored keys of the server's databases: database n is a namespace of the engine, which SWAPDB may exchange."""

from __future__ import annotations

from flin.engine.key import USER_END, namespace_of, namespace_prefix, user_key


def user_part(stored: bytes) -> bytes:
    """The user's key of a stored key of any database."""
    namespace = namespace_of(stored)
    return stored[len(namespace_prefix(namespace)) :] if namespace else user_key(stored)


def bounds_of(namespace: int) -> tuple[bytes, bytes]:
    """The prefix of the namespace's stored keys, and the first key after them."""
    return (namespace_prefix(namespace), namespace_prefix(namespace + 1)) if namespace else (b"", USER_END)

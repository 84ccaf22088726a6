"""From errors of the server to status codes of gRPC. The text is the server's own. Pure."""

from __future__ import annotations

from typing import Final

import grpc

from flin.errors import FlinError

Code = grpc.StatusCode

_BY_WORD: Final = {
    "NOAUTH": Code.UNAUTHENTICATED,
    "WRONGPASS": Code.UNAUTHENTICATED,
    "NOPERM": Code.PERMISSION_DENIED,
    "WRONGTYPE": Code.FAILED_PRECONDITION,
    "MISCONF": Code.FAILED_PRECONDITION,  # a person must act: a full disk
    "MOVED": Code.FAILED_PRECONDITION,  # the server is one of several: name another one
    "CROSSSLOT": Code.INVALID_ARGUMENT,
    "FEEDGAP": Code.OUT_OF_RANGE,
    "OOM": Code.RESOURCE_EXHAUSTED,
    "BUSY": Code.UNAVAILABLE,
    "LOADING": Code.UNAVAILABLE,
    "EXECABORT": Code.ABORTED,
}
"""By the first word of an error."""

_BY_TEXT: Final = (
    ("ERR internal error", Code.INTERNAL),
    ("ERR max number of clients", Code.UNAVAILABLE),
    ("ERR unknown command", Code.UNIMPLEMENTED),  # an older server, or a Redis
    ("ERR the size", Code.RESOURCE_EXHAUSTED),
    ("ERR invalid", Code.INVALID_ARGUMENT),
    ("ERR value is not", Code.INVALID_ARGUMENT),
    ("ERR string exceeds", Code.INVALID_ARGUMENT),
    ("ERR Protocol error: invalid bulk length", Code.INVALID_ARGUMENT),
)


def code_of(text: str) -> grpc.StatusCode:
    """The code for an error of the server."""
    code = _BY_WORD.get(text.partition(" ")[0])
    if code is not None:
        return code
    return next((code for beginning, code in _BY_TEXT if text.startswith(beginning)), Code.UNKNOWN)


class Refused(FlinError):
    """A call ends with this code and text."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def refused(error: Exception) -> Refused:
    """An error that the server has replied."""
    return Refused(code_of(str(error)), str(error))


def invalid(text: str) -> Refused:
    """What is asked for cannot be meant."""
    return Refused(Code.INVALID_ARGUMENT, text)

"""Requests as one script: it calls each with redis.pcall, and returns their replies."""

from __future__ import annotations

from typing import Final

from tests.net.generator import Request

EACH: Final = b"""
    local replies, at = {}, 1
    while at <= #ARGV do
        local count, words = tonumber(ARGV[at]), {}
        for i = 1, count do words[i] = ARGV[at + i] end
        at = at + count + 1
        replies[#replies + 1] = redis.pcall(unpack(words))
    end
    return replies
"""
"""A script that calls what its arguments spell: a number of words, then these."""


def script_of(requests: list[list[bytes]]) -> Request:
    words = [word for request in requests for word in (b"%d" % len(request), *request)]
    return Request("eval", [b"EVAL", EACH, b"0", *words])

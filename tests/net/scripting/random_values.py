"""Random Lua values as the text that makes them, of all kinds that the libraries take. A map has one key: the order of
several is Lua's own (listed in docs/redis-differences.md)."""

from __future__ import annotations

import random

NUMBERS = ["0", "-0.5", "1e15", "1e16", "2^53", "-2^31", "2^31", "2^63", "-2^63", "1e300", "1e-300", "5e-324", "0.1",
           "1/3", "255", "256", "65535", "65536", "4294967295", "4294967296", "-129", "-32769", "3.4028234663852886e38",
           "16777217", "1.17549435e-38", "1e-45"]  # fmt: skip


def text(source: random.Random) -> str:
    length = source.choice([0, 1, 3, 31, 32, 33, 255, 256, 300])
    alphabet = source.choice([b'ab/"\\', bytes(range(256)), b"\n\t\r\b\f\0\x1f\x7f"])
    return '"' + "".join(f"\\{source.choice(alphabet):03d}" for _ in range(length)) + '"'


def number(source: random.Random) -> str:
    kind = source.randrange(4)
    if kind == 0:
        return source.choice(NUMBERS)
    if kind == 1:
        return repr(source.uniform(-1e6, 1e6))
    if kind == 2:
        return str(source.randint(-(2 ** source.randrange(1, 54)), 2 ** source.randrange(1, 54)))
    return f"{source.random()!r}e{source.randint(-300, 300)}"


def value(source: random.Random, depth: int = 4) -> str:
    kind = source.randrange(8 if depth else 5)
    if kind < 2:
        return number(source)
    if kind < 4:
        return text(source)
    if kind == 4:
        return source.choice(["true", "false", "cjson.null"])
    if kind == 5:
        return "{" + ",".join(value(source, depth - 1) for _ in range(source.choice([0, 1, 2, 15, 16, 17]))) + "}"
    if kind == 6:
        key = text(source) if source.randrange(2) else str(source.randint(-3, 12))
        return "{[" + key + "]=" + value(source, depth - 1) + "}"
    return "{" + value(source, depth - 1) + "}"


def document(source: random.Random, depth: int = 4) -> str:
    """JSON, now and then with a fault in it."""
    kind = source.randrange(9 if depth else 6)
    if kind < 2:
        made = number(source).replace("^", "e").replace("1/3", "0.25")
    elif kind < 4:
        made = (
            '"'
            + "".join(source.choice(["a", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\/", "é", " "]) for _ in range(5))
            + '"'
        )
    elif kind < 6:
        made = source.choice(["true", "false", "null"])
    elif kind < 8:
        made = "[" + " , ".join(document(source, depth - 1) for _ in range(source.randrange(4))) + "]"
    else:
        made = '{"k": ' + document(source, depth - 1) + "}"
    if source.randrange(25) == 0:
        at = source.randrange(len(made) + 1)
        made = made[:at] + source.choice(["", "x", ",", "]", '"', "\\", "-"]) + made[at + 1 :]
    return made

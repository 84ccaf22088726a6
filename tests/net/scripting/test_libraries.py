"""cjson, cmsgpack, struct and bit give the bytes and the errors that redis-server gives."""

from __future__ import annotations

import random
import socket

import pytest

from flin.errors import ScriptError
from flin.net.scripting.runtime import Lua
from flin.net.wire.resp import encode2, encode_error, encode_requests, split_replies
from tests.net.scripting import library_probes
from tests.net.scripting.calling import FakeCaller, run
from tests.net.scripting.random_values import document, value


def of_redis(port: int, scripts: list[str]) -> list[bytes]:
    requests = [[b"EVAL", script.encode("latin-1"), b"0"] for script in scripts]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(encode_requests([*requests, [b"QUIT"]]))
        data = b""
        while chunk := connection.recv(1 << 20):
            data += chunk
    return split_replies(data)[:-1]


def of_flin(lua: Lua, script: str) -> bytes:
    try:
        return encode2(run(lua, script.encode("latin-1"), caller=FakeCaller(stop_after=10**6)))
    except ScriptError as error:
        return encode_error(str(error))


def compare(port: int, scripts: list[str]) -> None:
    lua = Lua()  # options of cjson stay from script to script, in both
    for script, expected in zip(scripts, of_redis(port, scripts), strict=True):
        assert of_flin(lua, script) == expected, script


@pytest.mark.parametrize("name", ["CJSON", "CMSGPACK", "STRUCT_AND_BIT"])
def test_probes(redis_port: int, name: str) -> None:
    scripts = [line for line in getattr(library_probes, name).splitlines() if line]
    assert len(scripts) > 80
    compare(redis_port, scripts)


ROUNDS = 250


def test_random_values_are_encoded_alike(redis_port: int) -> None:
    source = random.Random(1)
    values = [value(source) for _ in range(ROUNDS)]
    compare(redis_port, [f"return cjson.encode({each})" for each in values])
    compare(redis_port, [f"return cmsgpack.pack({each}, {each})" for each in values])


def test_random_documents_are_decoded_alike(redis_port: int) -> None:
    source = random.Random(2)
    scripts = [f"return cjson.encode(cjson.decode([==[\n{document(source)}]==]))" for _ in range(2 * ROUNDS)]
    compare(redis_port, [script.encode().decode("latin-1") for script in scripts])


def test_random_packs_are_unpacked_alike(redis_port: int) -> None:
    """Also cut, and with bytes changed."""
    source = random.Random(3)
    lua = Lua()
    scripts = []
    for _ in range(2 * ROUNDS):
        packed = bytearray(run(lua, f"return cmsgpack.pack({value(source)})"))[:400]
        if source.randrange(3) == 0:
            packed[source.randrange(len(packed))] = source.randrange(256)
        if source.randrange(3) == 0:
            packed = packed[: source.randrange(len(packed) + 1)]
        literal = "".join(f"\\{byte:03d}" for byte in packed)
        scripts.append(
            f"local values = {{cmsgpack.unpack('{literal}')}} for i = 1, #values do"
            " values[i] = tostring(values[i]):gsub(': .*', '') end return values"
        )
        scripts.append(f"return {{cmsgpack.unpack_one('{literal}', {source.randrange(3)})}}")
    replies = of_redis(redis_port, scripts)
    for script, expected in zip(scripts, replies, strict=True):
        if b"index is" not in expected:
            assert of_flin(lua, script) == expected, script


LETTERS = [*"bBhHlLTfdiIx><!s", "i3", "I5", "i7", "i8", "I16", "!4", "c3", "c0", "!2"]
NUMBERS = ["0", "1", "-1", "255", "-129", "1.5", "2^40", "-2^33", "7e9", "0.1"]


def _argument(source: random.Random, letter: str) -> list[str]:
    if letter in ("s", "c3", "c0"):
        return ["'" + source.choice(["abc", "abcdef", "x\\0y"]) + "'"]
    if letter in ("f", "d"):
        return [source.choice([*NUMBERS, "1e300", "-1e-40", "1/0"])]
    return [source.choice(NUMBERS)] if letter[0] not in "x<>!" else []


def test_random_structs_are_alike(redis_port: int) -> None:
    source = random.Random(4)
    scripts = []
    for _ in range(2 * ROUNDS):
        letters = [source.choice(LETTERS) for _ in range(source.randrange(8))]
        words = source.choice(["", " "]).join(letters)
        values = [argument for letter in letters for argument in _argument(source, letter)]
        scripts.append(f"return struct.pack({', '.join([repr(words), *values])})")
        data = "".join(f"\\{source.randrange(256):03d}" for _ in range(source.randrange(40)))
        offset = source.choice(["", ", 1", ", 2"])
        scripts.append(
            f"local values = {{struct.unpack('{words}', '{data}'{offset})}} for i = 1, #values do"
            " values[i] = tostring(values[i]):gsub('^-?nan$', 'nan') end return values"
        )
        scripts.append(f"return struct.size('{words}')")
    compare(redis_port, scripts)


def test_random_numbers_are_those_of_redis(redis_port: int) -> None:
    """From a server's start on, and after a seed."""
    scripts = [
        "return {tostring(math.random()), math.random(10), math.random(3, 20), math.random(2^31 - 1)}",
        *[f"math.randomseed({seed}) return tostring(math.random()) .. math.random(1000)"
          for seed in ("0", "5", "-1.7", "1e10", "2^31", "-2^31", "123456789")],
        "local t = {} for i = 1, 100 do t[i] = math.random(1000) end return t",
        "math.random('x')", "math.randomseed()", "return math.random('7')",
    ]  # fmt: skip
    compare(redis_port, scripts)

"""Random requests for the bits of strings, LCS, MOVE and SWAPDB: a part of generator.py's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.net.generator import Burst, Generator, Maker

OFFSETS: Final = [b"0", b"1", b"7", b"8", b"9", b"31", b"63", b"64", b"100", b"351", b"352", b"353", b"4000"]
NO_OFFSETS: Final = [
    b"-1",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"",
    b"abc",
    b"1.5",
    b" 1",
    b"#1",
]
BITS: Final = [b"0", b"1"]
NO_BITS: Final = [b"2", b"-1", b"", b"abc", b"9223372036854775808", b"00"]
RANGES: Final = [b"0", b"1", b"2", b"5", b"7", b"8", b"40", b"100", b"-1", b"-2", b"-8", b"-40", b"-1000"]
TYPES: Final = [b"u1", b"u4", b"u8", b"u16", b"u31", b"u63", b"i1", b"i5", b"i8", b"i32", b"i63", b"i64"]
NO_TYPES: Final = [b"u0", b"u64", b"i65", b"i0", b"U8", b"8", b"", b"i", b"u-1", b"u08", b"x8"]
NUMBERS: Final = [b"0", b"1", b"-1", b"127", b"128", b"255", b"-128", b"-129", b"1000", b"9223372036854775807",
                  b"-9223372036854775808"]  # fmt: skip
NO_NUMBERS: Final = [b"", b"abc", b"1.5", b"9223372036854775808"]
ALIKE: Final = [b"", b"a", b"ohmytext", b"mynewtext", b"abcabcabc" * 5, b"xabcyabz" * 6, b"\x00\xff\r\n", b"z" * 90]


def _mostly(source: Generator, good: list[bytes], bad: list[bytes]) -> bytes:
    return source.pick(good if source.random.random() < 0.92 else bad)


def _bits_set(source: Generator) -> Burst:
    """A few bits that SETBIT writes, and reads of them."""
    key = source.key()
    first = source.request("setbit", key, _mostly(source, OFFSETS, NO_OFFSETS), _mostly(source, BITS, NO_BITS))
    return [first, source.request("setbit", key, source.pick(OFFSETS), b"1"), source.request("get", key)]


def _bit(source: Generator) -> Burst:
    return [source.request("getbit", source.key(), _mostly(source, OFFSETS, NO_OFFSETS))]


def _unit(source: Generator) -> list[bytes]:
    odd = source.random.random()
    return [] if odd < 0.5 else [source.spelled(source.pick(["BIT", "BYTE"]))] if odd < 0.95 else [b"FOO"]


def _range(source: Generator) -> list[bytes]:
    return [_mostly(source, RANGES, NO_NUMBERS), _mostly(source, RANGES, NO_NUMBERS), *_unit(source)]


def _set_some(source: Generator) -> Burst:
    """Strings that begin with many equal bits, so that a search has something to do."""
    text = source.pick([b"\x00", b"\xff"]) * source.random.randint(0, 40)
    return [source.request("set", source.key(), text + source.pick([b"", b"\x10", b"\xef", b"\x01\x80", b"hello"]))]


def _counts(source: Generator) -> Burst:
    return [*_set_some(source), source.request("bitcount", source.key(), *_range(source))]


def _positions(source: Generator) -> Burst:
    words = _range(source)[: source.random.randint(1, 3)]
    return [*_set_some(source), source.request("bitpos", source.key(), _mostly(source, BITS, NO_BITS), *words)]


def _joins(source: Generator) -> Burst:
    name = source.pick(["AND", "OR", "XOR", "NOT", "NOT", "NAND"])
    keys = source.some_keys()
    if name == "NOT" and source.random.random() < 0.8:
        keys = keys[:1]
    target = source.key()
    request = source.request("bitop", source.spelled(name), target, *keys)
    return [*_set_some(source), request, source.request("get", target)]


def _fields(name: str, names: list[str], *, reads: bool) -> Maker:
    def make(source: Generator) -> Burst:
        key = source.key()
        words: list[bytes] = []
        for _ in range(source.random.randint(0, 4)):
            step = source.pick(names)
            if step == "OVERFLOW":
                words += [source.spelled(step), source.spelled(source.pick(["WRAP", "SAT", "FAIL", "FAIL", "x"]))]
                continue
            offset = _mostly(source, [*OFFSETS, b"#0", b"#1", b"#3", b"#10"], NO_OFFSETS[:-1])
            words += [source.spelled(step), _mostly(source, TYPES, NO_TYPES), offset]
            if step != "GET":
                words.append(_mostly(source, NUMBERS, NO_NUMBERS))
        request = source.request(name, key, *words)
        return [request] if reads else [request, source.request("get", key)]

    return make


def _common(source: Generator) -> Burst:
    keys = source.key(), source.key()
    return [
        source.request("mset", keys[0], source.pick(ALIKE), keys[1], source.pick(ALIKE)),
        source.request("lcs", *keys),
    ]


def _common_options(source: Generator) -> Burst:
    keys = source.key(), source.key()
    choices = [[b"LEN"], [b"IDX"], [b"idx"], [b"IDX", b"WITHMATCHLEN"], [b"IDX", b"MINMATCHLEN", b"3"],
               [b"WITHMATCHLEN"], [b"IDX", b"WITHMATCHLEN", b"minmatchlen", b"-1"], [b"LEN", b"IDX"], [b"MINMATCHLEN"],
               [b"MINMATCHLEN", b"x"], [b"FOO"]]  # fmt: skip
    words = [] if source.random.random() < 0.3 else [source.key(), source.pick(ALIKE)]
    first = source.request("mset", keys[0], source.pick(ALIKE), keys[1], source.pick(ALIKE), *words)
    return [first, source.request("lcs", *keys, *source.pick(choices))]


def _moved(source: Generator) -> Burst:
    """Moves to database 1 or 2, with reads of the result, and sometimes back."""
    key = source.key()
    database = source.pick([b"1", b"2", b"1", b"2", b"0", b"16", b"-1", b"abc", b"99999999999"])
    move = source.request("move", key, database)
    if database not in (b"1", b"2") or source.random.random() < 0.5:
        return [move, source.request("exists", key)]
    return [
        move,
        source.request("select", database),
        source.request("ttl", key, compare="near"),
        source.request("get", key),
        source.request("move", key, source.pick([b"0", b"1", b"2"])),
        source.request("select", b"0"),
        source.request("get", key),
    ]


def _swapped(source: Generator) -> Burst:
    """Database 0 is left out: see the table of differences."""
    first, second = source.random.choice([b"1", b"2", b"3"]), source.random.choice([b"1", b"2", b"15"])
    return [
        source.request("select", first),
        source.request("set", source.key(), source.value()),
        source.request("swapdb", first, second),
        source.request("dbsize"),
        source.request("keys", b"*", compare="unordered"),
        source.request("select", second),
        source.request("mget", *source.some_keys()),
        source.request("dbsize"),
        source.request("select", b"0"),
    ]


PLAIN_BITS: Final[dict[str, Maker]] = {
    "setbit": _bits_set,
    "getbit": _bit,
    "bitcount": lambda source: [*_set_some(source), source.request("bitcount", source.key())],
    "bitpos": lambda source: [*_set_some(source), source.request("bitpos", source.key(), source.pick(BITS))],
    "bitop": _joins,
    "bitfield": _fields("bitfield", ["GET", "SET", "INCRBY"], reads=False),
    "bitfield_ro": _fields("bitfield_ro", ["GET"], reads=True),
    "lcs": _common,
    "move": _moved,
    "swapdb": _swapped,
}

BIT_OPTIONS: Final[dict[str, Maker]] = {
    "bitcount": _counts,
    "bitpos": _positions,
    "bitfield": _fields("bitfield", ["GET", "SET", "INCRBY", "INCRBY", "OVERFLOW", "FOO"], reads=False),
    "bitfield_ro": _fields("bitfield_ro", ["GET", "GET", "SET", "OVERFLOW"], reads=True),
    "lcs": _common_options,
}

WRONG_SWAPS: Final = [[], [b"1"], [b"1", b"2", b"3"], [b"a", b"1"], [b"1", b"a"], [b"1", b"16"], [b"-1", b"1"],
                      [b"0", b"0"], [b"99999999999", b"1"], [b"1", b""]]  # fmt: skip
"""A random change might exchange database 0."""

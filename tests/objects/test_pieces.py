"""Pieces against a dict: by key, by range, by rank, with and without a rank index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Entry, Page
from flin.errors import CorruptionError
from flin.objects import limits
from flin.objects.host import Host
from flin.objects.pieces import Pieces

PREFIX = b"\xff\x01prefix"

suffixes = st.binary(max_size=2)
bounds = st.one_of(st.none(), suffixes)


class Held:
    """As much of a host as Pieces use."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {PREFIX[:-1]: b"below", PREFIX + b"\xff" * 9: b"v", PREFIX[:-1] + b"y": b""}

    def piece(self, stored: bytes) -> Entry | None:
        return self.entries.get(stored)

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        keys = sorted((key for key in self.entries if start <= key < stop), reverse=reverse)[:count]
        return keys, [self.entries[key] for key in keys]

    def frozen_pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        keys, entries = self.page(start, stop, 1 << 30, reverse=reverse)
        keys.insert(0, start + b"deleted")
        entries.insert(0, TOMBSTONE)
        return iter([(keys, entries)])

    def put_piece(self, stored: bytes, value: bytes) -> None:
        self.entries[stored] = value

    def delete_piece(self, stored: bytes) -> None:
        del self.entries[stored]


def made(held: Held) -> Pieces:
    return Pieces(cast(Host, held), PREFIX)


@given(
    model=st.dictionaries(suffixes, st.binary(max_size=2)),
    later=st.lists(suffixes, max_size=9),
    gone=st.lists(suffixes, max_size=9),
    begin=suffixes,
    stop=bounds,
    reverse=st.booleans(),
    is_ranked=st.booleans(),
)
def test_against_a_dict(
    model: dict[bytes, bytes],
    later: list[bytes],
    gone: list[bytes],
    begin: bytes,
    stop: bytes | None,
    reverse: bool,
    is_ranked: bool,
) -> None:
    model[b"\xff" * 9] = b"v"  # which Held has
    pieces = made(Held())
    for suffix, value in model.items():
        pieces.put(suffix, value)
    if is_ranked:
        assert pieces.rank_of(b"") == 0  # from here on the index is kept up to date
    new = [suffix for suffix in dict.fromkeys(later) if suffix not in model]
    for suffix in later:
        pieces.put(suffix, b"later")
        model[suffix] = b"later"
    pieces.added(new)
    for suffix in set(gone) & model.keys():
        pieces.delete(suffix)
        del model[suffix]
    ordered = sorted(model)
    wanted = [suffix for suffix in ordered if begin <= suffix and (stop is None or suffix < stop)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PAGE", 3)
        parts = list(pieces.parts(begin, stop, reverse=reverse))
    found = [pair for part in parts for pair in zip(*part, strict=True)]
    assert found == [(suffix, model[suffix]) for suffix in (wanted[::-1] if reverse else wanted)]
    assert [suffix for part in pieces.frozen_parts(begin, stop) for suffix in part[0]] == wanted
    assert pieces.get(begin) == model.get(begin)
    assert [pieces.at(rank)[0] for rank in range(len(ordered))] == ordered
    assert pieces.rank_of(begin) == sum(suffix < begin for suffix in ordered)
    for rank in range(len(ordered)):
        assert pieces.from_rank(rank, 4)[0] == ordered[rank : rank + 4]
    with pytest.raises(IndexError):
        pieces.at(len(ordered))


def grow(pieces: Pieces, numbers: Iterable[int]) -> None:
    for number in numbers:
        pieces.put(b"%04d" % number, b"")
        pieces.added([b"%04d" % number])


def test_a_large_piece_of_the_index_is_divided() -> None:
    pieces = made(Held())
    assert pieces.rank_of(b"zz") == 0
    grow(pieces, [*range(0, 2000, 1000), *range(1, 200)])
    assert pieces.is_ranked
    assert pieces.rank_of(b"0123") == 123
    assert pieces.at(200)[0] == b"1000"


def test_a_huge_one_is_divided_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE", 300)
    told: list[bool] = []
    pieces = Pieces(cast(Host, Held()), PREFIX, lambda: told.append(pieces.is_ranked))
    assert pieces.rank_of(b"zz") == 0
    assert told == [True]
    charged = pieces.charge_bytes
    grow(pieces, [1000, 3000, *range(1001, 2000)])
    assert not pieces.is_ranked
    steps = [pieces.rank_some(), pieces.rank_some(), pieces.rank_some()]
    assert steps == [False, True, True]
    assert pieces.is_ranked
    assert pieces.charge_bytes > 8 * charged
    grow(pieces, range(2000, 3000))
    assert pieces.rank_of(b"2345") == 1345, "at once for who cannot wait"
    assert pieces.is_ranked
    assert [pieces.at(rank)[0] for rank in (0, 999, 1999, 2000)] == [b"1000", b"1999", b"2999", b"3000"]
    assert told == [True]


@pytest.mark.parametrize("entry", [(b"v", 5, 0), (b"v", 0, 3)])
def test_a_piece_with_an_expiry_or_a_tag_is_damage(entry: Entry) -> None:
    held = Held()
    held.entries[PREFIX + b"a"] = entry
    with pytest.raises(CorruptionError, match="it has a tag or an expiry"):
        made(held).part(b"", None, 9)

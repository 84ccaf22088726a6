"""Pieces against a dict: by key, by range, by rank, with and without a rank index."""

from __future__ import annotations

from collections.abc import Iterator
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


def test_a_large_piece_of_the_index_is_divided() -> None:
    pieces = made(Held())
    assert pieces.rank_of(b"zz") == 0
    for number in range(2000):
        pieces.put(b"%04d" % number, b"")
        pieces.added([b"%04d" % number])
    assert pieces.rank_of(b"1234") == 1234
    assert pieces.at(1999)[0] == b"1999"


@pytest.mark.parametrize("entry", [(b"v", 5, 0), (b"v", 0, 3)])
def test_a_piece_with_an_expiry_or_a_tag_is_damage(entry: Entry) -> None:
    held = Held()
    held.entries[PREFIX + b"a"] = entry
    with pytest.raises(CorruptionError, match="it has a tag or an expiry"):
        made(held).part(b"", None, 9)

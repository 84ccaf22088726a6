"""Streams, against lists and dicts. One that has no entries is there all the same."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import astuple, dataclass, field
from random import Random
from typing import Any, Final, TypeAlias

from flin.objects.layout import (
    CONSUMER,
    ENTRY,
    GROUP,
    Pending,
    decode_consumer,
    decode_group,
    decode_pending,
    parse_consumer_suffix,
    parse_pending_suffix,
)
from flin.objects.meta import NO_ID, Meta, StreamMeta
from flin.objects.packed import decode_list, decode_stream
from flin.objects.stream import Stream
from flin.objects.stream_group import Group
from flin.objects.stream_id import MAX_ID
from tests.objects.kinds.kind import NAMES, VALUES, Kind

GROUPS: Final = [b"g", b"", b"\xff"]
CONSUMERS: Final = [b"c", b"d", b""]

Delivered: TypeAlias = tuple[int, int, bytes]


@dataclass
class PlainGroup:
    last_id: bytes
    entries_read: int
    consumers: dict[bytes, int] = field(default_factory=dict)
    pending: dict[bytes, Delivered] = field(default_factory=dict)


@dataclass
class Plain:
    last_id: bytes = NO_ID
    greatest_deleted_id: bytes = NO_ID
    added: int = 0
    entries: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    groups: dict[bytes, PlainGroup] = field(default_factory=dict)

    def ids(self) -> list[bytes]:
        return [id_ for id_, _ in self.entries]


class StreamKind(Kind[Stream, Plain]):
    made = Stream

    def empty(self) -> Plain:
        return Plain()

    def grow(self, found: Stream, plain: Plain, random: Random) -> None:
        if random.random() < 0.2 and not plain.groups:
            self._make_group(found, plain, random)
            return
        for _ in range(random.randint(1, 3)):
            step = random.choice((1, 1, 2, 1 << 64))
            id_ = (int.from_bytes(plain.last_id, "big") + step).to_bytes(16, "big")
            strings = [random.choice(NAMES), random.choice(VALUES)] * random.randint(1, 2)
            found.append(id_, strings)
            plain.entries.append((id_, strings))
            plain.last_id = id_
            plain.added += 1

    def change(self, found: Stream, plain: Plain, random: Random) -> None:
        how = random.choice((self._delete, self._trim, self._set_id, self._make_group, *[self._in_group] * 4))
        how(found, plain, random)

    def _delete(self, found: Stream, plain: Plain, random: Random) -> None:
        ids = plain.ids()
        chosen = random.sample(ids, random.randint(0, min(3, len(ids))))
        if ids and random.random() < 0.3:
            chosen = ids[: random.randint(1, 3)]
        assert found.delete_many([*chosen, b"\x77" * 16, plain.last_id[:-1] + b"\xee"]) == len(chosen)
        plain.entries = [entry for entry in plain.entries if entry[0] not in chosen]
        plain.greatest_deleted_id = max([plain.greatest_deleted_id, *chosen])

    def _trim(self, found: Stream, plain: Plain, random: Random) -> None:
        if plain.entries:
            number = random.randint(1, len(plain.entries))
            gone = plain.ids()[:number]
            for id_ in (gone[-1], *plain.ids()[number : number + 1]):
                assert found.number_below(id_) == bisect_left(plain.ids(), id_)
            cut = found.cut(number)
            assert cut.number == number
            assert cut.ids in (None, gone)
            assert gone[-1] <= cut.last
            found.trim(cut)
            assert [found.get(id_) for id_ in gone] == [None] * number
            del plain.entries[:number]

    def _set_id(self, found: Stream, plain: Plain, random: Random) -> None:
        """Also back, to the last entry that is there."""
        newest = max([plain.greatest_deleted_id, *plain.ids()])
        last_id = random.choice((newest, plain.last_id, plain.last_id[:-1] + b"\xff"))
        added = random.choice((None, plain.added, plain.added + 3))
        found.set_id(last_id, added, NO_ID)
        plain.last_id = last_id
        plain.added = plain.added if added is None else added

    def _make_group(self, found: Stream, plain: Plain, random: Random) -> None:
        name = random.choice(GROUPS)
        if name not in plain.groups:
            found.create_group(name, plain.last_id, plain.added)
            plain.groups[name] = PlainGroup(plain.last_id, plain.added)
        elif random.random() < 0.3:
            found.destroy_group(name)
            del plain.groups[name]

    def _in_group(self, found: Stream, plain: Plain, random: Random) -> None:
        if not plain.groups:
            return
        name, group = random.choice(sorted(plain.groups.items()))
        live = found.groups()[name]
        consumer = random.choice(CONSUMERS)
        how = random.random()
        if how < 0.5 or not group.consumers:
            now_ms = random.randint(1, 1000)
            assert live.see(consumer, now_ms)[1] == (consumer not in group.consumers)
            group.consumers[consumer] = now_ms
            for id_ in random.sample(plain.ids(), random.randint(0, min(3, len(plain.entries)))):
                delivered = Pending(now_ms, random.choice((1, 2, 1 << 62)), consumer)
                live.set_pending(id_, delivered, live.find([id_]).get(id_))
                group.pending[id_] = (*delivered,)
        elif how < 0.75:
            ids = random.sample(sorted(group.pending), random.randint(0, len(group.pending)))
            assert live.acknowledge(live.find([*ids, b"\x77" * 16])) == len(ids)
            group.pending = {id_: held for id_, held in group.pending.items() if id_ not in ids}
        elif how < 0.9:
            live.last_id, live.entries_read = plain.last_id, plain.added
            live.save()
            group.last_id, group.entries_read = plain.last_id, plain.added
        elif consumer in group.consumers:
            gone = [id_ for id_, held in group.pending.items() if held[2] == consumer]
            assert live.delete_consumer(consumer, len(gone)) == len(gone)
            del group.consumers[consumer]
            group.pending = {id_: held for id_, held in group.pending.items() if id_ not in gone}

    def read_all(self, found: Stream) -> Plain:
        entries = [entry for page in found.pages(NO_ID, MAX_ID, len(found)) for entry in page]
        groups = {name: _plain_group(group) for name, group in found.groups().items()}
        return Plain(found.last_id, found.greatest_deleted_id, found.added, entries, groups)

    def compare(self, found: Stream, plain: Plain) -> None:
        ids = plain.ids()
        assert len(found) == len(ids)
        assert (found.last_id, found.greatest_deleted_id) == (plain.last_id, plain.greatest_deleted_id)
        assert found.added == plain.added
        assert found.first_id() == (ids[0] if ids else NO_ID)
        assert found.newest_id() == (ids[-1] if ids else NO_ID)
        assert [(id_, found.get(id_)) for id_ in ids] == plain.entries
        assert found.get(b"\x77" * 16) is None
        for start in (NO_ID, *ids[:2], *ids[-2:]):
            begin = bisect_left(ids, start)
            for count in (1, 2, len(ids) + 1):
                assert found.between(start, MAX_ID, count) == plain.entries[begin : begin + count]
                assert found.between(start, MAX_ID, count, reverse=True) == plain.entries[begin:][::-1][:count]
                assert found.between(NO_ID, start, count) == [e for e in plain.entries if e[0] <= start][:count]
        assert {name: _plain_group(group) for name, group in found.groups().items()} == plain.groups

    def of_packed(self, value: bytes) -> Plain:
        packed = decode_stream(value)
        return Plain(packed.last_id, packed.greatest_deleted_id, packed.added, list(packed.entries.items()))

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert isinstance(meta, StreamMeta)
        plain = Plain(meta.last_id, meta.greatest_deleted_id, meta.added)
        for suffix, value in sorted(pieces, key=lambda piece: piece[0][:1] != GROUP):  # groups first
            if suffix[:1] == ENTRY:
                plain.entries.append((suffix[1:], decode_list(value)))
            elif suffix[:1] == GROUP:
                plain.groups[suffix[1:]] = PlainGroup(*decode_group(value))
            elif suffix[:1] == CONSUMER:
                group, name = parse_consumer_suffix(suffix)
                plain.groups[group].consumers[name] = decode_consumer(value)
            else:
                group, id_ = parse_pending_suffix(suffix)
                plain.groups[group].pending[id_] = (*decode_pending(value),)
        assert len(plain.entries) == meta.count
        assert len(plain.groups) == meta.groups
        assert not plain.entries or plain.entries[0][0] >= meta.floor
        return plain

    def literal(self, plain: Plain) -> object:
        groups = [
            (name, group.last_id, group.entries_read, sorted(group.consumers.items()), sorted(group.pending.items()))
            for name, group in sorted(plain.groups.items())
        ]
        return (*astuple(plain)[:4], groups)

    def of_literal(self, literal: Any) -> Plain:
        last_id, greatest_deleted_id, added, entries, groups = literal
        made = {
            name: PlainGroup(read_up_to, read, dict(consumers), dict(pending))
            for name, read_up_to, read, consumers, pending in groups
        }
        return Plain(last_id, greatest_deleted_id, added, entries, made)


def _plain_group(group: Group) -> PlainGroup:
    group._check()
    consumers = {name: consumer.seen_at_ms for name, consumer in group.consumers().items()}
    found = list(group.between())
    ids = [id_ for id_, _ in found]
    assert ids == sorted(ids)
    assert group.bounds() == ((ids[0], ids[-1]) if ids else None)
    assert group.find([b"", *ids, b"\x77" * 16]) == dict(found)
    for name, consumer in group.consumers().items():
        of_it = [(id_, delivered) for id_, delivered in found if delivered.consumer == name]
        for start in (NO_ID, *ids[:2], *ids[-1:]):
            assert list(group.between(start, MAX_ID, consumer)) == [held for held in of_it if held[0] >= start]
        assert list(group.between(NO_ID, ids[0] if ids else NO_ID, consumer)) == of_it[: of_it[:1] == found[:1]]
    if group.count_some():
        assert group.pending == len(found)
    group._check()
    return PlainGroup(group.last_id, group.entries_read, consumers, {id_: (*delivered,) for id_, delivered in found})

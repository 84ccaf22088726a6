"""Commands over keys of any type: DEL, EXISTS, TYPE, COPY, RENAME, OBJECT and their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from flin.engine.entry import Live, Pointer, maybe_pointer, value_length
from flin.engine.eviction.worth import EVICTED
from flin.errors import CommandError
from flin.net.command.arguments import option_name, parse_int32
from flin.net.command.command import ALL_KEYS, FIRST_KEY, FIRST_TWO_KEYS, Keys
from flin.net.command.registry import command, container
from flin.net.data.live_entries import live_entries
from flin.net.data.many_keys import MAX_UNSLICED_KEYS, find_many
from flin.net.run.slot_gate import check_alone
from flin.net.wire.numbers import maybe_int64
from flin.net.wire.replies import NO_SUCH_KEY, OK, ONE, WRONG_TYPE, ZERO, Slices, Value, simple, syntax_error
from flin.objects.kinds import KINDS
from flin.objects.layout import LONG_STRING

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "generic"

_TYPE_NAMES: Final = {0: b"string", 1: b"hash", 2: b"list", 3: b"set", 4: b"zset", 5: b"stream", 6: b"string"}
_NO_TYPE: Final = simple(b"none")
_UNKNOWN_TYPE: Final = b"unknown"


def type_name(entry: Live) -> bytes:
    """The entry's type, as TYPE and SCAN's TYPE option name it. A newer Flin's tag is unknown, not an error."""
    return _TYPE_NAMES.get(tag_of(entry), _UNKNOWN_TYPE)


def tag_of(entry: Live) -> int:
    """The entry's tag, 0 for a string."""
    return 0 if isinstance(entry, bytes) else entry[2]


def _delete_each(context: Context, asked: tuple[bytes, ...]) -> list[bytes]:
    """Requests for one key each, up to the first that waits for the disk."""
    keyspace = context.keyspace
    keys = list(dict.fromkeys(asked))
    entries = live_entries(keyspace, context.services.pending, keys, values=False)
    if len(entries) < len(keys):
        asked = asked[: asked.index(keys[len(entries)])]
    found = {key: entry for key, entry in zip(keys, entries) if entry is not None}  # noqa: B905  perhaps fewer
    _delete_found(context, found)
    return [(ZERO if found.pop(key, None) is None else ONE).data for key in asked]


def _delete_found(context: Context, found: Mapping[bytes, Live]) -> None:
    for entry in found.values():
        if type(entry) is tuple:
            context.keyspace.note_gone(entry)
    if found:
        keys = list(found)
        context.keyspace.delete_all(keys)
        context.notify_each(b"del", keys)


@command("del", -2, "write untimed peeks", ALL_KEYS, batch=_delete_each)
def delete(context: Context, args: list[bytes]) -> Value:
    """Deletes keys and returns how many there were."""
    keyspace = context.keyspace
    if len(args) > MAX_UNSLICED_KEYS:
        return _delete_many(context, args)
    entries = {key: entry for key in args[1:] if (entry := keyspace.outline(key)) is not None}
    for key, entry in entries.items():
        if type(entry) is tuple:
            keyspace.note_gone(entry)
        keyspace.delete(key)
        context.notify(b"del", key)
    return len(entries)


def _delete_many(context: Context, args: list[bytes]) -> Slices:
    keyspace = context.keyspace
    keys = list(dict.fromkeys(args[1:]))
    entries = yield from find_many(keyspace, keys)
    found = {key: entry for key, entry in zip(keys, entries, strict=True) if entry is not None}
    _delete_found(context, found)
    return len(found)


@command("unlink", -2, "write fast peeks", ALL_KEYS, batch=_delete_each)
def unlink(context: Context, args: list[bytes]) -> Value:
    """Delete the keys as DEL does; deleting never waits here."""
    return delete(context, args)


def _exists_each(context: Context, asked: tuple[bytes, ...]) -> list[bytes]:
    """Requests for one key each, up to the first that waits for the disk."""
    entries = live_entries(context.keyspace, context.services.pending, asked, values=False)
    context.keyspace.count_look_ups(len(entries) - entries.count(None), len(entries))
    return [(ZERO if entry is None else ONE).data for entry in entries]


@command("exists", -2, "readonly fast peeks", ALL_KEYS, batch=_exists_each)
def exists(context: Context, args: list[bytes]) -> Value:
    """Counts how many of the keys exist; a key named twice counts twice."""
    keyspace = context.keyspace
    if len(args) == 2:
        return int(keyspace.look_up(args[1], values=False) is not None)
    if len(args) > MAX_UNSLICED_KEYS:
        return _count_many(keyspace, args)
    found = sum([keyspace.exists(key) for key in args[1:]])
    keyspace.count_look_ups(found, len(args) - 1)
    return found


def _count_many(keyspace: Keyspace, args: list[bytes]) -> Slices:
    entries = yield from find_many(keyspace, args[1:])
    found = len(entries) - entries.count(None)
    keyspace.count_look_ups(found, len(entries))
    return found


@command("touch", -2, "readonly fast peeks", ALL_KEYS, batch=_exists_each)
def touch(context: Context, args: list[bytes]) -> Value:
    """Counts how many of the keys exist. No time of access is kept."""
    return exists(context, args)


@command("type", 2, "readonly fast peeks", FIRST_KEY)
def type_(context: Context, args: list[bytes]) -> Value:
    """Returns the type of what a key holds, or none."""
    entry = context.keyspace.look_up(args[1], values=False)
    return _NO_TYPE if entry is None else simple(type_name(entry))


@command("copy", -3, "write denyoom", FIRST_TWO_KEYS)
def copy(context: Context, args: list[bytes]) -> Value:
    """Copies a key's value and expiry to another key, also in another database."""
    source, destination = args[1], args[2]
    target, replace = _copy_options(context, args)
    if target is not context.keyspace:
        check_alone(context.services.slot_gate, "Copying to another database")
    if target is context.keyspace and source == destination:
        raise CommandError("ERR source and destination objects are the same")
    entry = context.keyspace.look_up(source, values=False)
    if entry is None or (target.exists(destination) and not replace):
        return ZERO
    _copy(context, source, target, destination)
    context.notify_in(target, b"new", destination)
    context.notify_in(target, b"copy_to", destination)
    return ONE


def _copy(context: Context, source: bytes, target: Keyspace, destination: bytes) -> None:
    entry = context.keyspace.settled(source)
    assert entry is not None
    context.keyspace.copy_to(entry, target, destination, context.services.config.options.memory_limit // 4)


def _copy_options(context: Context, args: list[bytes]) -> tuple[Keyspace, bool]:
    """The keyspace to copy to, and whether a key there is replaced: DB index, REPLACE, in any order."""
    target, replace = context.keyspace, False
    position = 3
    while position < len(args):
        name = option_name(args[position])
        if name == b"REPLACE":
            replace = True
        elif name == b"DB" and position + 1 < len(args):
            target = _database(context, args[position + 1])
            position += 1
        else:
            raise syntax_error()
        position += 1
    return target, replace


def _database(context: Context, text: bytes) -> Keyspace:
    index = parse_int32(text)
    if not 0 <= index < context.services.config.databases:
        raise CommandError("ERR DB index is out of range")
    return context.services.databases.keyspaces[index]


@command("move", 3, "write fast", FIRST_KEY)
def move(context: Context, args: list[bytes]) -> Value:
    """Moves a key to another database, unless it exists there."""
    check_alone(context.services.slot_gate, "MOVE")
    key, target = args[1], _database(context, args[2])
    if target is context.keyspace:
        raise CommandError("ERR source and destination objects are the same")
    entry = context.keyspace.outline(key)
    if entry is None or target.exists(key):
        return ZERO
    _copy(context, key, target, key)
    context.keyspace.note_gone(entry)
    context.keyspace.delete(key)
    context.notify_in(target, b"new", key)
    context.notify(b"move_from", key)
    context.notify_in(target, b"move_to", key)
    return ONE


@command("rename", 3, "write", FIRST_TWO_KEYS)
def rename(context: Context, args: list[bytes]) -> Value:
    """Renames a key, over whatever the new name held."""
    entry = _existing(context, args[1])
    if args[1] != args[2]:
        _rename(context, args, entry)
    return OK


@command("renamenx", 3, "write fast", FIRST_TWO_KEYS)
def renamenx(context: Context, args: list[bytes]) -> Value:
    """Renames a key if nothing has the new name."""
    entry = _existing(context, args[1])
    if context.keyspace.exists(args[2]):
        return ZERO
    _rename(context, args, entry)
    return ONE


def _rename(context: Context, args: list[bytes], entry: Live) -> None:
    context.keyspace.rename(args[1], args[2], entry)
    context.notify(b"new", args[2])
    context.notify(b"rename_from", args[1])
    context.notify(b"rename_to", args[2])


def _existing(context: Context, key: bytes) -> Live:
    entry = context.keyspace.settled(key)
    if entry is None:
        raise CommandError(NO_SUCH_KEY)
    return entry


# OBJECT. Redis tells how it keeps a value in memory; here the answers follow from the value alone, as Redis would
# give them for one that was just set.

_OBJECT_KEY: Final = Keys(2, 2, 1)
_MAX_EMBEDDED: Final = 44  # bytes of a string that Redis keeps in one allocation with its header
_SHARED_INTEGERS: Final = 10_000  # Redis shares one object for each of 0 to 9999 …
_SHARED_COUNT: Final = (1 << 31) - 1  # … and says so by this number of references

_OBJECT_HELP: Final = (
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
)

container("object", GROUP, "Tells about the value of a key.")


def _short(context: Context, key: bytes) -> Live | None:
    """The key's entry. A string that is too long to be an integer or embedded may be a pointer."""
    entry = context.keyspace.look_up(key, values=False)
    if entry is None:
        return None
    pointer = maybe_pointer(entry)
    return context.keyspace.entry(key) if pointer is not None and value_length(pointer) <= _MAX_EMBEDDED else entry


@command("object|encoding", 3, "readonly", _OBJECT_KEY)
def object_encoding(context: Context, args: list[bytes]) -> Value:
    """Returns how Redis would keep the value in memory."""
    entry = _short(context, args[2])
    if entry is None:
        return None
    kind = KINDS.get(tag_of(entry))
    if kind is not None:
        found = context.keyspace.objects.find(args[2], kind)
        assert found is not None
        return found.encoding
    if tag_of(entry) == LONG_STRING:
        return b"raw"
    value = string_of(entry)
    if type(value) is Pointer:
        return b"raw"
    if maybe_int64(value) is not None:
        return b"int"
    return b"embstr" if len(value) <= _MAX_EMBEDDED else b"raw"


def string_of(entry: Live) -> bytes:
    """CommandError WRONGTYPE for an entry of another type."""
    if tag_of(entry):
        raise CommandError(WRONG_TYPE)
    return entry if isinstance(entry, bytes) else entry[0]


@command("object|refcount", 3, "readonly", _OBJECT_KEY)
def object_refcount(context: Context, args: list[bytes]) -> Value:
    """Returns the number of references Redis would count."""
    entry = _short(context, args[2])
    if entry is None:
        return None
    is_long = tag_of(entry) or maybe_pointer(entry) is not None
    number = None if is_long else maybe_int64(string_of(entry))
    return _SHARED_COUNT if number is not None and 0 <= number < _SHARED_INTEGERS else 1


@command("object|idletime", 3, "readonly peeks", _OBJECT_KEY)
def object_idletime(context: Context, args: list[bytes]) -> Value:
    """Returns 0 for a key that exists: no time of access is kept."""
    return None if context.keyspace.look_up(args[2], values=False) is None else ZERO


@command("object|freq", 3, "readonly peeks", _OBJECT_KEY)
def object_freq(context: Context, args: list[bytes]) -> Value:
    """Returns how often the key was used of late, with an LFU policy; else refused for a key that exists."""
    if context.keyspace.look_up(args[2], values=False) is None:
        return None
    uses = context.keyspace.uses
    if uses is not None and context.services.config.maxmemory_policy.endswith(b"-lfu"):
        return uses.of(context.keyspace.stored(args[2])) % EVICTED
    raise CommandError(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
        "between policies at runtime LRU and LFU data will take some time to adjust."
    )


@command("object|help", 2, "loading stale")
def object_help(context: Context, args: list[bytes]) -> Value:
    """Lists the subcommands."""
    return list(_OBJECT_HELP)

"""FLIN.TXN: compares, and what runs if they hold, or else. One step, as EXEC is: without WATCH, retries or Lua.

    FLIN.TXN IF VALUE stock = 1 IF EXISTS order 0 THEN 2 DEL stock THEN 3 SET order ada ELSE 2 GET stock

Each request of THEN and ELSE stands behind the number of its words. Whatever a script may call is allowed. Everything
is checked before anything runs, so a request that cannot be right, or is not allowed, leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flin.errors import CommandError
from flin.net.command.arguments import option_name
from flin.net.command.command import Command, Flag, Keys
from flin.net.command.registry import command, find_by_path
from flin.net.run.gates import check_arity, check_writes, resolve
from flin.net.run.permission import may_run, note_denial
from flin.net.run.transaction import read_keys, run_whole
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import Value, shown

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "flin"

_RELATIONS: Final[dict[bytes, Callable[[Any, Any], bool]]] = {
    b"=": eq,
    b"!=": ne,
    b"<": lt,
    b"<=": le,
    b">": gt,
    b">=": ge,
}

Request: TypeAlias = "tuple[Command, list[bytes]]"
Holds: TypeAlias = "Callable[[Keyspace], bool]"


@dataclass(slots=True)
class _Transaction:
    """A request of FLIN.TXN, read. keys: the positions of all keys in it."""

    compares: list[Holds] = field(default_factory=list)
    then: list[Request] = field(default_factory=list)
    otherwise: list[Request] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        return self.then + self.otherwise


def _find_keys(args: list[bytes]) -> list[int]:
    with suppress(CommandError):  # which its run will answer
        return _parse(args).keys
    return []


@command(
    "flin.txn",
    -4,
    "noscript no_mandatory_keys movablekeys may_replicate",
    Keys(find=_find_keys),
)
def flin_txn(context: Context, args: list[bytes]) -> Value:
    """Compares keys with values, and runs one of two lists of requests, all as one step."""
    transaction = _parse(args)
    for found, request in transaction.requests:
        denial = may_run(context.session, found, request)
        if denial is not None:
            note_denial(context, denial, "multi")
            raise CommandError(denial.text)
    has_held = all([holds(context.keyspace) for holds in transaction.compares])  # noqa: C419 - errors of all of them
    queue = transaction.then if has_held else transaction.otherwise
    if any(found.may_write for found, _ in queue):
        check_writes(context, has_waited=context.has_waited or context.services.pending.in_transaction)
    if any(found.flags & Flag.DENYOOM for found, _ in queue):
        context.services.room.check()
    read_keys(context, queue)
    context.session.remarks.append((args, queue))
    return [int(has_held), run_whole(context, queue)]


def _says_it_reads(context: Context, args: list[bytes]) -> bool:
    """Whether it only reads: then it runs while writes are paused."""
    with suppress(CommandError):
        return not any(found.may_write for found, _ in _parse(args).requests)
    return False


_declared: Final = find_by_path("flin.txn")
assert _declared is not None
_declared.says_it_reads = _says_it_reads


# Its words.


def _parse(args: list[bytes]) -> _Transaction:
    transaction = _Transaction()
    words = iter(range(1, len(args)))
    for at in words:
        clause = option_name(args[at])
        if clause == b"IF" and not transaction.requests:
            transaction.compares.append(_compare(args, words, transaction.keys))
        elif clause == b"THEN" and not transaction.otherwise:
            transaction.then.append(_request(args, words, transaction.keys))
        elif clause == b"ELSE":
            transaction.otherwise.append(_request(args, words, transaction.keys))
        else:
            raise CommandError(f"ERR FLIN.TXN takes IF, then THEN, then ELSE, not '{shown(args[at])}' there")
    return transaction


def _word(args: list[bytes], words: Iterator[int]) -> bytes:
    at = next(words, None)
    if at is None:
        raise CommandError("ERR FLIN.TXN ends within a compare, or a request")
    return args[at]


def _compare(args: list[bytes], words: Iterator[int], keys: list[int]) -> Holds:
    what = option_name(_word(args, words))
    at = next(words, None)
    key, word = args[at or 0], _word(args, words)  # the latter raises at the end
    assert at is not None
    keys.append(at)
    if what == b"EXISTS":
        if word not in (b"0", b"1"):
            raise CommandError(f"ERR EXISTS is followed by a key and 0 or 1, not '{shown(word)}'")
        return lambda keyspace: keyspace.exists(key) == (word == b"1")
    relation = _RELATIONS.get(word)
    if relation is None:
        raise CommandError(f"ERR a relation is one of = != < <= > >=, not '{shown(word)}'")
    other = _word(args, words)
    if what == b"VALUE":
        return lambda keyspace: (value := keyspace.value(key)) is not None and relation(value, other)
    if what == b"EXPIRES":
        moment = parse_int64(other)
        return lambda keyspace: (found := keyspace.expires_at_ms(key)) is not None and relation(found, moment)
    raise CommandError(f"ERR FLIN.TXN compares VALUE, EXISTS or EXPIRES, not '{shown(what)}'")


def _request(args: list[bytes], words: Iterator[int], keys: list[int]) -> Request:
    number = parse_int64(_word(args, words))
    if number < 1:
        raise CommandError("ERR a request of FLIN.TXN has at least one word")
    begin = next(words, len(args))
    for _ in range(min(number, len(args)) - 1):
        next(words, None)
    request = args[begin : begin + number]
    if len(request) < number:
        raise CommandError("ERR FLIN.TXN ends within a compare, or a request")
    found = resolve(request)
    check_arity(found, request)
    if found.flags & Flag.NOSCRIPT:
        raise CommandError(f"ERR {found.name.upper()} is not allowed in FLIN.TXN, as in scripts")
    keys += [begin + position for position in found.keys.slotted(request)]
    return found, request

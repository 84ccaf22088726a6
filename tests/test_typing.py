"""A type checker's errors in programs that use Flin: wrong options are refused, results have their types."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.source import ROOT

# Each line that mypy must refuse ends with the expected error; the others must pass under --strict.
USE = """
import os
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from pathlib import Path

import flin.engine
from flin.engine import LockedError, Snapshot, Transaction, WriteBatch
from flin.engine.prefixed import PrefixedTransaction
from flin.engine.typed import TypedTransaction

flin.engine.open("x", sync="bad")  # error: Argument "sync" to "open" has incompatible type "Literal['bad']"
flin.engine.open("x", runner="process")  # error: Argument "runner" to "open" has incompatible type
flin.engine.open("x", compression="gzip")  # error: Argument "compression" to "open" has incompatible type
flin.engine.open("x", memory="1gb")  # error: Unexpected keyword argument "memory" for "open"
flin.engine.open("x", "always")  # error: Too many positional arguments for "open"
flin.engine.open(5)  # error: Argument 1 to "open" has incompatible type "int"
flin.engine.open("x", memory_limit="1gb", sync="always", shards=4, clock_ms=lambda: 5)
for path in ("x", b"x", Path("x"), os.fsencode("x")):
    flin.engine.open(path)

db = flin.engine.open("x")
db.put("k", b"v")  # error: Argument 1 to "put" of "Engine" has incompatible type "str"
db[b"k"] = "v"  # error: Incompatible types in assignment
db.put_many([(bytearray(b"k"), b"v")], ttl=0.5)
db.update({b"k": b"v"})
db |= {b"k": b"v"}
writable: MutableMapping[bytes, bytes] = db
found: bytes | None = db.get(b"k")
certain: bytes = db.get(b"k")  # error: Incompatible types in assignment
either: bytes | int = db.get(b"k", 5)
popped: bytes | None = db.pop(b"k", default=None)
pairs: dict[bytes, bytes] = dict(db) | dict(db.items())


def reads(view: Mapping[bytes, bytes], snapshot: Snapshot, batch: WriteBatch) -> list[bytes]:
    snapshot[b"k"] = b"v"  # error: Unsupported target for indexed assignment
    batch[b"k"] = b"v"
    del batch[b"k"]
    return [*view, *snapshot.keys(), *reversed(batch), *(value for _, value in snapshot.scan(limit=5))]


part: Mapping[bytes, bytes] = db[b"a":b"m"]
del db[b"a":b"m"]
pair: tuple[bytes, bytes] = db.iterator(prefix=b"k").prev()
db.iterator(begin=b"k")  # error: Unexpected keyword argument "begin" for overloaded function "iterator"
users = db.prefixed(b"user:")
users.put(b"1", b"Ada", ttl=5, sync=True)
users.put(b"1", b"Ada", tll=5)  # error: Unexpected keyword argument "tll" for "put" of "PrefixedWrites"
ages = users.typed(key=str, value=int)
ages["Ada"] = 36
ages["Ada"] = "36"  # error: Incompatible types in assignment
ages[b"Ada"] = 36  # error: Invalid index type
age_of: int | None = ages.get("Ada")
points: dict[tuple[str, int], float] = dict(db.snapshot().typed(key=tuple[str, int], value=float).items())
with ages.write_batch() as many:
    many.put_many({"Ada": 36, "Grace": "85"})  # error: Argument 1 to "put_many" of "TypedWrites" has incompatible type
anything: list[int] = db.typed(key=bytes, value="json")[b"k"]
db.typed(key=str, value="pickle")  # error: No overload variant of "typed" of "TypedEngines" matches argument types

kind: str | None = db.type(b"k")
fields: Mapping[bytes, bytes] = db.hash(b"k")
age: bytes | int = db.hash(b"k").get(b"age", 5)
db.hash(b"k")[b"age"] = b"1"  # error: Unsupported target for indexed assignment
db.hash("k")  # error: Argument 1 to "hash" of "TypedKeys" has incompatible type "str"
newest: list[bytes] = db.snapshot().list(b"k")[-10:]
newest = db.list(b"k")[0]  # error: Incompatible types in assignment
both: AbstractSet[bytes] = db.set(b"k") & db.snapshot().set(b"l")
db.set(b"k").add(b"a")  # error: "SetView" has no attribute "add"

with db.transaction(sync=True) as transaction:
    reads(transaction, db.snapshot(), transaction)
    count: int = transaction.incr(b"n", ttl=timedelta(minutes=1))


@db.transactional(retries=3)
def move(t: Transaction, source: bytes, *, target: bytes) -> bytes:
    t[target] = t.pop(source)
    return t[target]


class Counter:
    @db.transactional()
    def add(self, t: Transaction, amount: int) -> int:
        return t.incr(b"counter", amount)


moved: bytes = move(b"a", target=b"b")
moved = move("a", target=b"b")  # error: Argument 1 to "__call__" of "Transactional" has incompatible type "str"
counted: int = Counter().add(5)
Counter().add(b"5")  # error: Argument 1 to "add" of "Counter" has incompatible type "bytes"

@users.transactional()
def rename(t: PrefixedTransaction, name: bytes) -> bytes:
    return t.setdefault(b"name", name)


@ages.transactional()
def birthday(t: TypedTransaction[str, int], name: str) -> int:
    return t.incr(name)


renamed: bytes = rename(b"Ada")
older: int = birthday("Ada")
older = birthday(5)  # error: Argument 1 to "__call__" of "Transactional" has incompatible type "int"

try:
    with db.snapshot() as view, db.write_batch() as batch:
        reads(db, view, batch)
except flin.engine.StorageError as error:
    number: int | None = error.errno
except LockedError as locked:
    holder: int | None = locked.pid
"""


def test_mypy_checks_what_users_write(tmp_path: Path) -> None:
    path = tmp_path / "use.py"
    path.write_text(USE)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    said = {int(line): text for line, text in re.findall(r"use\.py:(\d+): error: (.*)", done.stdout)}
    wanted = {
        number: line.partition("# error: ")[2] for number, line in enumerate(USE.splitlines(), 1) if "# error: " in line
    }
    assert set(said) == set(wanted), done.stdout + done.stderr
    for number, text in wanted.items():
        assert said[number].startswith(text)

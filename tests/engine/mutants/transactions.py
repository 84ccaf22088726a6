"""Transactions: what is remembered of reads, and what is noted of writes."""

from __future__ import annotations

from typing import Any

from flin.engine import Transaction
from flin.engine.transaction import _Scan
from flin.engine.tree.commits import Commits
from flin.engine.tree.recent_writes import RecentWrites
from tests.engine.hunts import interleaved_transactions, recorded_histories
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(recorded_histories)
def reads_are_not_checked_at_the_commit(patch: Patch) -> None:
    """a transaction commits only if nothing that it has read was written since"""
    patch.setattr(Transaction, "_check", lambda *_: None)


@caught_by(recorded_histories)
def reads_are_not_checked_at_once(patch: Patch) -> None:
    """a transaction that only reads sees one moment"""
    patch.setattr(Commits, "written_since", lambda *_: False)


@caught_by(recorded_histories)
def scans_are_not_remembered(patch: Patch) -> None:
    """what was scanned was read, as if each key had been looked up"""
    patch.setattr(_Scan, "bounds", lambda scan: (scan.start, scan.start))


@caught_by(recorded_histories)
def ends_of_scans_are_not_remembered(patch: Patch) -> None:
    """a scan that has come to its end has read that nothing follows"""
    original = _Scan.bounds

    def bounds(scan: Any) -> Any:
        scan.ended = False
        return original(scan)

    patch.setattr(_Scan, "bounds", bounds)


@caught_by(recorded_histories)
def absent_keys_are_not_remembered(patch: Patch) -> None:
    """that a key is absent was read, too"""
    original = Transaction._read

    def read(transaction: Any, stored: bytes, **named: Any) -> Any:
        entry = original(transaction, stored, **named)
        if entry is None:
            transaction._keys.discard(stored)
        return entry

    patch.setattr(Transaction, "_read", read)


@caught_by(recorded_histories)
def puts_are_not_noted(patch: Patch) -> None:
    """a put is noted for open transactions"""
    patch.setattr(RecentWrites, "note", lambda *_: True)


@caught_by(recorded_histories)
def commits_are_not_noted(patch: Patch) -> None:
    """a batch, or the commit of a transaction, is noted for others"""
    patch.setattr(RecentWrites, "note_commit", lambda *_: True)


@caught_by(interleaved_transactions)
def scans_show_what_was_written_since(patch: Patch) -> None:
    """a scan shows nothing that was written since its transaction began"""
    patch.setattr("flin.engine.transaction._first_of", lambda *_: None)


@caught_by(interleaved_transactions)
def range_deletes_are_not_noted(patch: Patch) -> None:
    """a range delete is noted for open transactions"""
    original = RecentWrites.note_commit
    patch.setattr(RecentWrites, "note_commit", lambda recent, keys, ranges: original(recent, keys, ()))


@caught_by(interleaved_transactions)
def forgotten_writes_count_as_none(patch: Patch) -> None:
    """a transaction that began before what is remembered is refused"""
    patch.setattr(RecentWrites, "forgotten", property(lambda _: 0, lambda *_: None), raising=False)


@caught_by(interleaved_transactions)
def notes_end_with_any_transaction(patch: Patch) -> None:
    """writes are noted as long as any transaction is open"""
    original = RecentWrites.end

    def end(recent: Any, begun: Any) -> None:
        recent._open.clear()
        original(recent, begun)

    patch.setattr(RecentWrites, "end", end)


@caught_by(interleaved_transactions)
def sweeps_are_not_noted(patch: Patch) -> None:
    """a sweep is noted for transactions that have seen what it deletes"""
    patch.setattr(RecentWrites, "seen_by_open", lambda *_: [])


@caught_by(interleaved_transactions)
def jobs_take_what_a_transaction_sees(patch: Patch) -> None:
    """flushes and merges keep the values of what has not expired by the clock of every open transaction"""
    patch.setattr(Commits, "expired_ms", lambda store: store.options.clock_ms())


@caught_by(interleaved_transactions)
def clock_of_a_transaction_goes_on(patch: Patch) -> None:
    """what a transaction has seen does not expire while it is open"""
    patch.setattr(Transaction, "_now_ms", lambda transaction: transaction._store.now_ms())


@caught_by(interleaved_transactions)
def conflicts_may_be_ignored(patch: Patch) -> None:
    """a transaction in conflict does not commit, though its function may have caught the error"""
    original = Transaction.commit

    def commit(transaction: Any) -> None:
        transaction.conflict = None
        original(transaction)

    patch.setattr(Transaction, "commit", commit)
